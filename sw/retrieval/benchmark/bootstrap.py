"""How sure a difference between two runs over the same queries is."""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
SAMPLES = 10_000

_BLOCK = 250
"""Samples drawn at a time. Part of the result, as it shapes the stream of random numbers."""


@dataclass(frozen=True)
class Difference:
    """Mean of (this - other) over the queries, and the interval of LEVEL around it."""

    difference: float
    low: float
    high: float
    samples: int
    seed: int


def paired_bootstrap(
    this: np.ndarray, other: np.ndarray, seed: int = 0, samples: int = SAMPLES
) -> Difference:
    """Percentile bootstrap of the mean difference, float [Q] each, row by row the same query.

    Queries are drawn with replacement, both runs' values of a query together: what is hard for both is hard
    in both, and only what differs is left (Efron and Tibshirani, 1993, chapter 13). Raises ValueError for
    unequal or no queries.
    """
    if this.shape != other.shape or this.ndim != 1 or not this.size:
        raise ValueError(f"values of {this.shape} and {other.shape} queries cannot be paired")
    differences = this.astype(np.float64) - other.astype(np.float64)
    low, high = mean_interval(differences, seed, samples)
    return Difference(float(differences.mean()), low, high, samples, seed)


def mean_interval(values: np.ndarray, seed: int = 0, samples: int = SAMPLES) -> tuple[float, float]:
    """The interval of LEVEL around the mean of float [Q], Q >= 1, one value a query: percentile bootstrap."""
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    for start in range(0, samples, _BLOCK):
        count = min(_BLOCK, samples - start)
        drawn = generator.integers(0, values.size, (count, values.size))
        means[start : start + count] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
