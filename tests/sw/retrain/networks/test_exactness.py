"""Sums of whole numbers in float32, held to the same sums in 64-bit integers."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from kestrel.sw.retrain.networks import exactness
from kestrel.sw.retrain.networks.exactness import Term, exact_sum

pytestmark = pytest.mark.usefixtures("one_thread")

SHIFT = 9
EXACT = 1 << 24


def whole(draw: torch.Generator, low: int, high: int, *size: int) -> torch.Tensor:
    return torch.randint(low, high + 1, size, generator=draw)


def halves(weight: torch.Tensor) -> torch.Tensor:
    """The weights, positive in the first half of the input channels and negative in the second: the sum over
    the first half is far from that over all."""
    sign = torch.where(torch.arange(weight.shape[1]) < weight.shape[1] // 2, 1, -1)
    return weight.abs() * sign.view(1, -1, 1, 1)


def scaled(weight: torch.Tensor) -> torch.Tensor:
    return weight.float() * 2.0**-SHIFT


@pytest.mark.parametrize("kind", ["none", "identity", "projection"])
@pytest.mark.parametrize(("largest", "shortcut_largest"), [(20, 20), (1200, 4080), (20, 4080)])
@pytest.mark.parametrize("broken", [False, True])
def test_sums_are_exact(
    kind: str, largest: int, shortcut_largest: int, broken: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large parts of both signs, of the convolution or only of the shortcut, which pass 24 bits on the way to
    a sum that does not: float32 alone would lose its last bits. Also if the library's float32 convolution is
    not exact."""
    draw = torch.Generator().manual_seed(seed)
    x, other = whole(draw, 0, 255, 2, 64, 9, 8), whole(draw, 0, 255, 2, 256, 5, 4)
    weight = halves(whole(draw, -largest, largest, 16, 64, 3, 3))
    shortcut = halves(whole(draw, -shortcut_largest, shortcut_largest, 16, 256, 1, 1))
    bias = whole(draw, -2048, 2047, 16)
    wanted = functional.conv2d(x.double(), weight.double(), stride=2, padding=1)
    terms = [(x.float(), Term(scaled(weight), 2, 1))]
    if kind == "projection":
        wanted += functional.conv2d(other.double(), shortcut.double())
        terms.append((other.float(), Term(scaled(shortcut))))
    elif kind == "identity":
        factors = shortcut[0, :16, 0, 0]
        wanted += other[:, :16] * factors.view(1, -1, 1, 1)
        terms.append((other[:, :16].float(), Term(scaled(factors))))
    wanted += (bias << (SHIFT - 3)).view(1, -1, 1, 1)  # all of it below 2**53: exact
    if broken:
        monkeypatch.setattr(exactness, "_probed", lambda *_: False)
    found = exact_sum(terms, bias.double() / 8, SHIFT, {})
    there = (wanted.abs() <= EXACT).numpy()
    assert there.mean() > 0.5
    np.testing.assert_array_equal((found.double() * 2**SHIFT).numpy()[there], wanted.numpy()[there])


def test_what_float32_loses() -> None:
    """The sums above do pass 24 bits: a plain float32 convolution rounds them."""
    draw = torch.Generator().manual_seed(1)
    for channels, largest, kernel in ((64, 1200, 3), (256, 4080, 1)):
        x = whole(draw, 0, 255, 2, channels, 5, 4)
        weight = halves(whole(draw, -largest, largest, 16, channels, kernel, kernel))
        found = functional.conv2d(x.float(), weight.float())
        assert not torch.equal(found.double(), functional.conv2d(x.double(), weight.double()))
