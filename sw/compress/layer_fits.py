"""Fits of a network's layers, each made once and kept, for code that compresses a network in many ways."""

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS, SCALAR_MAX
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, silent
from kestrel.sw.compress.fit import (
    FIT_RULES,
    OUTPUT_RULE,
    PRESCRIBING_RULES,
    SEQUENTIAL_RULE,
    Fit,
    find_rule,
    fit_masks,
)
from kestrel.sw.compress.output_fit import ChannelFit, measure_moments
from kestrel.sw.compress.refine import Refine, WindowFit, keep_masks, nearest_masks, pixel_moment
from kestrel.sw.model.blocks import blocks_pad
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork


class LayerFits:
    """Masks and scalars of every layer of ``network`` by the rule ``rule``, at any widths.

    A layer's fit does not depend on the widths of the others, because rules measure the pictures in the float
    network only. Raises InputError for an unknown rule, for one that goes layer after layer, and for a bad
    picture.
    """

    def __init__(self, network: FloatNetwork, preprocessing: Preprocessing, pictures: CalibrationPictures,
                 rule: str, progress: Progress = silent) -> None:
        find_rule(rule)
        if rule == SEQUENTIAL_RULE:
            others = ", ".join(name for name in FIT_RULES if name != SEQUENTIAL_RULE)
            raise InputError(f"fit {rule}: each layer's depends on the layers before; allowed here: {others}")
        self.network = network
        self.rule = rule
        self._scale = np.asarray(preprocessing.scale)
        self._known: dict[tuple[int, int, int], tuple[Fit, Refine]] = {}
        self._channels: dict[int, ChannelFit] = {}
        self._moments: list[np.ndarray] = []
        self._window: WindowFit | None = None
        blocks = network.shape.blocks
        if rule == OUTPUT_RULE:
            self._moments = measure_moments(network, preprocessing, pictures, progress)
        elif rule not in PRESCRIBING_RULES and blocks:
            self._moments = measure_moments(network, preprocessing, pictures, progress, layers=1)
        if rule not in PRESCRIBING_RULES and not blocks:
            self._window = WindowFit(pixel_moment(pictures, preprocessing, progress))

    def get(self, position: int, mask_bits: int, scalar_bits: int = SCALAR_BITS) -> tuple[Fit, Refine]:
        """The layer's fit and the function that rounds its scalars."""
        shares = self.network.shape.layers[position].shares
        key = (position if shares is None else shares, mask_bits, scalar_bits)
        if key not in self._known:
            self._known[key] = self._make(*key)
        return self._known[key]

    def _make(self, position: int, mask_bits: int, scalar_bits: int) -> tuple[Fit, Refine]:
        weight, gain = self.network.weights[position], None
        if position == 0:  # the units of pixels may differ by colour
            gain = blocks_pad(self._scale) if self.network.shape.blocks else self._scale
        kept = self.rule in PRESCRIBING_RULES or self.network.shape.layers[position].kernel == 1
        by_output = self._window is None if position == 0 else self.rule == OUTPUT_RULE
        if by_output and not kept:
            if position not in self._channels:
                self._channels[position] = ChannelFit(self._moments[position])
            channels = self._channels[position]
            start = fit_masks(weight, mask_bits, self.rule)
            return channels.fit(weight, start, mask_bits, scalar_bits, gain), channels
        fit = fit_masks(weight, mask_bits, self.rule, scalar_bits, gain)
        if kept:
            return fit, keep_masks
        if position == 0 and self._window is not None:
            # Few input channels: the output's error is followed through every change.
            return _refined(weight, fit, self._scale, mask_bits, self._window), self._window
        return fit, nearest_masks


def _refined(weight: np.ndarray, fit: Fit, scale: np.ndarray, mask_bits: int, refine: Refine) -> Fit:
    """The fit refined with scalars about as fine as they will be: the output scale, and with it the shift,
    is known only after calibration, which should see the refined weights."""
    largest = float((fit.alpha * scale).max(initial=0.0))
    unit = (largest or 1.0) / SCALAR_MAX / scale
    mask, alpha = refine(weight.astype(np.float64), fit, unit, mask_bits)
    return Fit(mask, alpha * unit, fit.scalar_bits)
