"""Whitening: what it does to its training set, its file, and which descriptors it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import DescriptorSettings
from kestrel.sw.retrieval.describe.whitening import Scatter, fit_maps, load_whitening, save_whitening
from kestrel.sw.retrieval.pooling.nip import normalise

SETTINGS = DescriptorSettings(network="n", arithmetic="integer", height=224, width=224, preprocessing="caffe",
                              crops="whole", pooling="sqrt", rotations=1, whitening="")


def vectors(rng, count=400, dimension=12):
    mixed = rng.normal(size=(count, dimension)) @ rng.normal(size=(dimension, dimension)) + 3
    return normalise(mixed)


def scatter(x, pieces=7):
    found = Scatter(x.shape[1])
    for part in np.array_split(x, pieces):
        found.add(part)
    return found


def test_training_set_becomes_white(rng):
    """Mean 0, every direction of variance 1, none correlated; the strongest direction first."""
    x = vectors(rng)
    white = scatter(x).fit(None, "roi", SETTINGS)
    y = white.transform(x)
    assert white.dimension == 12
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(y.T, bias=True), np.eye(12), atol=1e-3)
    strength = 1 / np.linalg.norm(white.projection, axis=1)
    assert (np.diff(strength) <= 1e-6).all()


def test_against_numpys_own_covariance_and_svd(rng):
    x = vectors(rng)
    white = scatter(x).fit(5, "after", SETTINGS)
    _, spread, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    wanted = axes[:5] / (spread[:5, None] / np.sqrt(len(x)))
    wanted *= np.sign(wanted[np.arange(5), np.abs(wanted).argmax(axis=1)])[:, None]
    np.testing.assert_allclose(white.projection, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(white.mean, x.mean(axis=0), rtol=1e-6)


def test_dimensions_that_never_vary_are_left_out(rng):
    """A dead channel has no variance to divide by."""
    x = vectors(rng)
    x[:, 4] = 0
    assert scatter(x).fit(None, "roi", SETTINGS).dimension == 11
    with pytest.raises(InputError, match=r"whitening dimension 12; allowed: 1\.\.11"):
        scatter(x).fit(12, "roi", SETTINGS)
    with pytest.raises(InputError, match=r"dimension 3; allowed: 1\.\.2, .* 3 training vectors"):
        scatter(x[:3]).fit(3, "roi", SETTINGS)


@pytest.mark.parametrize(("call", "message"), [
    (lambda s: s.fit(None, "before", SETTINGS), "whitening mode 'before'; allowed: roi, after"),
    (lambda s: s.fit(0, "roi", SETTINGS), r"whitening dimension 0; allowed: 1\.\."),
    (lambda s: Scatter(3).fit(None, "roi", SETTINGS), "0 training vectors; allowed: at least 2"),
])
def test_impossible_ones_are_refused(call, message, rng):
    with pytest.raises(InputError, match=message):
        call(scatter(vectors(rng)))


def test_file_comes_back(tmp_path, rng):
    white = scatter(vectors(rng)).fit(5, "after", SETTINGS)
    save_whitening(white, tmp_path / "w.safetensors")
    found = load_whitening(tmp_path / "w.safetensors")
    assert replace(found, maps=white.maps) == white
    assert found.mode == "after"
    np.testing.assert_array_equal(found.mean, white.mean)
    np.testing.assert_array_equal(found.projection, white.projection)
    assert len(found.digest) == 64
    save_whitening(white, tmp_path / "v.safetensors")
    assert load_whitening(tmp_path / "v.safetensors").digest == found.digest
    save_whitening(replace(white, maps=(replace(white.single, mode="roi"),)), tmp_path / "v.safetensors")
    assert load_whitening(tmp_path / "v.safetensors").digest != found.digest, "the mode changes descriptors"


def test_one_of_several_maps_comes_back_and_is_not_taken_for_one_map(tmp_path, rng):
    settings = replace(SETTINGS, maps="layer3.0,layer4.0")
    made = fit_maps([scatter(vectors(rng)), scatter(vectors(rng, 300, 9))], 5, "roi", settings)
    assert (made.dimension, made.vectors) == (10, 700)
    save_whitening(made, tmp_path / "w.safetensors")
    found = load_whitening(tmp_path / "w.safetensors")
    assert replace(found, maps=made.maps) == made
    for a, b in zip(found.maps, made.maps, strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.projection, b.projection)
    for use in (lambda w: w.single, lambda w: w.mean, lambda w: w.transform(vectors(rng))):
        with pytest.raises(InputError, match=r"whitening of 2 maps, layer3\.0,layer4\.0; allowed here: "):
            use(found)
    with pytest.raises(InputError, match=r"trained with maps 'layer3\.0,layer4\.0', and .* has ''"):
        found.check(SETTINGS, "w")
    with pytest.raises(InputError, match=r"dimension 10; allowed: 1\.\.9"):
        fit_maps([scatter(vectors(rng)), scatter(vectors(rng, 300, 9))], 10, "roi", settings)


def test_the_file_of_one_map_does_not_speak_of_maps(tmp_path, rng):
    """So that files made before descriptors of several maps keep their SHA-256, by which they are known."""
    save_whitening(scatter(vectors(rng)).fit(5, "roi", SETTINGS), tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    assert b"maps" not in content
    assert b'\\"version\\": 1' in content


@pytest.mark.parametrize(("field", "value"), [
    ("network", "other"), ("arithmetic", "float"), ("height", 128), ("width", 128), ("preprocessing", "none"),
    ("crops", "square:1+2"), ("pooling", "max"), ("resize", "keep, box"),
    ("maps", "layer3.0"),
])
def test_descriptors_of_other_settings_are_refused(field, value, rng):
    white = scatter(vectors(rng)).fit(5, "roi", SETTINGS)
    white.check(SETTINGS, "w")
    white.check(replace(SETTINGS, rotations=4, whitening="x"), "w")
    with pytest.raises(InputError, match=rf"whitening w: trained with {field} .*; allowed: a white"):
        white.check(replace(SETTINGS, **{field: value}), "w")


def test_bad_files_are_refused_in_one_line(tmp_path, rng):
    path = tmp_path / "w.safetensors"
    good = tmp_path / "good.safetensors"
    save_whitening(scatter(vectors(rng)).fit(5, "roi", SETTINGS), good)
    content = good.read_bytes()
    bad = {
        "empty": b"", "text": b"hello, this is no such file", "cut": content[:-7],
        "mode": content.replace(b'\\"mode\\": \\"roi\\"', b'\\"mode\\": \\"rot\\"'),
        "version": content.replace(b'\\"version\\": 1', b'\\"version\\": 7'),
        "setting": content.replace(b'\\"width\\"', b'\\"wydth\\"'),
    }
    for name, found in bad.items():
        assert name in {"empty", "text", "cut"} or len(found) == len(content), name
        assert found != content, name
        path.write_bytes(found)
        with pytest.raises(InputError, match=r"w\.safetensors: .*; allowed: a ") as caught:
            load_whitening(path)
        assert "\n" not in str(caught.value)
    save_file({"mean": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="not a whitening file"):
        load_whitening(path)
    with pytest.raises(InputError, match="no such file"):
        load_whitening(tmp_path / "missing")
