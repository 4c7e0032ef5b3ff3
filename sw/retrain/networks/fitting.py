"""The fitting rules of ``sw.compress.fit`` in torch, on any device: training fits a layer's masks anew after
every step. Same formulas, same float64, held to the originals by a test; why they are as they are is said
there.
"""

from collections.abc import Callable
from itertools import pairwise

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_MAGNITUDES
from kestrel.hw.spec.widths import TAPS

KERNELS_AT_ONCE = 1 << 15
"""Kernels in a slice: the exact search holds some thirty numbers a tap."""


def round_half_up(value: torch.Tensor) -> torch.Tensor:
    """The nearest integer, halves upwards, as the chip rounds."""
    return torch.floor(value + 0.5)


def nearest_mask(ratio: torch.Tensor, mask_bits: int) -> torch.Tensor:
    """The mask value nearest to each w/alpha, in ratio's type; ties away from zero, 0 counts as + with one
    bit."""
    levels = MASK_MAGNITUDES[mask_bits]
    size = ratio.abs()
    if mask_bits > 3:  # consecutive whole numbers
        magnitude = round_half_up(size).clamp_(max=levels[-1])
    else:
        magnitude = torch.full_like(size, levels[0])
        for low, high in pairwise(levels):
            magnitude += (size >= (low + high) / 2) * (high - low)
    return torch.where(ratio < 0, -magnitude, magnitude)


def least_squares_alpha(w: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The best scalar of each kernel for its mask, [K]; w, mask [K, 9]. 0 for a mask of zeros."""
    return (w * mask).sum(dim=1) / (mask * mask).sum(dim=1).clamp(min=1)


def _least_squares(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    levels = torch.tensor(MASK_MAGNITUDES[mask_bits], dtype=w.dtype, device=w.device)
    size = w.abs()
    if len(levels) == 1:
        return torch.where(w < 0, -1.0, 1.0).to(w.dtype), size.sum(dim=1) / TAPS
    middle = (levels[1:] + levels[:-1]) / 2
    crossing = (size[:, :, None] / middle).flatten(1)
    dot_step = (size[:, :, None] * levels.diff()).flatten(1)
    norm_step = (levels**2).diff().expand(len(w), TAPS, len(middle)).flatten(1)
    crossing, order = crossing.sort(dim=1, descending=True, stable=True)
    dots = (size.sum(dim=1) * levels[0])[:, None] + dot_step.gather(1, order).cumsum(dim=1)
    norms = TAPS * levels[0] ** 2 + norm_step.gather(1, order).cumsum(dim=1)
    best = (dots**2 / norms).argmax(dim=1, keepdim=True)
    level = (size[:, :, None] / middle >= crossing.gather(1, best)[:, :, None]).sum(dim=2)
    magnitude = levels[level] * (size > 0)
    mask = magnitude * w.sign()
    return mask, least_squares_alpha(w, mask)


def _vendor(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = w.abs()
    mean = size.mean(dim=1)
    sign = torch.where(w < 0, -1.0, 1.0).to(w.dtype)
    if mask_bits == 1:
        return sign, mean
    if mask_bits == 2:
        return sign * (size >= mean[:, None] / 4) * (size > 0), mean
    if mask_bits == 3:
        step = mean / 4
        count = _ratio(size, step).floor()
        return sign * torch.where(count >= 3, 4.0, count), step
    step = size.amax(dim=1) / MASK_MAGNITUDES[mask_bits][-1]
    return sign * round_half_up(_ratio(size, step)), step


def _paper(w: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    mean = w.mean(dim=1)
    alpha = mean.abs()
    if mask_bits == 1:
        above = torch.where(w > mean[:, None], 1.0, -1.0).to(w.dtype)
        return above * torch.where(mean < 0, -1.0, 1.0)[:, None], alpha
    return nearest_mask(_ratio(w, alpha), mask_bits), alpha


def _ratio(w: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """w / step by kernel; 0 where the step is 0."""
    return torch.where(step[:, None] > 0, w / torch.where(step > 0, step, 1.0)[:, None], 0.0)


RULES: dict[str, Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]] = {
    "least-squares": _least_squares,
    "vendor": _vendor,
    "paper": _paper,
}
"""rule(w float64 [K, 9], mask bits) -> (mask [K, 9], alpha [K], not negative)."""


def fit(weight: torch.Tensor, mask_bits: int, rule: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks [C_out, C_in, 3, 3] and real scalars [C_out, C_in], float64, of weight [C_out, C_in, 3, 3].
    Raises InputError for an unknown rule."""
    if rule not in RULES:
        raise InputError(f"fit {rule!r}; allowed in training: {', '.join(RULES)}")
    kernels = weight.double().reshape(-1, TAPS)
    parts = [RULES[rule](part, mask_bits) for part in kernels.split(KERNELS_AT_ONCE)]
    return (
        torch.cat([mask for mask, _ in parts]).reshape(weight.shape),
        torch.cat([alpha for _, alpha in parts]).reshape(weight.shape[:2]),
    )


def follow(weight: torch.Tensor, alpha: torch.Tensor, mask_bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One alternation of least squares instead of the exact search: the masks nearest to the scalars of the
    step before, then the best scalars for these masks. Weights move little in a step, so this stays close
    to the exact fit at a tenth of its time. A kernel without scalar starts from its mean."""
    kernels, last = weight.double().reshape(-1, TAPS), alpha.double().reshape(-1)
    last = torch.where(last > 0, last, kernels.abs().mean(dim=1))
    mask = nearest_mask(_ratio(kernels, last), mask_bits)
    return mask.reshape(weight.shape), least_squares_alpha(kernels, mask).reshape(alpha.shape)
