"""Fitting masks: a kernel's nine real weights w as alpha * M, M of few bits, alpha >= 0.

The rules share one signature. All work on many kernels at once and none depends on the size of the
weights: fit(c * w) has the same masks and c times the scalars. That is why masks can be fitted before the
scales of the layer are known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_MAGNITUDES
from kestrel.hw.spec.widths import TAPS

KERNELS_AT_ONCE = 1 << 14
"""Kernels in a slice, so that the temporary arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Fit:
    """mask: int8 [C_out, C_in, 3, 3]; alpha: float64 [C_out, C_in], not negative."""

    mask: np.ndarray
    alpha: np.ndarray

    def weights(self) -> np.ndarray:
        """alpha * M, float64 [C_out, C_in, 3, 3]."""
        return self.mask * self.alpha[:, :, None, None]


def fit_masks(weights: np.ndarray, mask_bits: int, rule: str = "least-squares") -> Fit:
    """Fits masks of ``mask_bits`` to weights [C_out, C_in, 3, 3] by one of ``FIT_RULES``.

    Raises InputError for an unknown rule. A kernel of zeros gets alpha 0.
    """
    function = find_rule(rule)
    kernels = np.asarray(weights, dtype=np.float64).reshape(-1, TAPS)
    mask = np.empty(kernels.shape, dtype=np.int8)
    alpha = np.empty(len(kernels))
    for start in range(0, len(kernels), KERNELS_AT_ONCE):
        part = slice(start, start + KERNELS_AT_ONCE)
        mask[part], alpha[part] = function(kernels[part], mask_bits)
    return Fit(mask.reshape(weights.shape), alpha.reshape(weights.shape[:2]))


# --------------------------------------------------------------------------------------------------------
# least-squares
# --------------------------------------------------------------------------------------------------------


def _least_squares(w: np.ndarray, mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The pair (M, alpha) of least squared error, found exactly.

    For a fixed mask the best scalar is (w.M)/(M.M) and the error is |w|^2 - (w.M)^2/(M.M). For a fixed
    scalar the best mask takes the level nearest to w/alpha in each tap. Alternating the two stops in a local
    minimum; but as alpha falls from infinity to 0 the nearest mask changes only where some |w|/alpha crosses
    the middle between two levels, at most nine times (levels - 1) places. So all masks that can be best are
    the prefixes of one sorted list of crossings, and running sums of w.M and M.M rate them all.
    """
    levels = np.array(MASK_MAGNITUDES[mask_bits], dtype=np.float64)
    size = np.abs(w)
    # Middles between neighbouring levels; for one bit there is a single level and nothing to cross.
    middle = (levels[1:] + levels[:-1]) / 2
    dot = size.sum(axis=1) * levels[0]
    norm = np.full(len(w), TAPS * levels[0] ** 2)
    if len(middle) == 0:
        return np.where(w < 0, -1, 1).astype(np.int8), dot / norm
    crossing = (size[:, :, None] / middle).reshape(len(w), -1)
    dot_step = (size[:, :, None] * np.diff(levels)).reshape(len(w), -1)
    norm_step = np.broadcast_to(np.diff(levels**2), (len(w), TAPS, len(middle))).reshape(len(w), -1)
    order = np.argsort(-crossing, axis=1, kind="stable")
    dots = dot[:, None] + np.cumsum(np.take_along_axis(dot_step, order, axis=1), axis=1)
    norms = norm[:, None] + np.cumsum(np.take_along_axis(norm_step, order, axis=1), axis=1)
    best = np.argmax(dots**2 / norms, axis=1)
    alpha_low = np.take_along_axis(np.take_along_axis(crossing, order, axis=1), best[:, None], axis=1)
    level = (size[:, :, None] / middle >= alpha_low[:, :, None]).sum(axis=2)
    magnitude = levels[level] * (size > 0)
    norm = (magnitude**2).sum(axis=1)
    alpha = (size * magnitude).sum(axis=1) / np.maximum(norm, 1)
    return (magnitude * np.sign(w)).astype(np.int8), alpha


def nearest_mask(ratio: np.ndarray, mask_bits: int) -> np.ndarray:
    """The mask value nearest to each w/alpha, int8; ties away from zero, and 0 counts as + with one bit."""
    levels = np.array(MASK_MAGNITUDES[mask_bits], dtype=np.float64)
    level = np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(ratio), side="right")
    return (levels[level] * np.where(ratio < 0, -1, 1)).astype(np.int8)


# --------------------------------------------------------------------------------------------------------
# vendor
# --------------------------------------------------------------------------------------------------------


def _vendor(w: np.ndarray, mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The rule of the chip maker's published kit; it counts on retraining afterwards.

    1 bit: alpha = mean|w|, the sign (0 counts as +). 2 bits: the same alpha, zero where |w| < alpha/4.
    3 bits: step = mean|w|/4, c = trunc(|w|/step), and c >= 3 becomes 4. 5 bits: step = max|w|/15, rounded.
    The kit has no 4 bits; here by analogy with 5: step = max|w|/7, rounded.
    """
    size = np.abs(w)
    mean = size.mean(axis=1)
    sign = np.where(w < 0, -1, 1)
    if mask_bits == 1:
        return sign.astype(np.int8), mean
    if mask_bits == 2:
        return (sign * (size >= mean[:, None] / 4) * (size > 0)).astype(np.int8), mean
    if mask_bits == 3:
        step = mean / 4
        count = np.floor(_ratio(size, step))
        return (sign * np.where(count >= 3, 4, count)).astype(np.int8), step
    step = size.max(axis=1) / MASK_MAGNITUDES[mask_bits][-1]
    return (sign * np.floor(_ratio(size, step) + 0.5)).astype(np.int8), step


# --------------------------------------------------------------------------------------------------------
# paper
# --------------------------------------------------------------------------------------------------------


def _paper(w: np.ndarray, mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Section 3.1 of the source paper, literally: the scalar is the mean of the kernel, which with one bit
    is also the threshold between +1 and -1.

    The mean may be negative, the stored scalar not: the sign goes into the mask, and the product alpha * M
    is the literal one. For more bits the paper names only the scalar; the mask is then the level nearest to
    w / alpha, by its equation 1. A mean near zero makes this a poor approximation; it is kept for reference.
    """
    mean = w.mean(axis=1)
    alpha = np.abs(mean)
    if mask_bits == 1:
        mask = np.where(w > mean[:, None], 1, -1) * np.where(mean < 0, -1, 1)[:, None]
        return mask.astype(np.int8), alpha
    return nearest_mask(_ratio(w, alpha), mask_bits), alpha


def _ratio(w: np.ndarray, step: np.ndarray) -> np.ndarray:
    """w / step by kernel; 0 where the step is 0."""
    return np.divide(w, step[:, None], out=np.zeros_like(w), where=step[:, None] > 0)


OUTPUT_RULE = "output"
"""Starts from least squares here; ``kestrel.sw.compress.output_fit`` goes on with calibration pictures."""

SEQUENTIAL_RULE = "sequential"
"""The same, layer after layer: ``kestrel.sw.compress.sequential``."""

FIT_RULES: dict[str, Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]] = {
    "least-squares": _least_squares,
    OUTPUT_RULE: _least_squares,
    SEQUENTIAL_RULE: _least_squares,
    "vendor": _vendor,
    "paper": _paper,
}

PRESCRIBING_RULES = ("vendor", "paper")
"""Rules that prescribe the mask, whatever becomes of the scalar; the others are refined."""


def find_rule(name: str) -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """The fitting rule called ``name``. Raises InputError."""
    if name not in FIT_RULES:
        raise InputError(f"fit {name!r} is not known; allowed: {', '.join(FIT_RULES)}")
    return FIT_RULES[name]


def sqnr_db(weights: np.ndarray, approximation: np.ndarray) -> float | None:
    """Signal to quantisation noise of weights, 10 log10(sum w^2 / sum (w - approximation)^2), in dB.
    None where there is no noise or no signal."""
    exact = np.asarray(weights, dtype=np.float64)
    signal = float((exact**2).sum())
    noise = float(((exact - approximation) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
