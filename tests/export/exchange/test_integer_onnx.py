"""A third opinion: onnxruntime on the exported integers, equal to the reference and to the plain loop."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from kestrel.export.exchange.integer_onnx import integer_model
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import ACTIVATION_BITS_MAX, ACTIVATION_BITS_MIN
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.blocks import blocks_of
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.network import ConvShape, Shortcut, parse_network
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import random_network as float_network
from kestrel.verif.cases.random_graph import random_graph
from kestrel.verif.cases.random_network import constant_network, random_network, stack

Oracle = Callable[[CompressedNetwork, np.ndarray], list[np.ndarray]]
ALL_ACTIVATION_BITS = range(ACTIVATION_BITS_MIN, ACTIVATION_BITS_MAX + 1)


def computed(network: CompressedNetwork, x: np.ndarray) -> list[np.ndarray]:
    """Every layer's output by onnxruntime."""
    model = integer_model(network, every_layer=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [layer.shape.name for layer in network.layers]
    assert [output.name for output in session.get_outputs()] == names
    return [np.asarray(y) for y in session.run(None, {"image": x})]


def assert_agree(network: CompressedNetwork, x: np.ndarray, oracle: Oracle | None = None) -> None:
    found = computed(network, x)
    for y, wanted in zip(found, Reference(network).run(torch.from_numpy(x)), strict=True):
        assert y.dtype == np.uint8
        np.testing.assert_array_equal(y, wanted.numpy())
    for y, wanted in zip(found, oracle(network, x) if oracle else [], strict=False):
        np.testing.assert_array_equal(y, wanted)


def assert_graph_agrees(network: CompressedNetwork, pixels: np.ndarray) -> None:
    """As ``assert_agree``; where the network reads blocks, the model takes the image itself."""
    x = torch.from_numpy(pixels)
    if network.blocks:
        x = blocks_of(x, torch.from_numpy(network.pad[:3]))
    wanted = Reference(network).run(x)
    for number, (y, theirs) in enumerate(zip(computed(network, pixels), wanted, strict=True)):
        np.testing.assert_array_equal(y, theirs.numpy(), err_msg=network.layers[number].shape.name)


def image(rng: np.random.Generator, network: CompressedNetwork, *size: int) -> np.ndarray:
    shape = (size[0], network.layers[0].shape.in_channels, *size[1:])
    return rng.integers(0, 1 << network.activation_bits, shape, dtype=np.uint8)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
@pytest.mark.parametrize("activation_bits", ALL_ACTIVATION_BITS)
def test_it_computes_the_reference(
    rng: np.random.Generator, oracle: Oracle, mask_bits: int, activation_bits: int
) -> None:
    network = random_network(rng, stack((3, 7, 12, 5), pools=[1]), mask_bits, activation_bits=activation_bits)
    x = image(rng, network, 2, 9, 13)
    assert len(np.unique(Reference(network).run(torch.from_numpy(x))[0])) > 4, "the first layer is lively"
    assert_agree(network, x, oracle)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 8), (3, 2, 2), (1, 7, 1), (1, 17, 23)])
def test_odd_sizes(rng: np.random.Generator, oracle: Oracle, size: tuple[int, int, int]) -> None:
    network = random_network(rng, stack((1, 16, 3)), (5, 2))
    assert_agree(network, image(rng, network, *size), oracle)


@pytest.mark.parametrize("pools", [[0], [0, 1, 2], [2]])
def test_poolings_drop_odd_rows(rng: np.random.Generator, oracle: Oracle, pools: list[int]) -> None:
    network = random_network(rng, stack((3, 4, 4, 4), pools=pools), (3, 1, 4), activation_bits=6)
    assert_agree(network, image(rng, network, 1, 15, 11), oracle)


@pytest.mark.parametrize("pad", [(0, 0, 0), (255, 255, 255), (1, 200, 0)])
def test_pad_values_by_channel(rng: np.random.Generator, oracle: Oracle, pad: tuple[int, ...]) -> None:
    network = random_network(rng, stack((3, 8)), 3, pad=pad)
    assert_agree(network, image(rng, network, 1, 5, 4), oracle)


@pytest.mark.parametrize("tap", [15, -15])
def test_extremes_neither_saturate_nor_wrap(tap: int, oracle: Oracle) -> None:
    """The greatest products of one sign, near the ends of 32 bits: breaks if pairs are added in 16 bits."""
    network = constant_network(stack((240, 2)), 5, tap=tap, bias=2047 if tap < 0 else -2048, shift=15)
    x = np.full((1, 240, 4, 4), 255, dtype=np.uint8)
    assert_agree(network, x, oracle)


def test_the_network_that_comes_along(rng: np.random.Generator) -> None:
    network = load_network("embedded")
    assert_agree(network, image(rng, network, 1, 64, 48))


@pytest.mark.parametrize("activation_bits", ALL_ACTIVATION_BITS)
@pytest.mark.parametrize("blocks", [False, True])
def test_graphs(rng: np.random.Generator, activation_bits: int, blocks: bool) -> None:
    """Strides, shortcuts of both kinds, 1x1 kernels, both poolings, shared layers; odd sizes and even."""
    network = random_graph(rng, 9, (3, 7), activation_bits=activation_bits, blocks=blocks)
    for size in ((2, 24, 24), (1, 25, 19)):
        pixels = rng.integers(0, 1 << activation_bits, (size[0], 3, *size[1:]), dtype=np.uint8)
        assert_graph_agrees(network, pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 4), (5, 8), (8, 5)])
def test_an_image_in_blocks_of_every_size(rng: np.random.Generator, size: tuple[int, int]) -> None:
    """With pad values of their own for each colour, which show where the image ends."""
    shapes = (ConvShape("stem", 27, 6, pool=False),)
    pad = np.resize(np.array([3, 90, 200], np.uint8), 27)
    network = replace(random_network(rng, shapes, 4, blocks=True), pad=pad)
    assert_graph_agrees(network, rng.integers(0, 256, (2, 3, *size), dtype=np.uint8))


@pytest.mark.parametrize("projection", [False, True])
def test_shortcuts_at_their_largest(rng: np.random.Generator, projection: bool) -> None:
    """Scalars of 255 and a shift of 4, beside a convolution of the other sign, so that both show."""
    shapes = (
        ConvShape("first", 3, 8, pool=False),
        ConvShape("last", 8, 8, pool=False, shortcut=Shortcut(0, projection)),
    )
    network = random_network(rng, shapes, 5)
    layer = network.layers[1]
    assert layer.shortcut_alpha is not None
    layer = replace(layer, shortcut_alpha=np.full_like(layer.shortcut_alpha, 255), shortcut_shift=4,
                    mask=-np.abs(layer.mask), shift=14, bias=np.zeros_like(layer.bias))  # fmt: skip
    network = replace(network, layers=(network.layers[0], layer))
    assert_graph_agrees(network, image(rng, network, 2, 9, 11))


@pytest.mark.parametrize(("name", "bits"), [("resnet18/16:layer2.1", "3"), ("repvgg_a0/16:stage2.0", "2"),
                                            ("shared_resnet/32:layer2.1", "1")])
def test_compressed_residual_networks(rng: np.random.Generator, name: str, bits: str) -> None:
    shape = parse_network(name)
    floats, pictures = float_network(shape, 3, 1 / 57), generated_pictures(48, 40, count=2)
    network, _ = compress(floats, parse_mask_plan(bits, shape), pictures, preprocessing="torchvision")
    assert_graph_agrees(network, rng.integers(0, 256, (1, 3, 47, 34), dtype=np.uint8))


def test_only_the_last_output_unless_told(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((3, 4, 5)), 3)
    assert [output.name for output in integer_model(network).graph.output] == ["conv1"]


def test_overflowing_networks_are_refused() -> None:
    with pytest.raises(InputError, match="an accumulator may reach"):
        integer_model(constant_network_too_wide())


def constant_network_too_wide() -> CompressedNetwork:
    """As a file might hold it: ``constant_network`` itself refuses it."""
    narrow = constant_network(stack((244, 1)), 5, tap=15)
    layer = narrow.layers[0]
    wide = replace(
        layer, shape=replace(layer.shape, in_channels=245), mask=np.full((1, 245, 3, 3), 15, np.int8),
        alpha=np.full((1, 245), 255, np.uint8),
    )  # fmt: skip
    return replace(narrow, layers=(wide,), pad=np.zeros(245, np.uint8))
