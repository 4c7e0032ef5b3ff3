"""How much an approximate search finds of what an exact one finds, measured on entries of the index."""

import time
from dataclasses import asdict, dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.search.neighbours import NOISE, Neighbours

DEPTH = 10

QUERIES_MAX = 10_000


@dataclass(frozen=True)
class Recall:
    """Shares of the truly nearest 1 and 10 (``depth``, fewer of a smaller index) that a search returned, over
    ``queries`` entries, none of which counts as its own neighbour. An equal score counts as found.
    ``seconds``: of the search of all queries together."""

    queries: int
    depth: int
    at_1: float
    at_depth: float
    seconds: float

    def payload(self) -> dict[str, object]:
        """As `kestrel index info` prints it."""
        return {"recall": asdict(self)}


def measured_recall(neighbours: Neighbours, queries: int, seed: int = 0) -> Recall:
    """``queries`` entries drawn with ``seed``, searched with the usual effort and compared with everything.
    Takes memory for a block of vectors, not for all. Raises InputError for a number out of range or an index
    of fewer than two."""
    if not 1 <= queries <= QUERIES_MAX:
        raise InputError(f"recall of {queries} queries; allowed: 1..{QUERIES_MAX}")
    if len(neighbours) < 2:
        raise InputError(f"recall in an index of {len(neighbours)}; allowed: at least two descriptors")
    rows = np.sort(np.random.default_rng(seed).permutation(len(neighbours))[:queries])
    asked = _entries(neighbours, rows)
    depth = min(DEPTH, len(neighbours) - 1)
    sign = -1.0 if neighbours.kind.codes == "bits" else 1.0  # a distance is better the smaller
    worst = _exact_scores(neighbours, asked, rows, depth, sign)
    start = time.perf_counter()
    scores, found = neighbours.search(asked, depth + 1)
    seconds = time.perf_counter() - start
    others = (found != rows[:, None]) & (found >= 0)
    hits = {}
    for k in (1, depth):
        good = others & (sign * np.nan_to_num(scores, nan=-sign * np.inf) >= worst[:, k - 1:k] - NOISE)
        hits[k] = float((np.minimum(good.sum(axis=1), k) / k).mean())
    return Recall(len(rows), depth, hits[1], hits[depth], seconds)


def _entries(neighbours: Neighbours, rows: np.ndarray) -> np.ndarray:
    """What is stored of ascending ``rows``, as a search takes it."""
    found, start = [], 0
    for block in neighbours.vectors():
        here = rows[(rows >= start) & (rows < start + len(block))] - start
        found.append(block[here].copy())
        start += len(block)
    return np.concatenate(found)


def _exact_scores(neighbours: Neighbours, asked: np.ndarray, rows: np.ndarray, depth: int, sign: float
                  ) -> np.ndarray:
    """The best ``depth`` scores of each query [Q, depth], times ``sign``, best first, by comparison with
    everything but the query's own row."""
    best = np.full((len(asked), depth), -np.inf)
    bits = neighbours.kind.codes == "bits"
    start = 0
    for block in neighbours.vectors():
        if bits:
            scores = np.stack([sign * np.bitwise_count(block ^ query).sum(axis=1) for query in asked])
        else:
            scores = (asked @ block.T).astype(np.float64)
        own = np.flatnonzero((rows >= start) & (rows < start + len(block)))
        scores[own, rows[own] - start] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = -np.partition(-both, depth - 1, axis=1)[:, :depth]
        start += len(block)
    return -np.sort(-best, axis=1)
