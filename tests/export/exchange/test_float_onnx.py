"""Dequantised networks and float models: close to the integers, and read back to the same bits."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from kestrel.export.exchange.float_onnx import float_model
from kestrel.export.exchange.model_file import write_model
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.dequantise import dequantise
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import PREPROCESSINGS, find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import generate_picture, quantise_pixels

NAME = "vgg16/16:pool2"


def compressed(preprocessing: str, activation_bits: int = 8) -> CompressedNetwork:
    step = min(find_preprocessing(preprocessing).scale)
    floats = random_network(parse_network(NAME), 4, step)
    return compress(floats, (3, 1, 2, 5), generated_pictures(32, 32, count=2), preprocessing=preprocessing,
                    activation_bits=activation_bits)[0]  # fmt: skip


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
@pytest.mark.parametrize("activation_bits", [8, 5])
def test_dequantised_weights_compute_the_integers_meaning(preprocessing: str, activation_bits: int) -> None:
    """In the first layer, away from the border and unclamped, only the rounding to a unit differs."""
    network = compressed(preprocessing, activation_bits)
    prepared, picture = find_preprocessing(preprocessing), generate_picture(24, 20, 3)
    x = torch.from_numpy(quantise_pixels(picture, prepared, activation_bits))[None]
    integers = Reference(network).run(x)[0].double()
    mean = np.asarray(prepared.mean)[:, None, None]
    scale = np.asarray(prepared.scale)[:, None, None]
    real = (x.numpy() * 2 ** (8 - activation_bits) - mean) * scale
    floats = FloatModel(dequantise(network)).run(torch.from_numpy(real.astype(np.float32)))[0].double()
    units = (floats / network.layers[0].scale)[:, :, 1:-1, 1:-1]
    inside = integers[:, :, 1:-1, 1:-1]
    free = (inside > 0) & (inside < (1 << activation_bits) - 1)
    assert int(free.sum()) > 100
    assert float((units - inside)[free].abs().max()) <= 0.5 + 1e-3  # a unit's half, and float32


def test_weights_file_is_read_back_equal(tmp_path: Path) -> None:
    network = dequantise(compressed("caffe"))
    save_weights(network, tmp_path / "w.safetensors")
    again = load_weights(str(tmp_path / "w.safetensors"), parse_network(NAME))
    assert again.origin.remarks == ()
    for found, wanted in zip(again.weights + again.biases, network.weights + network.biases, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_float_models_are_read_back_equal_and_compute_the_network(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    network = dequantise(compressed("torchvision"))
    path = tmp_path / "net.onnx"
    write_model(float_model(network, "torchvision"), path)
    again = load_weights(str(path), parse_network(NAME))
    for found, wanted in zip(again.weights + again.biases, network.weights + network.biases, strict=True):
        np.testing.assert_array_equal(found, wanted)
    x = rng.standard_normal((2, 3, 21, 18)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["conv2_2"], {"image": x})[0])
    wanted = FloatModel(network).run(torch.from_numpy(x))[-1].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_same_network_same_bytes(tmp_path: Path) -> None:
    network = dequantise(compressed("none"))
    for name in ("a", "b"):
        write_model(float_model(network, "none"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
