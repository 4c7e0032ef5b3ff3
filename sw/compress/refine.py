"""Rounding of the fitted scalars to whole numbers, and masks that compensate for it.

The three functions have one signature, ``Refine``; the fitting rule decides which is used.
"""

from collections.abc import Callable

import numpy as np
import torch

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import SCALAR_MAX, TAPS, table_entries
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, silent
from kestrel.sw.compress.fit import Fit
from kestrel.sw.compress.mask_rules import round_scalars
from kestrel.sw.compress.scalar_tables import choose_entries, kernels_of, nearest_entries, whole_table
from kestrel.sw.model.float_network import real_batch
from kestrel.sw.model.preprocessing import Preprocessing

Refine = Callable[[np.ndarray, Fit, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""refine(weight, fit, unit, mask_bits) -> (mask, alpha).

weight: float64 [C_out, C_in, 3, 3], what is approximated; fit: its masks and real scalars; unit: float64
[C_in], what a scalar of 1 is worth. Gives mask int8 [C_out, C_in, 3, 3] and alpha float64 [C_out, C_in],
whole numbers, not yet limited to SCALAR_MAX if the fitted scalar is above it; at most 2**fit.scalar_bits
different ones where these are fewer than 8.
"""


def round_half_up(value: float | np.ndarray) -> np.ndarray:
    """The nearest integer, as float64; the same rounding as the chip's."""
    return np.floor(np.asarray(value, dtype=np.float64) + 0.5)


def keep_masks(weight: np.ndarray, fit: Fit, unit: np.ndarray,  # noqa: ARG001 (Refine)
               mask_bits: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """Scalars are rounded and masks stay as fitted: for rules that prescribe the mask."""
    if table_entries(fit.scalar_bits):
        table = whole_table(fit.alpha / unit, fit.scalar_bits)
        return fit.mask, table[nearest_entries(fit.alpha / unit, table)]
    return fit.mask, round_half_up(fit.alpha / unit)


def nearest_masks(weight: np.ndarray, fit: Fit, unit: np.ndarray,
                  mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks and whole scalars of least squared weight error near the fitted ones, as ``round_scalars`` finds
    them; from the rounded table each kernel chooses anew."""
    if table_entries(fit.scalar_bits):
        table = torch.from_numpy(whole_table(fit.alpha / unit, fit.scalar_bits))
        units = torch.from_numpy(unit).expand(fit.alpha.shape).reshape(-1)
        mask, number = choose_entries(kernels_of(torch.from_numpy(weight)), mask_bits, table, units)
        alpha = table[number].reshape(fit.alpha.shape)
        return mask.reshape(weight.shape).numpy().astype(np.int8), alpha.numpy()
    mask, alpha = round_scalars(
        torch.from_numpy(weight), torch.from_numpy(fit.mask).double(), torch.from_numpy(fit.alpha),
        torch.from_numpy(unit), mask_bits,
    )  # fmt: skip
    return mask.numpy().astype(np.int8), alpha.numpy()


# --------------------------------------------------------------------------------------------------------
# The first layer: least squares of its output
# --------------------------------------------------------------------------------------------------------

DAMPING = 0.1
"""Share of the mean pixel power that is added as white noise, so that errors to which the calibration
pictures are blind still count. On the real conv1_1 at 3 bits, output / weight SQNR in dB: without this fit
13.8 / 16.6; with damping 0.1, 28.8 / 15.5; 0.01, 30.7 / 13.7. Beyond 0.1 nothing is gained downstream."""

SCALAR_STEPS = (1, 2, 4, 8, 16)
ROUNDS_MAX = 200
TABLE_ROUNDS_MAX = 4
"""Limit of the times that a first layer's table is fitted again to its choices."""


def pixel_moment(pictures: CalibrationPictures, preprocessing: Preprocessing,
                 progress: Progress = silent) -> np.ndarray:
    """Mean product of any two real inputs of a first-layer window, float64 [27, 27], over all windows of
    all pictures. Raises InputError for a bad picture."""
    total, count = np.zeros((27, 27)), 0
    with progress("pixels", len(pictures.names)) as advance:
        for n in range(len(pictures.names)):
            x = real_batch([pictures.load(n)], preprocessing)
            windows = torch.nn.functional.unfold(x, 3, padding=1)[0].double()
            total += (windows @ windows.T).numpy()
            count += windows.shape[1]
            advance(1)
    return total / count


class WindowFit:
    """Least squares of what a layer *puts out*, for a layer of few input channels.

    Neighbouring pixels and the three colours of a photograph are nearly equal, so of a kernel's rounding
    errors the sum (over taps and colours) does nearly all the harm, while weight SQNR counts all errors
    alike. With H the mean product of the window's inputs, the error of an output is e' H e for the weight
    error e of all its kernels together. Starting from the fitted masks, single changes and pairs of changes
    (a tap to a neighbouring level, a scalar by a few steps) are made as long as one lowers that error. A
    scalar from a table moves to any other entry; then the table becomes that of least error for these
    choices, rounded, and the changes go on as long as that helps.
    """

    def __init__(self, moment: np.ndarray) -> None:
        self._moment = moment + np.eye(len(moment)) * (DAMPING * np.trace(moment) / len(moment))

    def __call__(self, weight: np.ndarray, fit: Fit, unit: np.ndarray,
                 mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.array(mask_values(mask_bits))
        if table_entries(fit.scalar_bits):
            return self._among(weight, fit, unit, values)
        mask, alpha = fit.mask.copy(), round_half_up(fit.alpha / unit)
        for channel in range(len(weight)):
            if (alpha[channel] <= SCALAR_MAX).all():
                self._descend(weight[channel].ravel(), mask[channel], alpha[channel], unit, values)
        return mask, alpha

    def _among(self, weight: np.ndarray, fit: Fit, unit: np.ndarray,
               values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks and scalars from a table."""
        table = whole_table(fit.alpha / unit, fit.scalar_bits)
        mask, alpha = fit.mask.copy(), table[nearest_entries(fit.alpha / unit, table)]
        best: tuple[float, np.ndarray, np.ndarray] | None = None
        for _ in range(TABLE_ROUNDS_MAX):
            if (alpha > SCALAR_MAX).any():
                break
            for channel in range(len(weight)):
                self._descend(weight[channel].ravel(), mask[channel], alpha[channel], unit, values, table)
            error = (weight - mask * (alpha * unit)[:, :, None, None]).reshape(len(weight), -1)
            total = float(np.einsum("oi,ij,oj->", error, self._moment, error))
            if best is not None and total >= best[0]:
                break
            best = total, mask.copy(), alpha.copy()
            number = nearest_entries(alpha, table)
            table = np.clip(round_half_up(self._table(weight, mask, number, unit, table)), 0, SCALAR_MAX)
            alpha = table[number]
            table = np.unique(table)
        return (mask, alpha) if best is None else best[1:]

    def _table(self, weight: np.ndarray, mask: np.ndarray, number: np.ndarray, unit: np.ndarray,
               table: np.ndarray) -> np.ndarray:
        """The entries of least output error for given masks and choices; those that nobody chose stay."""
        chosen = number[..., None] == np.arange(len(table))  # [C_out, C_in, entries]
        parts = np.einsum("oirc,oie,i->oirce", mask, chosen, unit).reshape(len(weight), -1, len(table))
        power = np.einsum("oie,ij,ojf->ef", parts, self._moment, parts, optimize=True)
        right = np.einsum("oie,ij,oj->e", parts, self._moment, weight.reshape(len(weight), -1), optimize=True)
        ridge = np.eye(len(table)) * (1e-9 * float(np.trace(power)) / len(table) + 1e-30)
        return table + np.linalg.solve(power + ridge, right - power @ table)

    def _descend(self, weight: np.ndarray, mask: np.ndarray, alpha: np.ndarray, unit: np.ndarray,
                 values: np.ndarray, table: np.ndarray | None = None) -> None:
        """Improves one output channel's mask [C_in, 3, 3] and alpha [C_in] in place."""
        for _ in range(ROUNDS_MAX):
            moves = _Moves(mask, alpha, unit, values, table)
            error = weight - (mask * (alpha * unit)[:, None, None]).ravel()
            seen = moves.change @ self._moment
            among = seen @ moves.change.T
            gain = 2 * (seen @ error) - among.diagonal()
            pair = np.where(moves.independent, gain[:, None] + gain[None, :] - 2 * among, -np.inf)
            # A pair's second half may be missing: then the single change is judged.
            pair[np.arange(len(gain)), np.arange(len(gain))] = gain
            first, second = np.unravel_index(int(np.argmax(pair)), pair.shape)
            if pair[first, second] <= 1e-9 * float(error @ self._moment @ error):
                return
            for move in {int(first), int(second)}:
                moves.apply(move, mask, alpha)


class _Moves:
    """The changes possible to one output channel.

    change: float64 [M, 9 C_in], what each adds to the weights; independent: bool [M, M], whether two may
    be made together.
    """

    def __init__(self, mask: np.ndarray, alpha: np.ndarray, unit: np.ndarray, values: np.ndarray,
                 table: np.ndarray | None = None) -> None:
        taps = mask.ravel()
        position = np.searchsorted(values, taps)
        place, new = [], []
        for step in (-2, -1, 1, 2):
            there = np.flatnonzero((position + step >= 0) & (position + step < len(values)))
            place.append(there)
            new.append(values[position[there] + step])
        self._place, self._new = np.concatenate(place), np.concatenate(new)
        kernel = np.arange(len(taps)) // TAPS
        if table is None:
            step_of = np.array([sign * step for step in SCALAR_STEPS for sign in (1, -1)])
            self._kernel = np.repeat(np.arange(len(alpha)), len(step_of))
            self._scalar = np.tile(step_of, len(alpha)) + alpha[self._kernel]
            allowed = (self._scalar >= 0) & (self._scalar <= SCALAR_MAX)
        else:
            self._kernel = np.repeat(np.arange(len(alpha)), len(table))
            self._scalar = np.tile(table, len(alpha))
            allowed = self._scalar != alpha[self._kernel]
        self._kernel, self._scalar = self._kernel[allowed], self._scalar[allowed]

        worth = (alpha * unit)[kernel]
        tap_change = np.zeros((len(self._place), len(taps)))
        tap_change[np.arange(len(self._place)), self._place] = (
            (self._new - taps[self._place]) * worth[self._place])
        difference = (self._scalar - alpha[self._kernel]) * unit[self._kernel]
        scalar_change = np.where(kernel == self._kernel[:, None], taps * difference[:, None], 0.0)
        self.change = np.concatenate([tap_change, scalar_change])

        # Two moves of one tap or one scalar exclude each other; so do a scalar's and its own taps', whose
        # product the sum would miss.
        tap = np.concatenate([self._place, np.full(len(self._kernel), -1)])
        owner = np.concatenate([kernel[self._place], self._kernel])
        is_scalar = tap < 0
        same_kernel = owner[:, None] == owner[None, :]
        self.independent = ~(same_kernel & (is_scalar[:, None] | is_scalar[None, :])
                             | (tap[:, None] == tap[None, :]) & ~is_scalar[:, None])

    def apply(self, move: int, mask: np.ndarray, alpha: np.ndarray) -> None:
        if move < len(self._place):
            mask.reshape(-1)[self._place[move]] = self._new[move]
        else:
            alpha[self._kernel[move - len(self._place)]] = self._scalar[move - len(self._place)]
