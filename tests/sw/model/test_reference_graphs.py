"""The torch reference equals the plain NumPy model on networks that are graphs, and each of their parts
counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import kestrel.sw.model.exact_convolution
import kestrel.sw.model.reference
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.bounds import accumulator_range
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.exact_convolution import FLOAT32_EXACT
from kestrel.sw.model.graph import smallest_side
from kestrel.sw.model.network import ConvShape, Shortcut
from kestrel.sw.model.reference import Reference
from kestrel.verif.cases.random_graph import GraphKinds, lane_channels, random_graph
from kestrel.verif.cases.random_network import random_network

Oracle = Callable[[CompressedNetwork, np.ndarray], list[np.ndarray]]
CHANNELS = lane_channels(4)


def image(rng: np.random.Generator, network: CompressedNetwork, *size: int) -> torch.Tensor:
    n, height, width = size
    shape = (n, network.layers[0].shape.in_channels, height, width)
    return torch.from_numpy(rng.integers(0, 2**network.activation_bits, shape).astype(np.uint8))


def compare(network: CompressedNetwork, x: torch.Tensor, oracle: Oracle) -> None:
    reference = Reference(network)
    maps = oracle(network, x.numpy())
    for layer, found, wanted in zip(network.layers, reference.run(x), maps, strict=True):
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found.numpy(), wanted, err_msg=str(layer.shape))
    assert not reference.in_float64


@pytest.mark.parametrize("activation_bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("blocks", [False, True])
def test_random_graphs(activation_bits: int, blocks: bool, rng: np.random.Generator, oracle: Oracle) -> None:
    network = random_graph(rng, 8, CHANNELS, activation_bits=activation_bits, blocks=blocks)
    least = smallest_side([layer.shape for layer in network.layers])
    for size in ((3, 17, 22), (2, least, least + 1)):
        compare(network, image(rng, network, *size), oracle)


@pytest.mark.parametrize(
    "kinds",
    [
        GraphKinds(shortcut=1, projection=0, kernel_1x1=0),
        GraphKinds(shortcut=1, projection=1, stride=0.5),
        GraphKinds(kernel_1x1=1, shares=0),
        GraphKinds(stride=0, pool_2x2=0, pool_3x3=0.6),
        GraphKinds(other_source=1, shares=0.6),
    ],
)
def test_kinds(kinds: GraphKinds, rng: np.random.Generator, oracle: Oracle) -> None:
    network = random_graph(rng, 7, CHANNELS, kinds=kinds)
    compare(network, image(rng, network, 1, 19, 14), oracle)


def deep(projection: bool, channels: int = 300) -> tuple[ConvShape, ...]:
    return (
        ConvShape("conv0", 3, channels, pool=False),
        ConvShape("conv1", channels, channels, pool=False, shortcut=Shortcut(0, projection)),
    )


@pytest.mark.parametrize("projection", [False, True])
def test_sums_beyond_24_bits(projection: bool, rng: np.random.Generator, oracle: Oracle) -> None:
    """With every product positive and as large as can be, float32 alone would round."""
    network = random_network(rng, deep(projection), (3, 5))
    last = network.layers[1]
    alpha = np.full_like(last.shortcut_alpha, 255)
    sign = None if last.shortcut_sign is None else np.ones_like(last.shortcut_sign)
    last = replace(last, mask=np.full_like(last.mask, 15), shortcut_alpha=alpha, shortcut_sign=sign,
                   shortcut_shift=4, alpha=np.full_like(last.alpha, 2), shift=15)  # fmt: skip
    network = replace(network, layers=(network.layers[0], last))
    assert accumulator_range(last, 8)[1] > FLOAT32_EXACT
    compare(network, image(rng, network, 1, 6, 7), oracle)


def test_the_shortcut_counts_among_the_24_bits(rng: np.random.Generator) -> None:
    """A convolution that stays just within 24 bits no longer does with its shortcut."""
    shapes = deep(projection=False, channels=1)
    network = random_network(rng, shapes, (3, 5))
    last = replace(network.layers[1], mask=np.full((1, 1, 3, 3), 15, np.int8),
                   alpha=np.array([[255]], np.uint8), bias=np.zeros(1, np.int16), shift=3,
                   shortcut_alpha=np.array([255], np.uint8), shortcut_shift=4)  # fmt: skip
    assert accumulator_range(last, 8) == (0, 255 * 255 * (9 * 15 + 16) + 4)


def test_batches_and_selections(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps that a later layer reads are kept, in every piece of a batch; the order is the one asked for."""
    network = random_graph(rng, 8, (3, 4), kinds=GraphKinds(other_source=0.5))
    reference = Reference(network)
    x = image(rng, network, 5, 12, 11)
    whole = reference.run(x)
    monkeypatch.setattr(kestrel.sw.model.reference, "CHUNK_BYTES", 8 * 4 * 12 * 11 * 2)
    for found, wanted in zip(Reference(network).run(x), whole, strict=True):
        assert torch.equal(found, wanted)
    for found, index in zip(reference.select(x, [6, 1, 4]), [6, 1, 4], strict=True):
        assert torch.equal(found, whole[index])


def test_a_library_that_rounds_is_noticed(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, oracle: Oracle
) -> None:
    def rounded(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int
    ) -> torch.Tensor:
        if weight.shape[2] == 1:  # the projection only
            weight = weight.bfloat16().float()
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding)

    monkeypatch.setattr(kestrel.sw.model.exact_convolution, "_convolve", rounded)
    network = random_network(rng, deep(projection=True, channels=6), 3)
    x = image(rng, network, 1, 5, 5)
    reference = Reference(network)
    with pytest.warns(RuntimeWarning, match="layer conv1: float32 convolution is not exact"):
        found = reference.run(x)
    assert reference.in_float64 == {"conv1"}
    np.testing.assert_array_equal(found[1].numpy(), oracle(network, x.numpy())[1])


def test_a_small_image_is_refused(rng: np.random.Generator) -> None:
    shapes = (ConvShape("conv0", 3, 4, pool=False, stride=2), ConvShape("conv1", 4, 4, pool=True))
    network = random_network(rng, shapes, 3)
    assert smallest_side(shapes) == 3
    Reference(network).run(image(rng, network, 1, 3, 3))
    with pytest.raises(InputError, match=r"image of 2 x 3 pixels is too small: .* pooling of conv1"):
        Reference(network).run(image(rng, network, 1, 2, 3))
