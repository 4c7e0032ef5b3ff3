"""Measures of a ranked list: average precision and recall.

All of them work on the ranks of the relevant images of one query, counted from zero after what is to be
ignored has been taken out of the list.
"""

from collections.abc import Callable, Sequence

import numpy as np


def rank(scores: np.ndarray) -> np.ndarray:
    """Indices by falling score, int64 [N]. Equal scores keep the order of their indices, so that a ranking
    is defined whatever the library that sorted it. scores: signed integers or floats [N]."""
    return np.argsort(-scores, kind="stable")


def relevant_ranks(ranking: np.ndarray, positives: Sequence[int], ignored: Sequence[int] = ()) -> np.ndarray:
    """Ranks of ``positives`` in ``ranking`` once ``ignored`` (junk, the query itself) are taken out of it.

    int64, ascending, fewer than there are positives where the ranking lacks some. Raises ValueError if an
    index is both.
    """
    if both := set(positives) & set(ignored):
        raise ValueError(f"indices both positive and ignored: {sorted(both)[:5]}")
    kept = ranking[~np.isin(ranking, np.asarray(ignored, dtype=np.int64))] if len(ignored) else ranking
    return np.flatnonzero(np.isin(kept, np.asarray(positives, dtype=np.int64)))


def trapezoid_average_precision(ranks: np.ndarray, positives: int) -> float:
    """Area under the precision-recall curve by trapezoids.

    The rule of the Oxford Buildings program (Philbin et al., CVPR 2007), of the INRIA Holidays script (Jegou
    et al., ECCV 2008) and of the revisited Oxford and Paris (Radenovic et al., CVPR 2018): with r images
    before the i-th positive (both from zero), the trapezoid from precision i / r (1 for r = 0) to
    (i + 1) / (r + 1), of width 1 / positives. Positives not ranked contribute nothing.
    """
    found = np.arange(len(ranks), dtype=np.float64)
    before = np.divide(found, ranks, out=np.ones_like(found), where=ranks > 0)
    return float(np.sum(before + (found + 1) / (ranks + 1)) / (2 * positives))


def plain_average_precision(ranks: np.ndarray, positives: int) -> float:
    """Mean over the positives of the precision at each one's rank (TREC's definition)."""
    return float(np.sum(np.arange(1, len(ranks) + 1) / (ranks + 1)) / positives)


AveragePrecision = Callable[[np.ndarray, int], float]

AVERAGE_PRECISIONS: dict[str, AveragePrecision] = {
    "trapezoid": trapezoid_average_precision,
    "plain": plain_average_precision,
}


def recall_at(ranks: np.ndarray, positives: int, k: int) -> float:
    """Share of the positives among the first ``k``: at most k / positives where there are more than k."""
    return float(np.count_nonzero(ranks < k) / positives)


def precision_at(ranks: np.ndarray, k: int) -> float:
    """Share of positives among the first k, k cut to the rank of the last positive (as the revisited Oxford
    and Paris count it, so that a query with fewer than k positives can reach 1)."""
    if not len(ranks):
        return 0.0
    cut = min(k, int(ranks[-1]) + 1)
    return float(np.count_nonzero(ranks < cut) / cut)
