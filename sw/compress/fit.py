"""Fitting masks: a kernel's nine real weights w become alpha * M, with M of few bits and alpha >= 0.

No rule depends on the size of the weights: the fit of c * w has the same masks and c times the scalars.
Therefore masks can be fitted before the scales of the layer are known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS, table_entries
from kestrel.sw.compress.mask_rules import Rule, fit_kernels, least_squares, paper, vendor
from kestrel.sw.compress.scalar_tables import fit_entries, in_table, kernels_of


@dataclass(frozen=True)
class Fit:
    """mask: int8 [C_out, C_in, k, k]; alpha: float64 [C_out, C_in], not negative; scalar_bits: alpha, times
    the gain of each input channel (``fit_masks``), has at most 2**scalar_bits values, unless these are 8."""

    mask: np.ndarray
    alpha: np.ndarray
    scalar_bits: int = SCALAR_BITS

    def weights(self) -> np.ndarray:
        """alpha * M, float64 [C_out, C_in, 3, 3]."""
        return self.mask * self.alpha[:, :, None, None]


def fit_masks(weights: np.ndarray, mask_bits: int, rule: str = "least-squares",
              scalar_bits: int = SCALAR_BITS, gain: np.ndarray | None = None) -> Fit:
    """Fits masks of ``mask_bits`` to weights [C_out, C_in, 3, 3] by one of ``FIT_RULES``. A kernel of zeros
    gets alpha 0. Kernels of 1x1 are their sign and size by every rule.

    With scalars of fewer than 8 bits, those of all kernels come from one table. Rules that prescribe masks
    keep them, and their scalars are clustered; by the others masks and table are chosen together
    (``fit_entries``). gain: float64 [C_in], what the input channels' units are worth, where they differ: a
    table holds what is stored, alpha times the gain. Raises InputError for an unknown rule.
    """
    gains = np.ones(weights.shape[1]) if gain is None else gain
    if weights.shape[2] == 1:
        find_rule(rule)
        sizes = np.abs(weights[:, :, 0, 0]).astype(np.float64)
        stored = in_table(sizes * gains, np.broadcast_to(gains**-2.0, sizes.shape), scalar_bits)
        return Fit(signs(weights), stored / gains if table_entries(scalar_bits) else sizes, scalar_bits)
    kernels = torch.from_numpy(np.asarray(weights, dtype=np.float64))
    mask, alpha = fit_kernels(kernels, mask_bits, find_rule(rule))
    if not table_entries(scalar_bits):
        return Fit(mask.numpy().astype(np.int8), alpha.numpy())
    norm = mask.square().sum(dim=(2, 3))
    if rule in PRESCRIBING_RULES:
        stored = in_table(alpha.numpy() * gains, norm.numpy() / gains**2, scalar_bits)
        return Fit(mask.numpy().astype(np.int8), stored / gains, scalar_bits)
    unit = torch.from_numpy(1 / gains).expand(alpha.shape).reshape(-1)
    found, stored = fit_entries(kernels_of(kernels), mask_bits, alpha.reshape(-1) / unit, norm.reshape(-1),
                                unit, scalar_bits)
    mask, alpha = found.reshape(kernels.shape), (stored * unit).reshape(alpha.shape)
    return Fit(mask.numpy().astype(np.int8), alpha.numpy(), scalar_bits)


def signs(weights: np.ndarray) -> np.ndarray:
    """1 or -1 for each weight, int8; 0 counts as positive."""
    return np.where(weights < 0, -1, 1).astype(np.int8)


OUTPUT_RULE = "output"
"""Starts from least squares; ``kestrel.sw.compress.output_fit`` continues with calibration pictures."""

SEQUENTIAL_RULE = "sequential"
"""Like ``output``, but layer after layer: ``kestrel.sw.compress.sequential``."""

FIT_RULES: dict[str, Rule] = {
    "least-squares": least_squares,
    OUTPUT_RULE: least_squares,
    SEQUENTIAL_RULE: least_squares,
    "vendor": vendor,
    "paper": paper,
}
"""The rules of ``kestrel compress`` by name, each with the rule that its fit starts from."""

PRESCRIBING_RULES = ("vendor", "paper")
"""Rules whose masks stay as they are when scalars are rounded; those of the others are refined."""


def find_rule(name: str, among: Mapping[str, Rule] = FIT_RULES) -> Rule:
    """The rule called ``name`` of those in ``among``. Raises InputError."""
    if name not in among:
        raise InputError(f"fit {name!r}; allowed here: {', '.join(among)}")
    return among[name]


def sqnr_db(weights: np.ndarray, approximation: np.ndarray) -> float | None:
    """Signal to quantisation noise of weights, 10 log10(sum w^2 / sum (w - approximation)^2), in dB.
    None where there is no noise or no signal."""
    exact = np.asarray(weights, dtype=np.float64)
    signal = float((exact**2).sum())
    noise = float(((exact - approximation) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
