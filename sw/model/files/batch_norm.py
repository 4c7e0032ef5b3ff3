"""Batch normalisation, folded into the convolution that precedes it."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError

DEFAULT_EPSILON = 1e-5
"""PyTorch's default epsilon, which is added to the variance; a state dictionary does not store it."""


@dataclass(frozen=True)
class BatchNorm:
    """y = gain * (x - mean) / sqrt(variance + epsilon) + offset, by channel; the arrays are float64 [C]."""

    gain: np.ndarray
    offset: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = DEFAULT_EPSILON


def fold_batch_norm(
    weight: np.ndarray, bias: np.ndarray, norm: BatchNorm, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Weight [C_out, C_in, 3, 3] and bias [C_out], both float64, of the one convolution that computes the
    given convolution and its normalisation.

    Raises InputError, beginning with ``where``, unless variance + epsilon is above zero everywhere.
    """
    spread = norm.variance + norm.epsilon
    if not (spread > 0).all():
        raise InputError(f"{where}: variance {norm.variance.min():g} with epsilon {norm.epsilon:g}; "
                         "allowed: a sum above 0")
    factor = norm.gain / np.sqrt(spread)
    return weight * factor[:, None, None, None], (bias - norm.mean) * factor + norm.offset
