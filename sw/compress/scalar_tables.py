"""Tables of scalars: the few values among which all kernels of a layer choose theirs.

With scalars of q < 8 bits a layer has a table of 2**q scalars, and each kernel the number of one of them.
Finding the table and the choices is clustering in one dimension; here it always follows the same two steps
in turn (Lloyd 1982). Every kernel takes the entry with which *its own* error is smallest, and every entry
becomes the value of least error for the kernels that took it. Neither step can raise the error, so the
result is never worse than what it starts from, which is the clustering of the scalars that the kernels would
have of their own.
"""

import numpy as np
import torch

from kestrel.hw.spec.widths import TAPS, table_entries
from kestrel.sw.compress.mask_rules import KERNELS_AT_ONCE, nearest_mask, sum_taps

ROUNDS_MAX = 1000
"""Limit of the rounds of the clustering, which are cheap; it ends when nothing changes."""

SAME = 1e-12
"""Relative difference up to which two scalars are one."""

MASK_ROUNDS_MAX = 12
"""Limit of the rounds in which masks are chosen again with every entry, which take longer."""


def fit_table(values: np.ndarray, weight: np.ndarray, scalar_bits: int) -> np.ndarray:
    """A table for ``values`` of least squared error, each weighted by ``weight``: float64, ascending, without
    repetitions, of at most 2**scalar_bits entries. It holds all values if there are no more; those that
    differ by no more than the rounding of a few operations count as one."""
    entries = table_entries(scalar_bits)
    x, inverse = np.unique(values.ravel(), return_inverse=True)
    group = np.concatenate([[0], np.cumsum(np.diff(x) > SAME * x[1:])])
    x, inverse = x[np.unique(group, return_index=True)[1]], group[inverse.ravel()]
    if len(x) <= entries:
        return x.astype(np.float64)
    mass = np.bincount(inverse, np.maximum(weight.ravel(), 0.0), len(x))
    mass += 1e-12 * (mass.sum() or 1.0) / len(x)
    masses, moments = (np.concatenate([[0.0], np.cumsum(part)]) for part in (mass, mass * x))
    # The densest choice of entries is the cube root of the density (Panter and Dite 1951): equal steps of
    # its sum.
    gaps = np.diff(x, append=2 * x[-1] - x[-2])
    density = np.cumsum(np.cbrt(mass * gaps**2))
    order = np.arange(entries)
    places = np.searchsorted(density, density[-1] * (order + 0.5) / entries)
    # All different, so that no entry begins without a value of its own.
    places = np.minimum(np.maximum.accumulate(places - order) + order, len(x) - entries + order)
    table = x[places]
    for _ in range(ROUNDS_MAX):
        cuts = np.concatenate([[0], np.searchsorted(x, (table[1:] + table[:-1]) / 2), [len(x)]])
        held = np.diff(masses[cuts])
        means = np.diff(moments[cuts]) / np.where(held > 0, held, 1.0)
        found = np.where(held > 0, means, table)
        if np.array_equal(found, table):
            break
        table = found
    return np.unique(table)


def nearest_entries(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """For each value the number of the nearest entry of an ascending table; of two as near, the smaller."""
    return np.searchsorted((table[1:] + table[:-1]) / 2, values)


def in_table(values: np.ndarray, weight: np.ndarray, scalar_bits: int) -> np.ndarray:
    """Every value replaced by the nearest entry of ``fit_table``'s; unchanged where that needs no table."""
    if not table_entries(scalar_bits):
        return values
    table = fit_table(values, weight, scalar_bits)
    return table[nearest_entries(values, table)]


def whole_table(scalars: np.ndarray, scalar_bits: int) -> np.ndarray:
    """The table of scalars that were fitted with one and are now counted in units, rounded: whole numbers as
    float64, ascending. Entries that are equal but for the last bits of a division are one."""
    whole = np.unique(np.floor(scalars + 0.5))
    if len(whole) > table_entries(scalar_bits):
        whole = np.unique(np.floor(fit_table(whole, np.ones_like(whole), scalar_bits) + 0.5))
    return whole


def choose_entries(
    weight: torch.Tensor, mask_bits: int, table: torch.Tensor, unit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each kernel the mask and the entry of least squared error, as (mask [K, 9], number of the entry
    [K]).

    weight: float64 [K, 9]; table: [entries]; unit: [K], what a scalar of 1 is worth in each kernel.
    """
    masks, numbers = [], []
    for w, u in zip(weight.split(KERNELS_AT_ONCE), unit.split(KERNELS_AT_ONCE), strict=True):
        best_mask, number = torch.zeros_like(w), torch.zeros(len(w), dtype=torch.int64, device=w.device)
        least = torch.full((len(w),), torch.inf, dtype=w.dtype, device=w.device)
        for n, entry in enumerate(table):
            step = (entry * u)[:, None]
            ratio = torch.where(step > 0, w / step.clamp(min=1e-300), 0.0)
            mask = nearest_mask(ratio, mask_bits)
            error = sum_taps((w - mask * step).square())
            better = error < least
            least = torch.where(better, error, least)
            number[better] = n
            best_mask = torch.where(better[:, None], mask, best_mask)
        masks.append(best_mask)
        numbers.append(number)
    return torch.cat(masks), torch.cat(numbers)


def fit_entries(
    weight: torch.Tensor, mask_bits: int, alpha: torch.Tensor, norm: torch.Tensor, unit: torch.Tensor,
    scalar_bits: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks and scalars of a layer's kernels, the scalars from a table of their own: (mask [K, 9], scalar
    [K]).

    weight: float64 [K, 9]; alpha: the kernels' own best scalars in units of ``unit`` [K], from which the
    search starts; norm: the squared norms of their masks, [K].
    """
    start = fit_table(alpha.cpu().numpy(), (norm * unit.square()).cpu().numpy(), scalar_bits)
    table = torch.from_numpy(start).to(weight.device)
    mask, number = choose_entries(weight, mask_bits, table, unit)
    for _ in range(MASK_ROUNDS_MAX):
        # On the CPU: sums by scattering are in no fixed order elsewhere.
        power = (sum_taps(mask.square()) * unit.square()).cpu()
        wanted = (sum_taps(mask * weight) * unit).cpu()
        held = torch.zeros(len(table), dtype=weight.dtype).index_add_(0, number.cpu(), power)
        total = torch.zeros(len(table), dtype=weight.dtype).index_add_(0, number.cpu(), wanted)
        moved = torch.where(held > 0, total / held.clamp(min=1e-300), table.cpu()).clamp(min=0)
        table = moved.sort().values.to(weight.device)
        last = number
        mask, number = choose_entries(weight, mask_bits, table, unit)
        if torch.equal(number, last):
            break
    return mask, table[number]


def kernels_of(weight: torch.Tensor) -> torch.Tensor:
    """Weights [C_out, C_in, 3, 3] as float64 [C_out C_in, 9]."""
    return weight.double().reshape(-1, TAPS)
