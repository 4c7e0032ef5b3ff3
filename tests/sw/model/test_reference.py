"""The torch reference equals the plain NumPy model on every element, and refuses what it cannot compute."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

import kestrel.sw.model.exact_convolution
import kestrel.sw.model.reference
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN
from kestrel.sw.model.bounds import accumulator_range
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.reference import Reference
from kestrel.verif.cases.lively_network import lively_network
from kestrel.verif.cases.random_network import constant_network, random_network, stack

Oracle = Callable[[CompressedNetwork, np.ndarray], list[np.ndarray]]


def image(rng: np.random.Generator, network: CompressedNetwork, *size: int) -> torch.Tensor:
    n, height, width = size
    shape = (n, network.layers[0].shape.in_channels, height, width)
    return torch.from_numpy(rng.integers(0, 2**network.activation_bits, shape).astype(np.uint8))


def compare(network: CompressedNetwork, x: torch.Tensor, oracle: Oracle) -> list[torch.Tensor]:
    reference = Reference(network)
    found = reference.run(x)
    expected = oracle(network, x.numpy())
    assert len(found) == len(expected) == len(network.layers)
    for layer, f, e in zip(network.layers, found, expected, strict=True):
        assert f.dtype == torch.uint8
        np.testing.assert_array_equal(f.numpy(), e, err_msg=layer.shape.name)
    assert not reference.in_float64
    return found


@pytest.mark.parametrize("activation_bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_widths(mask_bits: int, activation_bits: int, rng: np.random.Generator, oracle: Oracle) -> None:
    network = lively_network(rng, stack((3, 8, 6), pools=[1]), mask_bits, activation_bits=activation_bits)
    found = compare(network, image(rng, network, 2, 7, 9), oracle)
    assert len(found[-1].unique()) > 2, "the network says nothing: the comparison is worth little"


@pytest.mark.parametrize(
    "channels", [(1, 1), (2, 1, 2), (15, 16, 17), (16, 15, 1), (17, 49, 15), (49, 17, 16), (1, 49, 2)]
)
def test_channels(channels: Sequence[int], rng: np.random.Generator, oracle: Oracle) -> None:
    network = random_network(rng, stack(channels), 3)
    compare(network, image(rng, network, 1, 5, 6), oracle)


@pytest.mark.parametrize("size", [(1, 1), (1, 13), (13, 1), (2, 2), (3, 5), (8, 8), (17, 6)])
def test_sizes(size: tuple[int, int], rng: np.random.Generator, oracle: Oracle) -> None:
    network = random_network(rng, stack((3, 5, 4)), (5, 2))
    compare(network, image(rng, network, 3, *size), oracle)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (6, 5), (7, 11)])
def test_pooling_drops_odd_rows_and_columns(
    size: tuple[int, int], rng: np.random.Generator, oracle: Oracle
) -> None:
    network = random_network(rng, stack((2, 3, 4, 5), pools=[0, 2]), 4)
    found = compare(network, image(rng, network, 2, *size), oracle)
    assert found[0].shape[2:] == (size[0] // 2, size[1] // 2)
    assert found[2].shape[2:] == (size[0] // 4, size[1] // 4)


@pytest.mark.parametrize("pad", [(0, 0, 0), (103, 116, 123), (255, 0, 255), (255, 255, 255)])
def test_pad_values(pad: tuple[int, int, int], rng: np.random.Generator, oracle: Oracle) -> None:
    network = random_network(rng, stack((3, 4)), 3, pad=pad)
    compare(network, image(rng, network, 1, 4, 3), oracle)


@pytest.mark.parametrize("shift", [3, 15])
@pytest.mark.parametrize("bias", [BIAS_MIN, -1, 0, BIAS_MAX])
@pytest.mark.parametrize("pixel", [0, 255])
@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_extremes(mask_bits: int, pixel: int, bias: int, shift: int, oracle: Oracle) -> None:
    """Every scalar 255 and every tap at either end: one channel is just within float32, two are not."""
    for channels in ((1, 2), (2, 1), (9, 3, 2)):
        for tap in (mask_values(mask_bits)[0], mask_values(mask_bits)[-1]):
            network = constant_network(
                stack(channels), mask_bits, tap=tap, bias=bias, shift=shift, pad=pixel
            )
            x = torch.full((1, channels[0], 3, 4), pixel, dtype=torch.uint8)
            compare(network, x, oracle)


def test_groups_that_cancel(rng: np.random.Generator, oracle: Oracle) -> None:
    """Odd sums far beyond 24 bits in the first groups of channels, cancelled by the last ones but for what
    a channel of small weights adds: accumulated in float32, that would lose its low bits."""
    network = constant_network(stack((13, 4)), 5, shift=3)
    layer = network.layers[0]
    mask, alpha = layer.mask.copy(), layer.alpha.copy()
    mask[:, 1:7] = 15
    mask[:, 7:] = -15
    mask[:, 0] = rng.integers(0, 2, mask[:, 0].shape)
    alpha[:, 0] = rng.integers(1, 3, 4)
    network = replace(network, layers=(replace(layer, mask=mask, alpha=alpha),))
    x = torch.from_numpy(rng.integers(100, 256, (2, 13, 9, 9)).astype(np.uint8))
    x[:, 7:] = x[:, 1:7]
    (y,) = compare(network, x, oracle)
    assert len(y.unique()) > 20, "the sums do not cancel: the test proves nothing"


def test_batch_equals_single_images(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(rng, stack((3, 6, 5), pools=[0]), 3)
    x = image(rng, network, 7, 6, 8)
    whole = Reference(network).run(x)
    alone = [Reference(network).run(x[n : n + 1]) for n in range(7)]
    # Pieces of 2 images and, behind the pooling, of more; the last of 1.
    monkeypatch.setattr(kestrel.sw.model.reference, "CHUNK_BYTES", 2 * 8 * 6 * 6 * 8)
    pieces = Reference(network).run(x)
    for index, y in enumerate(whole):
        assert torch.equal(y, torch.cat([maps[index] for maps in alone]))
        assert torch.equal(y, pieces[index])


def test_selected_layers(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((3, 6, 5, 4)), 2)
    x = image(rng, network, 2, 4, 4)
    reference = Reference(network)
    first, second, third = reference.run(x)
    assert torch.equal(reference.last(x), third)
    chosen = reference.select(x, [1, 0, 1])
    assert [torch.equal(a, b) for a, b in zip(chosen, (second, first, second), strict=True)] == [True] * 3
    assert reference.select(x, []) == []
    with pytest.raises(InputError, match=r"random: layer 3; allowed: 0\.\.2"):
        reference.select(x, [3])


def test_random_networks(rng: np.random.Generator, oracle: Oracle) -> None:
    """Shapes drawn anew in every run."""
    for _ in range(8):
        depth = int(rng.integers(1, 4))
        channels = rng.integers(1, 40, depth + 1).tolist()
        bits = rng.integers(1, 6, depth).tolist()
        network = random_network(rng, stack(channels), bits, activation_bits=int(rng.integers(4, 9)))
        compare(network, image(rng, network, int(rng.integers(1, 3)), *rng.integers(1, 12, 2)), oracle)


def test_inexact_convolution_falls_back_to_float64(
    rng: np.random.Generator, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backend that works in bfloat16 the result is still right, and a warning names the layer."""

    def rounded(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int
    ) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, weight.bfloat16().float(), bias, stride, padding)

    monkeypatch.setattr(kestrel.sw.model.exact_convolution, "_convolve", rounded)
    network = random_network(rng, stack((3, 30), pools=[0]), 5)
    x = image(rng, network, 2, 6, 5)
    reference = Reference(network)
    with pytest.warns(RuntimeWarning, match="layer conv0: float32 convolution is not exact"):
        found = reference.run(x)
    np.testing.assert_array_equal(found[0].numpy(), oracle(network, x.numpy())[0])
    assert reference.in_float64 == {"conv0"}


def test_accumulator_range() -> None:
    """The lower end is that of taps of -15 under full pixels, with the bias and the rounding half."""
    network = constant_network(stack((2, 1)), 5, tap=-15, shift=3, bias=BIAS_MIN)
    assert accumulator_range(network.layers[0], 8) == (-2 * 9 * 15 * 255 * 255 - 2048 + 4, 0)


def test_refuses_overflowing_accumulators() -> None:
    network = constant_network(stack((1, 1)), 5, tap=15)
    layer = network.layers[0]
    channels = 245  # 244 * 8,778,375 is the last multiple within 31 bits
    wide = replace(
        layer,
        shape=replace(layer.shape, in_channels=channels),
        mask=np.full((1, channels, 3, 3), 15, dtype=np.int8),
        alpha=np.full((1, channels), 255, dtype=np.uint8),
    )
    with pytest.raises(InputError, match=r"constant, layer conv0: an accumulator may reach .*2150718259;"):
        Reference(replace(network, layers=(wide,), pad=np.zeros(channels, dtype=np.uint8)))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 3, 8, 8), dtype=np.uint8), r"input is ndarray; allowed: a torch.uint8 tensor"),
        (torch.zeros(1, 3, 8, 8), r"input is torch.float32 on cpu; allowed: a torch.uint8 tensor"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"input shape \[3, 8, 8\]; allowed: \[N, 3, H, W\]"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.uint8), r"input shape \[1, 4, 8, 8\]; allowed: \[N, 3, H, W\]"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), r"input shape \[0, 3, 8, 8\]; allowed: "),
        (torch.full((1, 3, 8, 8), 32, dtype=torch.uint8), r"input value 32; allowed: 0\.\.31 \(5 activation"),
        (torch.zeros(1, 3, 3, 9, dtype=torch.uint8), r"image of 3 x 9 pixels is too small: .* of conv1"),
    ],
)
def test_refuses_bad_input(x: torch.Tensor, message: str, rng: np.random.Generator) -> None:
    network = random_network(rng, stack((3, 2, 2), pools=[0, 1]), 1, activation_bits=5)
    with pytest.raises(InputError, match=message) as caught:
        Reference(network).run(x)
    assert "\n" not in str(caught.value)


def test_refuses_layers_that_do_not_fit(rng: np.random.Generator) -> None:
    network = random_network(rng, stack((3, 2, 4)), 1)
    with pytest.raises(InputError, match=r"pad is uint8 \[3\]; allowed: uint8 \[2\]"):
        Reference(replace(network, layers=network.layers[1:]))
    with pytest.raises(InputError, match=r"number of layers = 0"):
        Reference(replace(network, layers=()))
