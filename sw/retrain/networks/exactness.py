"""Sums of whole numbers by float32 convolutions that are known to be exact.

A float32 holds every whole number up to 2**24. The reach of a layer's sums is bounded by the largest
activation of each channel in this batch; if that bound is too large, the input channels are split into groups
whose sums are added in float64, and so is what a shortcut adds. Whether the library's convolution is exact at
all is tested for each layer and size, as in the reference; if it is not, it runs in float64 and its result is
rounded to the whole number that it must be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from kestrel.sw.model.exact_convolution import FLOAT32_EXACT, LAYOUT, channel_groups

Exactness = dict[tuple[object, ...], bool]
"""Results of the exactness test, by shape and device."""


@dataclass(frozen=True)
class Term:
    """What a map contributes to a layer's sum: a convolution or an identity.

    ``weight`` is float32 [C_out, C_in, k, k] of a convolution, [C_out] of an identity, whole multiples of
    2**-s. A convolution has ``stride``, and ``padding`` with zeros.
    """

    weight: torch.Tensor
    stride: int = 1
    padding: int = 0

    @property
    def identity(self) -> bool:
        return self.weight.ndim == 1

    def convolve(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The convolution of x with ``weight``, which is the term's, part of it, or of its shape."""
        return functional.conv2d(x, weight, bias, self.stride, self.padding)


def exact_sum(
    terms: Sequence[tuple[torch.Tensor, Term]], offset: torch.Tensor, shift: int, exact: Exactness
) -> torch.Tensor:
    """The sum of ``terms``, pairs of a map of whole numbers and what it contributes, and of ``offset``,
    float64 [C_out], in units of the output: float32, exact up to 2**24 steps of 2**-shift.

    The first term is a convolution. ``exact`` stores the results of the exactness test.
    """
    step = 2.0**-shift
    reaches = [_reach(x, term, step) for x, term in terms]
    with torch.backends.nnpack.flags(enabled=False), _full_precision():
        if _within(reaches, offset, step):
            return _in_float32(terms, offset, step, exact)
        total = offset.view(1, -1, 1, 1)
        for (x, term), reach in zip(terms, reaches, strict=True):
            total = _in_float64(x, term, channel_groups(*reach), step, exact) + total
        return total.float()


def _in_float32(
    terms: Sequence[tuple[torch.Tensor, Term]], offset: torch.Tensor, step: float, exact: Exactness
) -> torch.Tensor:
    """The sum where everything stays within 24 bits."""
    total: torch.Tensor | None = None
    for x, term in terms:
        if term.identity:
            part = x * term.weight.view(1, -1, 1, 1)
        elif _probed(x, term, x.shape[1], exact):
            part = term.convolve(x, term.weight, offset.float() if total is None else None)
        else:
            part = _double_precision(x, term, step)
            part = (part if total is not None else part + offset.view(1, -1, 1, 1)).float()
        total = part if total is None else total + part
    assert total is not None, "there is at least one term"
    return total


def _in_float64(
    x: torch.Tensor, term: Term, starts: Sequence[int], step: float, exact: Exactness
) -> torch.Tensor:
    """A term in float64, of groups of channels that are each exact in float32."""
    if term.identity:
        return x.double() * term.weight.double().view(1, -1, 1, 1)
    ends = (*starts[1:], x.shape[1])
    if not all(_probed(x, term, b - a, exact) for a, b in zip(starts, ends, strict=True)):
        return _double_precision(x, term, step)
    total: torch.Tensor | None = None
    for a, b in zip(starts, ends, strict=True):
        weight = term.weight[:, a:b].contiguous(memory_format=LAYOUT)
        part = term.convolve(x[:, a:b], weight, None).double()
        total = part if total is None else total.add_(part)
    assert total is not None, "there is at least one group"
    return total


def _double_precision(x: torch.Tensor, term: Term, step: float) -> torch.Tensor:
    """The convolution in float64, rounded to the whole multiples of ``step`` that its results are."""
    return term.convolve(x.double(), term.weight.double() / step, None).round_() * step


def _reach(x: torch.Tensor, term: Term, step: float) -> tuple[np.ndarray, np.ndarray]:
    """What each input channel can add to each output at least and at most, in steps: float64 [C_out, C_in],
    [C_out, 1] of an identity."""
    largest = x.amax(dim=(0, 2, 3)).double()
    weight = term.weight.double() / step
    if term.identity:
        weight, largest = weight[:, None, None, None], largest[:, None]
    high = weight.clamp(min=0).sum(dim=(2, 3)) * largest
    low = weight.clamp(max=0).sum(dim=(2, 3)) * largest
    return low.cpu().numpy(), high.cpu().numpy()


def _within(
    reaches: Sequence[tuple[np.ndarray, np.ndarray]], offset: torch.Tensor, step: float
) -> bool:
    """Whether all sums, ``offset`` and a rounding half included, stay within 24 bits."""
    edge = (offset.abs() + 1).cpu().numpy() / step
    above = sum((high.sum(axis=1) for _, high in reaches), edge)
    below = sum((low.sum(axis=1) for low, _ in reaches), -edge)
    return max(float(above.max()), -float(below.min())) <= FLOAT32_EXACT


class _full_precision:  # noqa: N801 (a context manager, named like a function)
    """Computes float32 convolutions on a GPU without TensorFloat-32."""

    def __enter__(self) -> None:
        self._kept = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        torch.backends.cudnn.allow_tf32 = self._kept


PROBE_LEVELS = 256


def _probed(x: torch.Tensor, term: Term, channels: int, exact: Exactness) -> bool:
    """Whether the library convolves whole numbers exactly, for this many channels on maps of this size.

    This is tested once for each case: a convolution with random weights that use the full 24 bits is compared
    with the same convolution in float64, rounded.
    """
    c_out, kernel = term.weight.shape[0], term.weight.shape[2]
    key = (
        x.device.type,
        channels,
        c_out,
        x.shape[2],
        x.shape[3],
        min(x.shape[0], 2),
        kernel,
        term.stride,
        term.padding,
        torch.get_num_threads(),
    )
    if key not in exact:
        draw = torch.Generator().manual_seed(1)
        size = (min(x.shape[0], 2), channels, *x.shape[2:])
        values = torch.randint(0, PROBE_LEVELS, size, generator=draw).float().to(x.device)
        reach = max(1, FLOAT32_EXACT // (PROBE_LEVELS - 1) // (channels * kernel**2))
        weight = torch.randint(-reach, reach + 1, (c_out, channels, kernel, kernel), generator=draw).float()
        weight = weight.to(x.device).contiguous(memory_format=LAYOUT)
        values = values.contiguous(memory_format=LAYOUT)
        found = term.convolve(values, weight, None)
        wanted = term.convolve(values.double(), weight.double(), None).round_()
        exact[key] = bool(torch.equal(found.double(), wanted))
    return exact[key]
