"""The rule ``output``: masks and scalars are chosen to minimise the error of each layer's output.

The weights w of an output channel are approximated by q. The error to minimise is not |w - q|^2 but the mean
of ((w - q) . x)^2 over the windows x that the layer sees. It equals (w - q)' H (w - q) with H = mean x x',
measured on calibration pictures. H is far from a multiple of the identity, because activations are positive
and neighbouring pixels alike, so that errors can be made to cancel where x is strong. Optimal brain
compression (Frantar and Alistarh 2022) minimises the same error; the scalar per kernel and the descent by
single changes are our own.

Starting from the least-squares fit of each kernel, two steps alternate. First all scalars of an output
channel are found together by linear least squares under H, with fixed masks. Then taps move to a neighbouring
level, the best single change of every output channel at a time, as long as one lowers the error.

Scalars from a table take the place of the first step by two: one after another, every kernel of an output
channel takes the entry with which the error of the whole channel is smallest, given the others; then the
entries become those of least error of all output channels together, by linear least squares with fixed masks
and choices.
"""

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.masks import mask_values
from kestrel.hw.spec.widths import SCALAR_BITS, SCALAR_MAX, TAPS, table_entries
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, silent
from kestrel.sw.compress.fit import Fit
from kestrel.sw.compress.refine import round_half_up
from kestrel.sw.compress.scalar_tables import fit_table, nearest_entries, whole_table
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork

DAMPING = 0.05
"""Share of H's mean diagonal that is added to its diagonal, a regularisation against overfitting to few
pictures."""

SCALAR_DAMPING = 0.02
"""The same for the equations of the scalars; it pulls them towards their last values."""

POWER_BYTES = 1 << 27
"""Memory limit of the scalars' equations that are solved at once."""

ALTERNATIONS = 3

TABLE_ALTERNATIONS = 6
"""Limit of the alternations of choices, table and masks."""

SWEEPS = 4
"""Limit of the times that all kernels of an output channel choose again before the table is fitted again."""
CACHED_BYTES = 1 << 18
"""About the memory of an array of the output channels whose taps move at the same time: what they work on
stays in the processor's cache."""

CHANGES_MAX = 400
"""Limit of the changes of one output channel between two fits of the scalars."""

WINDOWS = 1024
"""Approximate number of windows per layer and picture from which H is measured."""


def measure_moments(network: FloatNetwork, preprocessing: Preprocessing, pictures: CalibrationPictures,
                    progress: Progress = silent, layers: int | None = None) -> list[np.ndarray]:
    """H of the input of every layer, or of the first ``layers``, in the float network, float32 [9 C_in, 9
    C_in] (1x1 kernels: [C_in, C_in]), from a grid of windows. Layers that share integers have one H, of all
    their inputs."""
    model = FloatModel(network)
    shapes = network.shape.layers[:layers]
    moments = [torch.zeros((s.kernel**2 * s.in_channels,) * 2) for s in shapes]
    owners = [n if shape.shares is None else shape.shares for n, shape in enumerate(shapes)]
    with progress("moments", len(pictures.names)) as advance:
        for n in range(len(pictures.names)):
            results = model.layers(real_batch([pictures.load(n)], preprocessing))
            for shape, owner, result in zip(shapes, owners, results, strict=False):
                windows = sampled_windows(result.source, n, shape)
                moments[owner].add_(windows @ windows.T, alpha=1 / windows.shape[1] / owners.count(owner))
            advance(1)
    return [(moments[owner] / len(pictures.names)).numpy() for owner in owners]


def sampled_windows(x: torch.Tensor, number: int, layer: ConvShape) -> torch.Tensor:
    """About WINDOWS windows of the map [1, C, H, W] that a layer reads, on a grid: [9 C, windows], for 1x1
    kernels [C, windows]. Maps of one size give windows at the same places for the same ``number``, which is
    the picture's; each number shifts the grid, so that no row of pixels is preferred."""
    step, top, left = _grid(*layer.conv_size(x.shape[2], x.shape[3]), number)
    pad, stride = layer.kernel // 2, layer.stride
    shifted = functional.pad(x, (pad,) * 4)[:, :, top * stride :, left * stride :]
    return functional.unfold(shifted, layer.kernel, stride=step * stride)[0]


def sampled_sums(x: torch.Tensor, number: int) -> torch.Tensor:
    """The values of a map [1, C, H, W], of the size of a layer's sums, at the places of its sampled windows:
    [C, windows]."""
    step, top, left = _grid(x.shape[2], x.shape[3], number)
    return x[0, :, top::step, left::step].flatten(1)


def _grid(height: int, width: int, number: int) -> tuple[int, int, int]:
    """The step of a grid over height x width places, and its first row and column."""
    step = max(1, round((height * width / WINDOWS) ** 0.5))
    return step, number % step, number // step % step


class ChannelFit:
    """Fits a layer under its H. ``fit`` finds real scalars; the object itself, called as ``Refine``, finds
    whole ones."""

    def __init__(self, moment: np.ndarray) -> None:
        moment = moment.astype(np.float64)
        size = float(np.trace(moment)) / len(moment) or 1.0
        self._moment = moment / size + np.eye(len(moment)) * DAMPING

    def fit(self, weight: np.ndarray, start: Fit, mask_bits: int, scalar_bits: int = SCALAR_BITS,
            gain: np.ndarray | None = None) -> Fit:
        """Masks and real scalars of lower output error than ``start``, for weight [C_out, C_in, 3, 3]. With
        fewer ``scalar_bits`` than 8 the scalars come from a table, and the start is one without; ``gain`` is
        as in ``fit_masks``."""
        outputs, inputs = start.alpha.shape
        target = weight.reshape(outputs, -1).astype(np.float64)
        mask, alpha = start.mask.reshape(outputs, -1).astype(np.float64), start.alpha
        for _ in range(ALTERNATIONS):
            mask, alpha = self._fit_scalars(target, mask, alpha)
            mask, changed = self._move_taps(target, mask, alpha, mask_bits)
            if not changed:
                break
        mask, alpha = self._fit_scalars(target, mask, alpha)
        if table_entries(scalar_bits):
            unit = np.ones(inputs) if gain is None else 1 / gain
            mask, alpha = self._fit_table(target, mask, alpha, unit, mask_bits, scalar_bits)
        return Fit(mask.reshape(outputs, inputs, 3, 3).astype(np.int8), alpha, scalar_bits)

    def __call__(self, weight: np.ndarray, fit: Fit, unit: np.ndarray,
                 mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Rounds the scalars and moves taps to compensate for the rounding."""
        outputs = len(weight)
        if table_entries(fit.scalar_bits):
            return self._whole(weight, fit, unit, mask_bits)
        alpha = round_half_up(fit.alpha / unit)
        mask = fit.mask.reshape(outputs, -1).astype(np.float64)
        if (alpha <= SCALAR_MAX).all():
            mask, _ = self._move_taps(weight.reshape(outputs, -1), mask, alpha * unit, mask_bits)
        return mask.reshape(fit.mask.shape).astype(np.int8), alpha

    def _fit_scalars(self, target: np.ndarray, mask: np.ndarray,
                     alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scalars [C_out, C_in] of least output error for masks [C_out, 9 C_in]. A scalar that would be
        negative becomes positive and its mask changes sign: the mask values of every width are symmetric."""
        outputs, inputs = alpha.shape
        taps = mask.reshape(outputs, inputs, TAPS)
        wanted = ((target - mask * np.repeat(alpha, TAPS, axis=1)) @ self._moment).reshape(taps.shape)
        change = np.empty_like(alpha)
        at_once = max(1, POWER_BYTES // (8 * inputs**2))
        for start in range(0, outputs, at_once):
            part = slice(start, start + at_once)
            power = self._powers(taps[part])
            diagonal = np.einsum("oii->oi", power)
            diagonal += SCALAR_DAMPING * diagonal.mean(axis=1, keepdims=True) + 1e-12
            right = (taps[part] * wanted[part]).sum(axis=2)
            change[part] = np.linalg.solve(power, right[:, :, None])[:, :, 0]
        result = alpha + change
        sign = np.where(result < 0, -1.0, 1.0)
        return mask * np.repeat(sign, TAPS, axis=1), np.abs(result)

    def _fit_table(self, target: np.ndarray, mask: np.ndarray, alpha: np.ndarray, unit: np.ndarray,
                   mask_bits: int, scalar_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks [C_out, 9 C_in] and scalars of least output error, the scalars from a table, near those
        without. unit: what a scalar of 1 in the table is worth, [C_in]."""
        taps = mask.reshape(*alpha.shape, TAPS)
        blocks = self._moment.reshape(alpha.shape[1], TAPS, alpha.shape[1], TAPS)
        own = np.einsum("oit,itu,oiu->oi", taps, np.einsum("itiu->itu", blocks), taps, optimize=True)
        table = fit_table(alpha / unit, own * unit**2, scalar_bits)
        choice = nearest_entries(alpha / unit, table)
        for _ in range(TABLE_ALTERNATIONS):
            before = choice
            choice, power, right = self._choose(target, mask * np.repeat(unit, TAPS), table, choice)
            ridge = np.eye(len(table)) * (1e-9 * float(np.trace(power)) / len(table) + 1e-30)
            table = table + np.linalg.solve(power + ridge, right - power @ table)
            # An entry below zero changes its sign, and with it the masks of those that chose it.
            mask = mask * np.repeat(np.where(table < 0, -1.0, 1.0)[choice], TAPS, axis=1)
            order = np.argsort(np.abs(table), kind="stable")
            table, choice = np.abs(table)[order], np.argsort(order, kind="stable")[choice]
            mask, moved = self._move_taps(target, mask, table[choice] * unit, mask_bits)
            if not moved and np.array_equal(before, choice):
                break
        return mask, table[choice] * unit

    def _whole(self, weight: np.ndarray, fit: Fit, unit: np.ndarray,
               mask_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Rounds the table, lets kernels choose again and moves taps to compensate."""
        outputs, inputs = fit.alpha.shape
        table = whole_table(fit.alpha / unit, fit.scalar_bits)
        choice = nearest_entries(fit.alpha / unit, table)
        mask = fit.mask.reshape(outputs, -1).astype(np.float64)
        if table[-1] <= SCALAR_MAX:
            target = weight.reshape(outputs, -1)
            choice = self._choose(target, mask * np.repeat(unit, TAPS), table, choice)[0]
            mask, _ = self._move_taps(target, mask, table[choice] * unit, mask_bits)
        return mask.reshape(outputs, inputs, 3, 3).astype(np.int8), table[choice]

    def _choose(self, target: np.ndarray, mask: np.ndarray, table: np.ndarray,
                choice: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lets every kernel choose an entry in turn, for masks [C_out, 9 C_in] that may be scaled. Returns
        the choices and, for these, the equations of the best table: power [entries, entries] and right
        side."""
        outputs, inputs = choice.shape
        taps = mask.reshape(outputs, inputs, TAPS)
        wanted = ((target @ self._moment).reshape(taps.shape) * taps).sum(axis=2)
        choice = choice.copy()
        power, right = np.zeros((len(table), len(table))), np.zeros(len(table))
        at_once = max(1, POWER_BYTES // (8 * inputs**2))
        for start in range(0, outputs, at_once):
            part = slice(start, start + at_once)
            gram, chosen = self._powers(taps[part]), choice[part]
            left = wanted[part] - np.einsum("oij,oj->oi", gram, table[chosen])
            rows = np.arange(len(chosen))
            for _ in range(SWEEPS):
                moved = False
                for i in range(inputs):
                    by = table - table[chosen[:, i]][:, None]  # [o, entries]
                    gain = by * (2 * left[:, i, None] - by * gram[:, i, i, None])
                    best = gain.argmax(axis=1)
                    better = gain[rows, best] > 1e-12 * np.abs(wanted[part, i] * table[-1])
                    if not better.any():
                        continue
                    moved = True
                    step = np.where(better, by[rows, best], 0.0)
                    chosen[better, i] = best[better]
                    left -= gram[:, i] * step[:, None]
                if not moved:
                    break
            taken = (chosen[..., None] == np.arange(len(table))).astype(np.float64)  # [o, C_in, entries]
            power += np.einsum("oie,oif->ef", taken, gram @ taken)
            right += np.einsum("oie,oi->e", taken, wanted[part])
        return choice, power, right

    def _powers(self, taps: np.ndarray) -> np.ndarray:
        """G of the output channels whose masks are taps [O, C_in, 9]: float64 [O, C_in, C_in] with
        alpha' G alpha the output's power, G[i, j] = M_i' H_ij M_j."""
        outputs, inputs = taps.shape[:2]
        power = np.empty((outputs, inputs, inputs))
        for i in range(inputs):
            # H is symmetric: from the diagonal on.
            half = taps[:, i] @ self._moment[i * TAPS : (i + 1) * TAPS, i * TAPS :]
            row = np.einsum("ojt,ojt->oj", half.reshape(outputs, inputs - i, TAPS), taps[:, i:])
            power[:, i, i:] = row
            power[:, i:, i] = row
        return power

    def _move_taps(self, target: np.ndarray, mask: np.ndarray, alpha: np.ndarray,
                   mask_bits: int) -> tuple[np.ndarray, bool]:
        """Moves taps to neighbouring levels while that lowers the error. Returns the masks and whether any
        tap moved."""
        worth, found = np.repeat(alpha, TAPS, axis=1), np.empty_like(mask)
        error = target - worth * mask
        # H is far larger than the cache: it is read once for all channels, not once for each part.
        seen = error @ self._moment
        at_once = max(1, CACHED_BYTES // mask[0].nbytes)
        for start in range(0, len(mask), at_once):
            part = slice(start, start + at_once)
            found[part] = self._moved(error[part], seen[part], mask[part], worth[part], mask_bits)
        return found, not np.array_equal(found, mask)

    def _moved(self, error: np.ndarray, seen: np.ndarray, mask: np.ndarray, worth: np.ndarray,
               mask_bits: int) -> np.ndarray:
        """The masks of some output channels after their moves. ``error`` is that of the weights [O, 9 C_in],
        ``seen`` its product with H; ``worth`` the scalar of each tap."""
        levels = np.array(mask_values(mask_bits), dtype=np.float64)
        steps = np.diff(levels, prepend=levels[0]), np.diff(levels, append=levels[-1])
        steps = -steps[0], steps[1]  # from each level to the one below and above; from the last ones 0
        level = np.searchsorted(levels, mask)
        total = (error * seen).sum(axis=1)
        # A step ``by`` of a tap lowers the error by by * (2 * seen - by * power).
        power, twice = self._moment.diagonal(), 2 * seen
        by = [worth * step[level] for step in steps]
        cost = [one * power for one in by]
        rows, gain = np.arange(len(mask)), np.empty_like(twice)
        for _ in range(CHANGES_MAX):
            places, gains = np.empty((2, len(mask)), int), np.empty((2, len(mask)))
            for direction in range(2):
                np.subtract(twice, cost[direction], out=gain)
                np.multiply(gain, by[direction], out=gain)
                gain.argmax(axis=1, out=places[direction])
                gains[direction] = gain[rows, places[direction]]
            up = (gains[1] > gains[0]).astype(int)
            best, place = gains[up, rows], places[up, rows]
            # The threshold is above the rounding errors of ``twice``: without it a tap might move back and
            # forth endlessly.
            moving = np.flatnonzero(best > 1e-9 * total)
            if not len(moving):
                break
            total[moving] -= best[moving]
            for row, tap, upwards in zip(moving, place[moving], up[moving], strict=True):
                twice[row] -= 2 * by[upwards][row, tap] * self._moment[tap]
                level[row, tap] += 2 * upwards - 1
                for direction in range(2):
                    by[direction][row, tap] = worth[row, tap] * steps[direction][level[row, tap]]
                    cost[direction][row, tap] = by[direction][row, tap] * power[tap]
        return levels[level]
