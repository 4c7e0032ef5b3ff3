"""Codebooks: of scalars by Lloyd's and Max's iteration or at equal distances, of scalars and vectors by
k-means.

Of scalars Lloyd's iteration is exact and quick on sorted values, where a cell is a range and its mean a
difference of cumulative sums. k-means is ``faiss``'s, which starts from random values and draws at most 256
of them for each centre.
"""

import faiss
import numpy as np

ITERATIONS = 200
"""Limit of Lloyd's iteration; it ends when no centre moves any more."""
KMEANS_ITERATIONS = 25

SAMPLES = 1 << 15
STEPS = np.linspace(0.05, 1.0, 96)
"""Shares of the largest weight that are tried as the outermost level of a uniform quantiser."""


def lloyd_max(values: np.ndarray, codewords: int) -> np.ndarray:
    """Centres of least squared error (a local minimum), ascending, float32 [K], K at most ``codewords``.

    The iteration starts from the uniform quantiser, so that it is never worse than it and does not depend on
    a seed.
    """
    ordered = np.sort(values.astype(np.float64))
    if not len(ordered):
        return np.zeros(1, np.float32)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = uniform(values, codewords).astype(np.float64)
    for _ in range(ITERATIONS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2, side="right")
        edges = np.concatenate([[0], edges, [len(ordered)]])
        counts = np.diff(edges)
        means = np.divide(np.diff(sums[edges]), counts, out=centres.copy(), where=counts > 0)
        if np.array_equal(means, centres):
            break
        centres = means
    return np.unique(centres.astype(np.float32))


def uniform(values: np.ndarray, codewords: int) -> np.ndarray:
    """Levels at equal distances on both sides of zero, ascending, float32 [codewords]: of those whose
    outermost is one of STEPS of the largest weight, the ones of least squared error, judged by about SAMPLES
    of the values."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    best, least = np.zeros(codewords, np.float32), np.inf
    values = values[:: max(1, len(values) // SAMPLES)]
    places = np.arange(codewords) - (codewords - 1) / 2
    unit = places / max(places[-1], 0.5)
    for share in STEPS:
        levels = (unit * share * largest).astype(np.float32)
        error = float(((values - levels[nearest(values, levels)]) ** 2).sum())
        if error < least:
            best, least = levels, error
    return best


def kmeans(vectors: np.ndarray, codewords: int, seed: int) -> np.ndarray:
    """Centres of vectors float32 [N, d] by k-means: float32 [K, d], K the smaller of codewords and N."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    codewords = min(codewords, len(vectors))
    if codewords == len(vectors):
        return vectors.copy()
    found = faiss.Kmeans(vectors.shape[1], codewords, niter=KMEANS_ITERATIONS, seed=seed & 0x7FFFFFFF,
                         min_points_per_centroid=1)
    found.train(vectors)
    assert found.centroids is not None
    return np.ascontiguousarray(found.centroids, np.float32)


def nearest(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The index of the nearest of ascending ``levels`` [K] for each value [N], int64."""
    middles = (levels[1:].astype(np.float64) + levels[:-1].astype(np.float64)) / 2
    return np.searchsorted(middles, values, side="left")


def nearest_vectors(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The index of the nearest of ``centres`` [K, d] for each vector [N, d], int64 [N]."""
    index = faiss.IndexFlatL2(centres.shape[1])
    index.add(np.ascontiguousarray(centres, np.float32))
    return index.search(np.ascontiguousarray(vectors, np.float32), 1)[1][:, 0]
