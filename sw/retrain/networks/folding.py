"""Folding in torch: from a layer's real weights to its integers, as ``kestrel.sw.compress.fold`` does it.

The arithmetic is that of ``docs/arithmetic.md``, section 7, in float64 on the device where training runs.
A test compares every integer with that of ``fold_layer``. Only where compression raises a range so that the
scalar of an identity is a whole number, training does not: it trains the scalars themselves.
"""

from dataclasses import dataclass

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import BIAS_FRACTION, BIAS_MAX, BIAS_MIN, SCALAR_BITS, SCALAR_MAX, table_entries
from kestrel.sw.compress.fold import RAISE_MAX, choose_shifts
from kestrel.sw.compress.mask_rules import round_half_up, round_scalars
from kestrel.sw.compress.scalar_tables import choose_entries, fit_table, in_table, kernels_of, nearest_entries


@dataclass(frozen=True)
class Integers:
    """A layer's integers, as float64 tensors: mask [C_out, C_in, k, k], alpha [C_out, C_in], bias [C_out].

    ``scale`` is the real value of one output unit. ``raised`` is the factor by which the range was enlarged.
    Of a shortcut: ``shortcut_alpha`` and ``shortcut_sign``, [C_out, C_shortcut] of a projection;
    ``shortcut_alpha`` [C_out] and no sign of an identity; and ``shortcut_shift``.
    """

    mask: torch.Tensor
    alpha: torch.Tensor
    bias: torch.Tensor
    shift: int
    scale: float
    raised: float
    shortcut_alpha: torch.Tensor | None = None
    shortcut_sign: torch.Tensor | None = None
    shortcut_shift: int = 0

    def weights(self) -> torch.Tensor:
        """alpha * M as whole numbers, float64 [C_out, C_in, k, k]."""
        return self.mask * self.alpha[:, :, None, None]

    def shortcut_weights(self) -> torch.Tensor | None:
        """By what the shortcut's map is multiplied, as whole numbers, its shift included; None without a
        shortcut."""
        if self.shortcut_alpha is None:
            return None
        weight = self.shortcut_alpha * 2.0**self.shortcut_shift
        return weight if self.shortcut_sign is None else weight * self.shortcut_sign


@dataclass(frozen=True)
class RealShortcut:
    """A shortcut's real weights, float64 [C_out, C_shortcut] of a projection or [C_out] of an identity, and
    the real value of one unit of its map. An identity's scalars have no sign: negative ones count as 0."""

    weight: torch.Tensor
    scale: float

    def sizes(self) -> torch.Tensor:
        """What the scalars stand for."""
        return self.weight.abs() if self.weight.ndim > 1 else self.weight.clamp(min=0)


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
    shortcut: RealShortcut | None = None,
    raised: float = 1.0,
    scalar_bits: int = SCALAR_BITS,
) -> Integers:
    """The integers of one layer.

    ``weight`` and ``bias`` are float64 in real units. ``fitted`` are the mask and the real scalars. ``cap``
    is the real activation that becomes 2**A - 1. ``inputs`` are scale and zero by input channel, float64
    [C_in] each. ``refine`` says whether masks are adapted to the rounded scalars (``round_scalars``) or stay
    as fitted. ``raised`` is the factor by which the range is enlarged at least. With fewer ``scalar_bits``
    than 8 the scalars come from a table, which follows the fitted ones: it is made anew each time. Raises
    InputError for numbers that are not finite.
    """
    tensors = (weight, bias) if shortcut is None else (weight, bias, shortcut.weight)
    if not (all(bool(torch.isfinite(t).all()) for t in tensors) and 0 < cap < float("inf")):
        raise InputError("training diverged: weights or ranges are no longer finite; allowed: a lower --rate")
    rounding = _Rounding(mask_bits, scalar_bits, refine)
    while True:
        scale = cap * raised / ((1 << activation_bits) - 1)
        found = _fold_at(weight, bias, fitted, scale, inputs, shortcut, raised, rounding)
        integers, scalar_excess, bias_excess = found
        excess = max(scalar_excess, min(bias_excess, RAISE_MAX / raised))
        if excess <= 1:
            return integers
        raised *= excess * (1 + 2.0**-10)


@dataclass(frozen=True)
class _Rounding:
    """How real scalars become whole ones: ``refine`` says whether masks are adapted to them."""

    mask_bits: int
    scalar_bits: int
    refine: bool

    def __call__(
        self, weight: torch.Tensor, fitted: tuple[torch.Tensor, torch.Tensor], unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks and whole scalars; ``unit`` is what a scalar of 1 is worth, float64 [C_in]."""
        if table_entries(self.scalar_bits):
            return self._from_table(weight, fitted, unit)
        if self.refine:
            return round_scalars(weight, *fitted, unit, self.mask_bits)
        return fitted[0], round_half_up(fitted[1] / unit)

    def _from_table(
        self, weight: torch.Tensor, fitted: tuple[torch.Tensor, torch.Tensor], unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mask, alpha = fitted
        stored, power = alpha / unit, mask.square().sum(dim=(2, 3)) * unit.square()
        real = fit_table(stored.cpu().numpy(), power.cpu().numpy(), self.scalar_bits)
        table = np.unique(np.floor(real + 0.5))
        entries = torch.from_numpy(table).to(weight.device)
        if self.refine:
            units = unit.expand(alpha.shape).reshape(-1)
            found, number = choose_entries(kernels_of(weight), self.mask_bits, entries, units)
            return found.reshape(mask.shape), entries[number].reshape(alpha.shape)
        number = torch.from_numpy(nearest_entries(stored.cpu().numpy(), table)).to(weight.device)
        return mask, entries[number]


def _fold_at(
    weight: torch.Tensor,
    bias: torch.Tensor,
    fitted: tuple[torch.Tensor, torch.Tensor],
    scale: float,
    inputs: tuple[torch.Tensor, torch.Tensor],
    shortcut: RealShortcut | None,
    raised: float,
    rounding: _Rounding,
) -> tuple[Integers, float, float]:
    """The integers with the output scale ``scale``, and by how much their scalars and their biases are too
    large."""
    gain = inputs[0] / scale
    largest = None if shortcut is None else float(shortcut.sizes().max()) * shortcut.scale / scale
    shift, lift = choose_shifts(float((fitted[1] * gain).max()), largest)
    unit = 2.0**-shift / gain
    mask, rounded = rounding(weight, fitted, unit)
    alpha = rounded.clamp(0, SCALAR_MAX)
    if rounding.mask_bits > 1:
        mask = mask * (alpha > 0)[:, :, None, None]
    # The order of the taps (numpy's or another) does not matter: whole numbers below 2**53 add up exactly.
    sums = mask.sum(dim=(2, 3)) * alpha
    at_zero = (sums * inputs[1]).sum(dim=1) * 2.0**-shift
    steps = round_half_up((bias / scale - at_zero) * (1 << BIAS_FRACTION))
    stored = steps.clamp(BIAS_MIN, BIAS_MAX)
    excess = torch.where(steps > 0, steps / BIAS_MAX, steps / BIAS_MIN).max()
    beta, sign, greatest = None, None, float(rounded.max())
    if shortcut is not None:
        real = shortcut.sizes() * (shortcut.scale / scale * 2.0 ** (shift - lift))
        if table_entries(rounding.scalar_bits):
            sizes = real.cpu().numpy()
            sizes = in_table(sizes, np.ones_like(sizes), rounding.scalar_bits)
            real = torch.from_numpy(sizes).to(real.device)
        whole = round_half_up(real)
        beta, greatest = whole.clamp(0, SCALAR_MAX), max(greatest, float(whole.max()))
        if shortcut.weight.ndim > 1:
            sign = torch.where(shortcut.weight < 0, -1.0, 1.0).to(beta.dtype)
    integers = Integers(mask, alpha, stored, shift, scale, raised, beta, sign, lift)
    return integers, greatest / SCALAR_MAX, max(0.0, float(excess))
