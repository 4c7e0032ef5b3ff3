"""Reading and quantising images, generated pictures, preprocessing."""

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.preprocessing import PREPROCESSINGS, find_preprocessing, input_step
from kestrel.sw.pictures import decode
from kestrel.sw.pictures.images import (
    generate_picture,
    list_images,
    load_image,
    open_image,
    quantise_pixels,
    resize,
)

NONE = find_preprocessing("none")


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_input_rule_for_every_pixel(bits):
    """Against the rule in plain integers: breaks the equality of chip and reference if it strays."""
    rgb = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    found = quantise_pixels(rgb, NONE, bits)
    assert found.dtype == np.uint8
    wanted = [p if bits == 8 else min((p + 2 ** (7 - bits)) >> (8 - bits), 2**bits - 1) for p in range(256)]
    for channel in found:
        assert channel.ravel().tolist() == wanted


@pytest.mark.parametrize("bits", [3, 9, 0, -1])
def test_input_rule_refuses_other_widths(bits):
    with pytest.raises(InputError, match=rf"activation bits = {bits}; allowed: 4\.\.8"):
        quantise_pixels(np.zeros((2, 2, 3), np.uint8), NONE, bits)


def test_channel_order_and_mean():
    """Blue first for Caffe's weights: a swap costs accuracy without any other symptom."""
    rgb = np.array([[[10, 20, 30]]], dtype=np.uint8)
    assert quantise_pixels(rgb, find_preprocessing("caffe"), 8).ravel().tolist() == [30, 20, 10]
    assert quantise_pixels(rgb, find_preprocessing("torchvision"), 8).ravel().tolist() == [10, 20, 30]
    caffe = find_preprocessing("caffe").real_input(rgb).ravel()
    np.testing.assert_allclose(caffe, [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)
    torchvision = find_preprocessing("torchvision").real_input(rgb).ravel()
    wanted = [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(torchvision, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("bits", [4, 5, 8])
def test_pad_is_the_input_nearest_to_the_mean(name, bits):
    preprocessing = find_preprocessing(name)
    for pad, mean in zip(preprocessing.pad(bits), preprocessing.mean, strict=True):
        distance = [abs(x * input_step(bits) - mean) for x in range(1 << bits)]
        assert distance[pad] == min(distance)


def test_unknown_preprocessing_is_refused():
    with pytest.raises(InputError, match=r"preprocessing 'keras' .* caffe, torchvision, none"):
        find_preprocessing("keras")


# --------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------

RGB = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4


def test_lossless_files_come_back_as_they_were(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_image(tmp_path / "a.png"), RGB)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise by a quarter
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(open_image(tmp_path / "a.png"), np.rot90(RGB, -1))


def as_16_bits(path):
    Image.fromarray((RGB[:, :, 0].astype(np.uint16) << 8) + 255).save(path)


def as_mode(mode):
    return lambda path: Image.fromarray(RGB).convert(mode).save(path)


def with_alpha(path):
    alpha = np.zeros((4, 5, 1), dtype=np.uint8)
    alpha[0] = 255
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(path)


GREY = np.asarray(Image.fromarray(RGB).convert("L"))[:, :, None].repeat(3, axis=2)
OVER_WHITE = np.concatenate([RGB[:1], np.full((3, 5, 3), 255, np.uint8)])


@pytest.mark.parametrize(("name", "make", "wanted"), [
    ("grey.png", as_mode("L"), GREY),
    ("two-level.png", as_mode("1"), None),
    ("palette.png", as_mode("P"), None),
    ("grey-alpha.png", as_mode("LA"), GREY),
    ("16-bit.png", as_16_bits, RGB[:, :, :1].repeat(3, axis=2)),
    ("alpha.png", with_alpha, OVER_WHITE),
    ("cmyk.tif", as_mode("CMYK"), RGB),
    ("ycbcr.jpg", as_mode("YCbCr"), None),
    ("animation.gif", as_mode("P"), None),
])
def test_every_mode_becomes_rgb(tmp_path, name, make, wanted):
    """Breaks if a mode gives another shape or type, or 16-bit samples are cut off at white."""
    make(tmp_path / name)
    found = open_image(tmp_path / name)
    assert found.shape == (4, 5, 3)
    assert found.dtype == np.uint8
    if wanted is not None:
        np.testing.assert_array_equal(found, wanted)


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    """JPEG files hold inverted CMYK where an Adobe marker says so; both kinds must give the picture."""
    picture = generate_picture(64, 64, 5)
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(open_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 6


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.full((4, 5, 3), grey, np.uint8)) for grey in (255, 0, 99)]
    for suffix in ("gif", "webp", "png", "tif"):
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        assert (open_image(tmp_path / f"a.{suffix}") == 255).all(), suffix


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1)])
def test_one_pixel_and_very_long_images(tmp_path, size):
    picture = np.full((*size, 3), 77, np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_image(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", 16, 16), np.full((16, 16, 3), 77))


# --- larger than is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "convert"), [
    ("a.jpg", lambda image: image), ("a.png", lambda image: image), ("grey.png", lambda x: x.convert("L")),
    ("palette.png", lambda image: image.convert("P", colors=256)), ("alpha.png", lambda x: x.convert("RGBA")),
    ("cmyk.jpg", lambda image: image.convert("CMYK")), ("two.png", lambda image: image.convert("1")),
    ("16-bit.png", lambda x: Image.fromarray(np.asarray(x.convert("L")).astype(np.uint16) << 8)),
])
@pytest.mark.parametrize(("kept", "factor"), [(96 * 64, 1), (96 * 64 - 1, 2), (96 * 16, 2), (300, 8)])
def test_large_images_are_reduced_while_they_are_read(tmp_path, monkeypatch, name, convert, kept, factor):
    """The orientation has to survive it, and the picture must be the average of what it was."""
    picture = generate_picture(64, 96, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    convert(Image.fromarray(picture)).save(tmp_path / name, exif=exif)
    monkeypatch.setattr(decode, "KEPT_PIXELS", 96 * 64)
    whole = open_image(tmp_path / name).astype(float)
    monkeypatch.setattr(decode, "KEPT_PIXELS", kept)
    found = open_image(tmp_path / name)
    assert found.shape == (96 // factor, 64 // factor, 3)
    assert found.dtype == np.uint8
    wanted = whole.reshape(96 // factor, factor, 64 // factor, factor, 3).mean(axis=(1, 3))
    assert np.abs(found - wanted).mean() < 3, "within the rounding, and the JPEG decoder's own averaging"


def test_a_jpeg_of_100_megapixels_takes_little_memory(tmp_path):
    """Whole it would take 400 MB in Pillow and 300 MB as an array."""
    Image.new("RGB", (12_500, 8_000), (10, 100, 200)).save(tmp_path / "a.jpg")
    code = (
        "import sys; from kestrel.sw.pictures.images import open_image; rgb = open_image(sys.argv[1]); "
        "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0]; "
        "print(*rgb.shape, *rgb[1000, 1000], peak)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc")
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jpg")], capture_output=True, text=True, check=True
    )
    *found, peak = map(int, run.stdout.split())
    assert found[:3] == [2000, 3125, 3]
    np.testing.assert_allclose(found[3:], (10, 100, 200), atol=3)
    assert peak < 300_000, f"{peak} kB"


def png_bytes():
    stream = io.BytesIO()
    Image.fromarray(generate_picture(40, 40, 0)).save(stream, "png")
    return stream.getvalue()


BAD_IMAGES = {
    "missing.png": (None, "no such image file"),
    "empty.png": (b"", "not a readable image"),
    "text.jpg": (b"hello", "not a readable image"),
    "cut.png": (png_bytes()[:-600], "not a readable image"),
    "header.png": (png_bytes()[:20], "not a readable image"),
    "damaged.png": (png_bytes()[:60] + b"\0" * 50 + png_bytes()[110:], "not a readable image"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_in_one_line(tmp_path, name):
    content, message = BAD_IMAGES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_truncated_jpeg_is_refused(tmp_path):
    """Pillow would fill the rest with grey if it were allowed to."""
    path = tmp_path / "a.jpg"
    Image.fromarray(generate_picture(64, 64, 1)).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="truncated"):
        open_image(path)


def test_huge_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(decode, "PIXELS_MAX", 19)
    with pytest.raises(InputError, match="5 x 4 pixels; allowed: at most 19"):
        open_image(tmp_path / "a.png")


def test_bomb_of_pillow_is_refused(tmp_path):
    """A file of a few bytes that claims 400 million pixels."""
    header = png_bytes()
    size = (20000).to_bytes(4, "big") * 2
    import zlib

    body = b"IHDR" + size + header[24:29]
    (tmp_path / "a.png").write_bytes(header[:12] + body + zlib.crc32(body).to_bytes(4, "big") + header[33:])
    with warnings.catch_warnings(), pytest.raises(InputError, match="allowed: at most 134217728 pixels"):
        open_image(tmp_path / "a.png")


def test_folder_is_listed_in_order(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", "10.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["10.jpeg", "a.png", "b.JPG"]


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: None, "no such folder"),
    (lambda p: p.touch(), "is not a folder"),
    (lambda p: p.mkdir(), "no images; allowed: at least one"),
])
def test_bad_folders_are_refused(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(InputError, match=message):
        list_images(tmp_path / "x")


def test_resize_averages_what_it_drops():
    """A fine check pattern must become grey: without antialiasing it becomes black or white."""
    board = ((np.indices((64, 64)).sum(axis=0) % 2) * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    small = resize(board, 8, 16)
    assert small.shape == (8, 16, 3)
    assert 118 <= small[2:-2, 2:-2].min() <= small[2:-2, 2:-2].max() <= 138


def test_resize_to_the_same_size_changes_nothing(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", 4, 5), RGB)
    assert load_image(tmp_path / "a.png", height=8).shape == (8, 5, 3)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (8193, 4)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match=f"image size {size[0]} x {size[1]}"):
        resize(RGB, *size)


# --------------------------------------------------------------------------------------------------------
# Generated pictures
# --------------------------------------------------------------------------------------------------------


def test_generated_pictures_are_reproducible_and_differ():
    one = generate_picture(48, 64, 1)
    assert one.shape == (48, 64, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, generate_picture(48, 64, 1))
    assert not np.array_equal(one, generate_picture(48, 64, 2))


@pytest.mark.parametrize("seed", range(4))
def test_generated_pictures_look_like_photographs(seed):
    """Contrast, neighbours alike, colours alike: what calibration and the first layer's fit rely on."""
    picture = generate_picture(128, 128, seed).astype(float)
    assert 25 < picture.std() < 100
    assert 60 < picture.mean() < 200
    assert np.corrcoef(picture[:, 1:].ravel(), picture[:, :-1].ravel())[0, 1] > 0.8
    assert np.corrcoef(picture[:, :, 0].ravel(), picture[:, :, 1].ravel())[0, 1] > 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_generated_pictures_of_any_size(size):
    assert generate_picture(*size, seed=0).shape == (*size, 3)
