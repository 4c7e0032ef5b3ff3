"""How many mutants of each unit are tried."""

import random
from collections.abc import Mapping, Sequence

LEAST = 20
"""Mutants of a block, if it has so many."""


def shares(count: int, cells: Mapping[str, Sequence[int]], seed: int) -> dict[str, list[int]]:
    """Divides ``count`` mutants over blocks, and those of a block over its units, by the cells of each.

    ``cells``: by block, the numbers of cells of its units. A block gets ``LEAST`` or more; if there are too
    few for that, some blocks, drawn from ``seed``, get ``LEAST``, one the rest, and the others none.
    """
    blocks = list(cells)
    if count < LEAST * len(blocks):
        random.Random(seed).shuffle(blocks)
        blocks = blocks[: -(-count // LEAST)]
    quota = dict.fromkeys(blocks, LEAST)
    if len(blocks) * LEAST > count:
        quota[blocks[-1]] -= len(blocks) * LEAST - count
    rest = _divide(count - sum(quota.values()), [sum(cells[block]) for block in blocks])
    return {
        block: _divide(quota[block] + more, cells[block]) for block, more in zip(blocks, rest, strict=True)
    }


def _divide(count: int, weights: Sequence[int]) -> list[int]:
    """``count`` in proportion to ``weights``, by largest remainders."""
    total = sum(weights)
    parts = [count * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda n: (-(count * weights[n] % total), n))
    for n in order[: count - sum(parts)]:
        parts[n] += 1
    return parts
