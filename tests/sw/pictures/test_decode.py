"""Rules for samples of other ranges, rarer formats, and the memory that reading takes."""

import importlib
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.pictures import decode
from kestrel.sw.pictures.decode import ALL_SUFFIXES, IMAGE_SUFFIXES, MEMORY_BYTES, read_picture
from kestrel.sw.pictures.images import generate_picture, open_image

PICTURE = generate_picture(48, 64, 7)
PALE = PICTURE[:, :, 0]


def tiff(path, planes, bits, *, planar, order="<"):
    """An uncompressed TIFF, by hand: ``planes`` [H, W, C], unsigned, interleaved or plane by plane."""
    height, width, channels = planes.shape
    kind = {8: "u1", 16: "u2", 32: "u4"}[bits]
    chunks = [planes.transpose(2, 0, 1)[n] for n in range(channels)] if planar else [planes]
    data = [chunk.astype(order + kind).tobytes() for chunk in chunks]
    count = len(data)
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [1]),
            (262, 3, [2 if channels == 3 else 1]), (273, 4, [0] * count), (277, 3, [channels]),
            (278, 4, [height]), (279, 4, [len(part) for part in data]), (284, 3, [2 if planar else 1])]
    size = 8 + 2 + 12 * len(tags) + 4
    tail = b""

    def packed(kind, values):
        return struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)

    starts, place = [], size + sum(len(packed(k, v)) for _, k, v in tags if len(packed(k, v)) > 4)
    for part in data:
        starts.append(place)
        place += len(part)
    entries = b""
    for tag, kind, values in tags:
        content = packed(kind, starts if tag == 273 else values)
        if len(content) > 4:
            field = struct.pack(f"{order}I", size + len(tail))
            tail += content
        else:
            field = content.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + field
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(tags))
    path.write_bytes(head + entries + b"\0" * 4 + tail + b"".join(data))


def png_of_16_bits(path, rgb):
    """A colour PNG of 16 bits, which Pillow does not write. rgb: uint16 [H, W, 3]."""
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)

    def chunk(name, content):
        return (struct.pack(">I", len(content)) + name + content
                + struct.pack(">I", zlib.crc32(name + content)))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


# --- ranges of samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "colour.png", "colour.tif"])
def test_16_bits_that_hold_fewer_are_shown_whole_and_told(tmp_path, depth, kind, rng):
    """By its upper bytes a picture of 12 bits would be nearly black."""
    path = tmp_path / kind
    full = np.maximum(PICTURE.astype(np.uint16), 1) << (depth - 8)
    full |= rng.integers(0, 1 << (depth - 8), full.shape).astype(np.uint16)
    full[0, 0] = (1 << depth) - 1
    if kind.startswith("grey"):
        full = full[:, :, :1].repeat(3, axis=2)
        Image.fromarray(full[:, :, 0].copy()).save(path)
    elif path.suffix == ".png":
        png_of_16_bits(path, full)
    else:
        tiff(path, full, 16, planar=False)
    found = read_picture(path)
    np.testing.assert_array_equal(found.rgb, full >> (depth - 8))
    assert found.remarks == (() if depth == 16 else (
        f"16-bit samples taken as of {depth} bits, which their largest value needs",))


def test_the_remark_is_a_warning_that_names_the_file(tmp_path):
    Image.fromarray(PALE.astype(np.uint16) << 4).save(tmp_path / "a.png")
    with pytest.warns(InputWarning, match=r"a\.png: 16-bit samples taken as of 12 bits"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits_are_read_as_samples(tmp_path, order):
    """Pillow's own reader takes their bytes for samples: a mean error of 52 of 255."""
    full = PICTURE.astype(np.uint16) * 257
    tiff(tmp_path / "a.tif", full, 16, planar=True, order=order)
    np.testing.assert_array_equal(open_image(tmp_path / "a.tif"), PICTURE)
    tiff(tmp_path / "b.tif", PICTURE, 8, planar=True, order=order)
    np.testing.assert_array_equal(open_image(tmp_path / "b.tif"), PICTURE)


def test_planes_of_16_bits_that_hold_fewer_are_refused(tmp_path):
    """Their lower bytes cannot be had, and the upper ones are nearly black."""
    tiff(tmp_path / "a.tif", PICTURE.astype(np.uint16) << 4, 16, planar=True)
    with pytest.raises(InputError, match=r"a\.tif: 16-bit samples, transparent or in planes"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("scale", "wanted", "bits"), [
    (1, lambda grey: grey, 8), (16, lambda grey: grey, 12), (1 << 12, lambda grey: grey, 20),
    (1 << 24, lambda grey: grey, 32),
])
def test_32_bit_grey(tmp_path, scale, wanted, bits):
    grey = np.maximum(PALE, 1).astype(np.uint32)
    grey[0, 0] = 255
    tiff(tmp_path / "a.tif", (grey * scale)[:, :, None], 32, planar=False)
    found = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.rgb[:, :, 1], wanted(grey))
    assert found.remarks == (f"32-bit samples taken as of {bits} bits, which their largest value needs",)


def test_negative_integers_are_black(tmp_path):
    signed = PALE.astype(np.int32) - 100
    Image.fromarray(signed).save(tmp_path / "a.tif")
    with pytest.warns(InputWarning, match="32-bit samples taken as of 8 bits"):
        np.testing.assert_array_equal(open_image(tmp_path / "a.tif")[:, :, 0], np.maximum(signed, 0))


def test_a_pgm_states_its_range(tmp_path):
    """A dark one is dark."""
    dark = (PALE // 16).astype(np.uint16) << 4
    (tmp_path / "a.pgm").write_bytes(b"P5 64 48 4095\n" + dark.astype(">u2").tobytes())
    found = read_picture(tmp_path / "a.pgm")
    assert found.remarks == ()
    np.testing.assert_allclose(found.rgb[:, :, 0], dark / 4095 * 255, atol=1.1)


@pytest.mark.parametrize(("values", "wanted", "range_"), [
    (PALE / 255, PALE, "0..1"),
    (PALE.astype(float), PALE, "0..255"),
    (PALE.astype(float) * 257, PALE, "0..65535"),
    (np.linspace(-3, 5, 256).reshape(16, 16), np.arange(256).reshape(16, 16), "their least to their largest"),
])
def test_floats_have_a_stated_rule(tmp_path, values, wanted, range_):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    found = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.rgb[:, :, 2], wanted)
    assert found.remarks == (f"float samples taken as {range_}",)


def test_floats_that_are_no_numbers_are_refused(tmp_path):
    values = np.ones((4, 4), np.float32)
    values[1, 2] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: not a readable image \(samples are not finite numbers\)"):
        open_image(tmp_path / "a.tif")


def test_lab_becomes_the_colours_that_it_means(tmp_path):
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (138, 208, 195)])  # a strong red
    lab.save(tmp_path / "a.tif")
    found = open_image(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "LAB"
    np.testing.assert_allclose(found[3, 3], (255, 0, 0), atol=12)


# --- formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "options", "tolerance"), [
    (".gif", {}, 8), (".avif", {"quality": 95}, 4), (".jp2", {}, 0), (".tga", {}, 0), (".ppm", {}, 0),
    (".heic", {"quality": 95}, 4), (".bmp", {}, 0), (".webp", {"lossless": True}, 0),
])
def test_formats(tmp_path, suffix, options, tolerance):
    if suffix not in IMAGE_SUFFIXES:
        pytest.skip(f"{suffix} cannot be read here")
    if suffix == ".heic":
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.fromarray(PICTURE).save(tmp_path / f"a{suffix}", **options)
    found = open_image(tmp_path / f"a{suffix}").astype(int)
    assert np.abs(found - PICTURE).mean() <= tolerance
    assert suffix in ALL_SUFFIXES


@pytest.mark.parametrize(("suffix", "mode"), [(".pgm", "L"), (".pbm", "1")])
def test_grey_and_two_levels_of_netpbm(tmp_path, suffix, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    image.save(tmp_path / f"a{suffix}", "PPM")
    np.testing.assert_array_equal(open_image(tmp_path / f"a{suffix}"), np.array(image.convert("RGB")))


def test_what_cannot_be_read_here_says_what_it_takes(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"")
    monkeypatch.setitem(decode._OPTIONAL, ".heic", False)
    with pytest.raises(InputError, match=r"a\.heic: \.heic needs the package pillow-heif; allowed here: "):
        open_image(tmp_path / "a.heic")


# --- memory and messages ---------------------------------------------------------------------------------

MEASURE = """
import resource, sys
import numpy
from kestrel.sw.pictures.decode import MEMORY_BYTES, read_picture
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
held = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY_BYTES, held + MEMORY_BYTES))
print(*read_picture(sys.argv[1]).rgb.shape)
"""


@pytest.mark.parametrize(("mode", "size"), [("P", 11_580), ("RGBA", 11_580), ("I;16", 11_580)])
def test_the_largest_pictures_stay_within_the_bound(tmp_path, mode, size):
    """A palette PNG of 0.6 MB took 1.46 GB. The process is held to the bound and would fail."""
    Image.new(mode, (size, size)).save(tmp_path / "a.png", compress_level=1)
    run = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / "a.png")], capture_output=True,
                         text=True, check=False)
    assert run.returncode == 0, run.stderr[-500:]
    assert run.stdout.split() == ["2895", "2895", "3"]


def test_the_bound_is_one_that_can_be_missed(tmp_path):
    Image.new("RGB", (8_000, 8_000)).save(tmp_path / "a.png", compress_level=1)
    tight = MEASURE.replace("held + MEMORY_BYTES", "held + MEMORY_BYTES // 8")
    run = subprocess.run([sys.executable, "-c", tight, str(tmp_path / "a.png")], capture_output=True,
                         text=True, check=False)
    assert "not enough memory" in run.stderr
    assert MEMORY_BYTES < 1 << 30


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "JPEG2000"])
def test_formats_with_costly_decoders_have_a_lower_limit(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(decode, "COSTLY_PIXELS_MAX", 100)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.x", kind)
    with pytest.raises(InputError, match="16 x 16 pixels; allowed: at most 100 pixels"):
        open_image(tmp_path / "a.x")


def test_a_caller_may_allow_fewer_pixels_and_formats(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "a.eps")
    assert read_picture(tmp_path / "a.png", pixels_max=256, formats=("PNG",)).rgb.shape == (16, 16, 3)
    with pytest.raises(InputError, match="16 x 16 pixels; allowed: at most 255 pixels"):
        read_picture(tmp_path / "a.png", pixels_max=255)
    for name in ("a.png", "a.eps"):
        with pytest.raises(InputError, match=rf"{name}: not a readable image \(cannot identify image file"):
            read_picture(tmp_path / name, formats=("JPEG", "TIFF"))


def damaged_fax(path):
    """A TIFF of which libtiff has much to say."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8)).convert("1").save(
        path, compression="group4")
    content = bytearray(path.read_bytes())
    content[40:-400:50] = bytes(len(content[40:-400:50]))
    path.write_bytes(bytes(content))


def test_messages_of_libtiff_are_one_remark(tmp_path, capfd):
    damaged_fax(tmp_path / "a.tif")
    found = read_picture(tmp_path / "a.tif")
    assert found.remarks == ("damaged in places, as libtiff says",)
    assert capfd.readouterr().err == ""
    with Image.open(tmp_path / "a.tif") as image:
        image.load()
    assert capfd.readouterr().err.count("\n") > 5, "the file is one of which it complains"


def test_what_others_print_meanwhile_is_passed_on(capfd):
    from kestrel.sw.pictures.quiet import libtiff_messages

    with libtiff_messages() as messages:
        os.write(2, b"progress 3/7\n")
        os.write(2, b"Fax4Decode: Bad code word.\n")
    assert messages == ["Fax4Decode: Bad code word."]
    assert capfd.readouterr().err == "progress 3/7\n"


def test_silence_in_two_threads_ends_with_the_last():
    from kestrel.sw.pictures.quiet import silence

    before = list(warnings.filters)
    silence.__enter__()
    silence.__enter__()
    silence.__exit__()
    warnings.warn_explicit("of a decoder", UserWarning, "x.py", 1, module="PIL.Image")
    with pytest.warns(InputWarning):
        warnings.warn(InputWarning("a", "b"), stacklevel=1)
    silence.__exit__()
    assert list(warnings.filters) == before
