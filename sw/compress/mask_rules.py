"""The rules that fit masks and scalars to kernels, in torch: compression and training use the same code.

Compression calls them through ``kestrel.sw.compress.fit`` once per layer on the CPU; training calls them
after every step, on the device where the weights are. All rules work on many kernels at once, weights ``w``
of shape [K, 9], and none depends on the size of the weights: ``c * w`` has the same masks and c times the
scalars.

Sums over the nine taps are made in a fixed order (``sum_taps``). With ``Tensor.sum`` the last bit of a scalar
would depend on the device and on the vector width of the processor.
"""

from collections.abc import Callable

import torch

from kestrel.hw.spec.masks import MASK_MAGNITUDES
from kestrel.hw.spec.widths import TAPS

Rule = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]
"""rule(w float64 [K, 9], mask bits) -> (mask float64 [K, 9], alpha float64 [K], not negative)."""

KERNELS_AT_ONCE = 1 << 14
"""Kernels fitted at a time: the exact search holds some thirty numbers per tap, which should stay in the
processor's cache."""


def round_half_up(value: torch.Tensor) -> torch.Tensor:
    """The nearest integer, halves upwards, as the chip rounds."""
    return torch.floor(value + 0.5)


def sum_taps(values: torch.Tensor) -> torch.Tensor:
    """Sums of the nine taps of each kernel, [..., 9] -> [...], added pairwise in a fixed order."""
    a, b, c, d, e, f, g, h, last = values.unbind(-1)
    return (((a + b) + (c + d)) + ((e + f) + (g + h))) + last


def _levels(mask_bits: int, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The magnitudes a tap may have, ascending, and the middles between neighbours."""
    levels = torch.tensor(MASK_MAGNITUDES[mask_bits], dtype=dtype, device=device)
    return levels, (levels[1:] + levels[:-1]) / 2


def nearest_mask(ratio: torch.Tensor, mask_bits: int) -> torch.Tensor:
    """The mask value nearest to each w / alpha, in the type of ``ratio``. Ties go away from zero, and with
    one bit 0 counts as positive."""
    levels, middles = _levels(mask_bits, ratio.dtype, ratio.device)
    magnitude = levels[torch.bucketize(ratio.abs().contiguous(), middles, right=True)]
    return torch.where(ratio < 0, -magnitude, magnitude)


def least_squares_alpha(w: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The scalar of least squared error for each kernel's mask, [K]; w and mask [K, 9]. It is 0 for a mask of
    zeros."""
    return sum_taps(w * mask) / sum_taps(mask * mask).clamp(min=1)


def least_squares(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The pair (M, alpha) of least squared error, found exactly.

    For a fixed mask the best scalar is (w.M)/(M.M) and the error is |w|^2 - (w.M)^2/(M.M). For a fixed
    scalar the best mask takes the level nearest to w/alpha in each tap. Alternating the two stops in a local
    minimum. But as alpha falls from infinity to 0, the nearest mask changes only where some |w|/alpha crosses
    the middle between two levels, at most nine times (levels - 1) places. Therefore all masks that can be
    best are the prefixes of one sorted list of crossings, and running sums of w.M and M.M rate them all.
    """
    levels, middles = _levels(mask_bits, w.dtype, w.device)
    size = w.abs()
    if len(levels) == 1:  # nothing to cross
        return _sign(w), sum_taps(size) * levels[0] / (TAPS * levels[0] ** 2)
    crossing = (size[:, :, None] / middles).flatten(1)
    dot_step = (size[:, :, None] * levels.diff()).flatten(1)
    norm_step = (levels**2).diff().expand(len(w), TAPS, len(middles)).flatten(1)
    crossing, order = crossing.sort(dim=1, descending=True, stable=True)
    dots = (sum_taps(size) * levels[0])[:, None] + dot_step.gather(1, order).cumsum(dim=1)
    norms = TAPS * levels[0] ** 2 + norm_step.gather(1, order).cumsum(dim=1)
    best = (dots**2 / norms).argmax(dim=1, keepdim=True)
    level = (size[:, :, None] / middles >= crossing.gather(1, best)[:, :, None]).sum(dim=2)
    mask = levels[level] * w.sign()
    return mask, least_squares_alpha(w, mask)


def vendor(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The rule of the chip maker's published kit, which counts on retraining afterwards.

    1 bit: alpha = mean|w|, the sign (0 counts as +). 2 bits: the same alpha, zero where |w| < alpha/4.
    3 bits: step = mean|w|/4, c = trunc(|w|/step), and c >= 3 becomes 4. 5 bits: step = max|w|/15, rounded.
    The kit has no 4 bits; the rule here follows that for 5: step = max|w|/7, rounded.
    """
    size = w.abs()
    mean = sum_taps(size) / TAPS
    if mask_bits == 1:
        return _sign(w), mean
    if mask_bits == 2:
        return _sign(w) * (size >= mean[:, None] / 4) * (size > 0), mean
    if mask_bits == 3:
        step = mean / 4
        count = _ratio(size, step).floor()
        return _sign(w) * torch.where(count >= 3, 4.0, count), step
    step = size.amax(dim=1) / MASK_MAGNITUDES[mask_bits][-1]
    return _sign(w) * round_half_up(_ratio(size, step)), step


def paper(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Section 3.1 of the source paper, literally: the scalar is the mean of the kernel, which with one bit is
    also the threshold between +1 and -1.

    The mean may be negative, but the stored scalar may not: the sign goes into the mask, so that the product
    alpha * M is the literal one. For more bits the paper names only the scalar; the mask is then the level
    nearest to w / alpha, by its equation 1. A mean near zero makes this a poor approximation; the rule is
    kept for reference.
    """
    mean = sum_taps(w) / TAPS
    alpha = mean.abs()
    if mask_bits == 1:
        above = torch.where(w > mean[:, None], 1.0, -1.0).to(w.dtype)
        return above * _sign(mean)[:, None], alpha
    return nearest_mask(_ratio(w, alpha), mask_bits), alpha


RULES: dict[str, Rule] = {"least-squares": least_squares, "vendor": vendor, "paper": paper}
"""The rules that need nothing but the weights, by the names that users give them."""


def fit_kernels(weight: torch.Tensor, mask_bits: int, rule: Rule) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks [C_out, C_in, 3, 3] and real scalars [C_out, C_in], float64, of weight [C_out, C_in, 3, 3]."""
    kernels = weight.double().reshape(-1, TAPS)
    slices = [rule(part, mask_bits) for part in kernels.split(KERNELS_AT_ONCE)]
    return (
        torch.cat([mask for mask, _ in slices]).reshape(weight.shape),
        torch.cat([alpha for _, alpha in slices]).reshape(weight.shape[:2]),
    )


def improve(weight: torch.Tensor, alpha: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One alternation of least squares instead of the exact search: the masks nearest to the given scalars,
    then the best scalars for these masks. Shapes are those of ``fit_kernels``.

    Weights move little in a training step, so that this stays close to the exact fit at a tenth of its time.
    A kernel whose scalar is 0 starts from the mean size of its weights.
    """
    kernels, last = weight.double().reshape(-1, TAPS), alpha.double().reshape(-1)
    last = torch.where(last > 0, last, sum_taps(kernels.abs()) / TAPS)
    mask = nearest_mask(_ratio(kernels, last), mask_bits)
    return mask.reshape(weight.shape), least_squares_alpha(kernels, mask).reshape(alpha.shape)


def round_scalars(
    weight: torch.Tensor, mask: torch.Tensor, alpha: torch.Tensor, unit: torch.Tensor, mask_bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks and whole scalars of least squared weight error near the fitted ``mask`` and real ``alpha``.

    weight and mask: float64 [C_out, C_in, 3, 3]; alpha: float64 [C_out, C_in]; unit: float64 [C_in], what a
    scalar of 1 is worth. Both whole neighbours of each scalar are tried, each with the masks nearest to it,
    and the better is kept: where scalars are small, rounding moves the middle between two levels.
    """
    target, scalar = weight / unit[:, None, None], alpha / unit
    best_mask, best_scalar = mask, round_half_up(scalar)
    best_error = _squared_error(target, best_mask, best_scalar)
    low = scalar.floor()
    for neighbour in (low, low + 1):
        candidate = neighbour.clamp(min=1)  # 0 leaves nothing to fit a mask to
        nearest = nearest_mask(target / candidate[:, :, None, None], mask_bits)
        error = _squared_error(target, nearest, candidate)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scalar = torch.where(better, candidate, best_scalar)
        best_mask = torch.where(better[:, :, None, None], nearest, best_mask)
    return best_mask, best_scalar


def _squared_error(target: torch.Tensor, mask: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Squared error of each kernel, [C_out, C_in]."""
    return sum_taps((target - mask * alpha[:, :, None, None]).square().flatten(2))


def _sign(w: torch.Tensor) -> torch.Tensor:
    """1 or -1 for each weight, in its type; 0 counts as positive."""
    return torch.where(w < 0, -1.0, 1.0).to(w.dtype)


def _ratio(w: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """w / step by kernel; 0 where the step is 0."""
    return torch.where(step[:, None] > 0, w / torch.where(step > 0, step, 1.0)[:, None], 0.0)
