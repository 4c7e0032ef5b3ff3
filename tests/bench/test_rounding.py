"""Rounding of plain weights by other methods: levels, compensation, and that each does what it is for."""

import json

import numpy as np
import pytest
from PIL import Image

from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.start import load_float


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("rounding")


@pytest.fixture
def layers(rng):
    """Weights [C_out, K] and the moments of windows that are positive and alike, as activations are."""
    found = []
    for _ in range(6):
        windows = np.maximum(rng.standard_normal((27, 200)) + rng.standard_normal(200), 0)
        found.append((rng.standard_normal((8, 27)), windows @ windows.T / 200 + np.eye(27) * 0.01))
    return found


def lost(weight, found, moments):
    return float((((weight - found) @ moments) * (weight - found)).sum())


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_compensation_and_learning_lose_less_of_the_output_than_the_nearest_level(script, layers, bits):
    errors, squared = dict.fromkeys(["nearest", "gptq", "adaround"], 0.0), {}
    for weight, moments in layers:
        for name in errors:
            rounded = getattr(script, name)(weight, moments, bits)
            errors[name] += lost(weight, rounded, moments)
            squared[name] = np.square(weight - rounded).sum()
            assert all(len(np.unique(np.round(row, 9))) <= 1 << bits for row in rounded)
        assert squared["nearest"] == min(squared.values())
    assert errors["gptq"] < errors["nearest"]
    assert errors["adaround"] < errors["nearest"]


def test_learning_moves_a_weight_by_one_level_at_most(script, layers):
    weight, moments = layers[0]
    levels = script.fit_levels(weight, 3)
    places = (script.adaround(weight, moments, 3) / levels.scale + levels.offset)
    inside = np.clip(levels.at(weight), 0, 7)
    assert np.abs(places - inside).max() < 1 + 1e-5


def test_ternary_has_one_scale_a_group(script, rng):
    weight = rng.standard_normal((5, 72))
    rows = script.ternary(weight, np.eye(72), 36).reshape(-1, 36)
    assert all(len(np.unique(np.abs(row[row != 0]))) == 1 for row in rows)
    assert 0.3 < (rows == 0).mean() < 0.6
    assert np.array_equal(np.sign(rows)[rows != 0], np.sign(weight.reshape(-1, 36))[rows != 0])


def test_all_methods_write_a_network_each(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "ADAROUND_STEPS", 20)
    for n in range(2):
        Image.fromarray(generate_picture(40, 40, n)).save(tmp_path / f"{n}.png")
    script.main(["random:1", "--network", "vgg16/32:pool1", "--calibrate", str(tmp_path), "--size", "32",
                 "-o", str(tmp_path / "out")])
    lines = json.loads((tmp_path / "out" / "rounding.json").read_text())
    assert [line["name"] for line in lines] == [rounding.name for rounding in script.roundings()]
    given = load_float("random:1", "vgg16/32:pool1", "caffe")
    for line in lines:
        found = load_float(str(tmp_path / "out" / f"{line['name']}.safetensors"), "vgg16/32:pool1", "caffe")
        assert found.shape == parse_network("vgg16/32:pool1")
        assert all(np.array_equal(a, b) for a, b in zip(found.biases, given.biases, strict=True))
        assert 0 < line["output_power_lost"] < 1
    bits = {line["name"]: line["bits_per_weight"] for line in lines}
    sizes = [weight[0].size for weight in given.weights]
    counts = [weight.size for weight in given.weights]
    assert bits["gptq-3bit"] == pytest.approx(3 + sum(32 / s * n for s, n in zip(sizes, counts, strict=True))
                                              / sum(counts))
