"""Folding in torch: from a layer's real weights to its integers, as ``kestrel.sw.compress.fold`` does it.

The arithmetic is that of ``docs/arithmetic.md``, section 7, in float64 on the device where training runs.
A test compares every integer with that of ``fold_layer``.
"""

from dataclasses import dataclass

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import BIAS_FRACTION, BIAS_MAX, BIAS_MIN, SCALAR_MAX
from kestrel.sw.compress.fold import RAISE_MAX, largest_shift
from kestrel.sw.compress.mask_rules import round_half_up, round_scalars


@dataclass(frozen=True)
class Integers:
    """A layer's integers, as float64 tensors: mask [C_out, C_in, 3, 3], alpha [C_out, C_in], bias [C_out].

    ``scale`` is the real value of one output unit. ``raised`` is the factor by which the range was enlarged.
    """

    mask: torch.Tensor
    alpha: torch.Tensor
    bias: torch.Tensor
    shift: int
    scale: float
    raised: float

    def weights(self) -> torch.Tensor:
        """alpha * M as whole numbers, float64 [C_out, C_in, 3, 3]."""
        return self.mask * self.alpha[:, :, None, None]


def fold(
    weight: torch.Tensor,
    bias: torch.Tensor,
    fitted: tuple[torch.Tensor, torch.Tensor],
    mask_bits: int,
    cap: float,
    inputs: tuple[torch.Tensor, torch.Tensor],
    activation_bits: int,
    *,
    refine: bool,
) -> Integers:
    """The integers of one layer.

    ``weight`` and ``bias`` are float64 in real units. ``fitted`` are the mask and the real scalars. ``cap``
    is the real activation that becomes 2**A - 1. ``inputs`` are scale and zero by input channel, float64
    [C_in] each. ``refine`` says whether masks are adapted to the rounded scalars (``round_scalars``) or stay
    as fitted. Raises InputError for numbers that are not finite.
    """
    if not (torch.isfinite(weight).all() and torch.isfinite(bias).all() and 0 < cap < float("inf")):
        raise InputError("training diverged: weights or ranges are no longer finite; allowed: a lower --rate")
    raised = 1.0
    while True:
        scale = cap * raised / ((1 << activation_bits) - 1)
        found, scalar_excess, bias_excess = _fold_at(weight, bias, fitted, mask_bits, scale, inputs, refine)
        excess = max(scalar_excess, min(bias_excess, RAISE_MAX / raised))
        if excess <= 1:
            mask, alpha, stored, shift = found
            return Integers(mask, alpha, stored, shift, scale, raised)
        raised *= excess * (1 + 2.0**-10)


def _fold_at(
    weight: torch.Tensor,
    bias: torch.Tensor,
    fitted: tuple[torch.Tensor, torch.Tensor],
    mask_bits: int,
    scale: float,
    inputs: tuple[torch.Tensor, torch.Tensor],
    refine: bool,
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int], float, float]:
    gain = inputs[0] / scale
    shift = largest_shift(float((fitted[1] * gain).max()))
    unit = 2.0**-shift / gain
    if refine:
        mask, rounded = round_scalars(weight, *fitted, unit, mask_bits)
    else:
        mask, rounded = fitted[0], round_half_up(fitted[1] / unit)
    alpha = rounded.clamp(0, SCALAR_MAX)
    if mask_bits > 1:
        mask = mask * (alpha > 0)[:, :, None, None]
    # The order of the taps (numpy's or another) does not matter: whole numbers below 2**53 add up exactly.
    sums = mask.sum(dim=(2, 3)) * alpha
    at_zero = (sums * inputs[1]).sum(dim=1) * 2.0**-shift
    steps = round_half_up((bias / scale - at_zero) * (1 << BIAS_FRACTION))
    stored = steps.clamp(BIAS_MIN, BIAS_MAX)
    excess = torch.where(steps > 0, steps / BIAS_MAX, steps / BIAS_MIN).max()
    return (mask, alpha, stored, shift), float(rounded.max()) / SCALAR_MAX, max(0.0, float(excess))
