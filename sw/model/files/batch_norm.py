"""Batch normalisation, folded into the convolution before it."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError

DEFAULT_EPSILON = 1e-5
"""What PyTorch adds to the variance unless told otherwise; a state dictionary does not say."""


@dataclass(frozen=True)
class BatchNorm:
    """y = gain * (x - mean) / sqrt(variance + epsilon) + offset, by channel; float64 [C] each."""

    gain: np.ndarray
    offset: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = DEFAULT_EPSILON


def fold_batch_norm(
    weight: np.ndarray, bias: np.ndarray, norm: BatchNorm, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Weight [C_out, C_in, 3, 3] and bias [C_out] of the convolution that computes both, float64.

    Raises InputError, beginning with ``where``, unless variance + epsilon is above zero everywhere.
    """
    spread = norm.variance + norm.epsilon
    if not (spread > 0).all():
        raise InputError(f"{where}: variance {norm.variance.min():g} with epsilon {norm.epsilon:g}; "
                         "allowed: a sum above 0")
    factor = norm.gain / np.sqrt(spread)
    return weight * factor[:, None, None, None], (bias - norm.mean) * factor + norm.offset
