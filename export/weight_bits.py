"""The numbers of the weight ROM as bits, in the order of the stream, and back."""

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig


def to_bits(values: np.ndarray, width: int) -> np.ndarray:
    """Bits of unsigned numbers, least significant first, as a further last axis; uint8."""
    wide = values.astype(np.uint16)
    return ((wide[..., None] >> np.arange(width, dtype=np.uint16)) & 1).astype(np.uint8)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """Inverse of ``to_bits``; int32."""
    number = np.zeros(bits.shape[:-1], dtype=np.int32)
    for k in range(bits.shape[-1]):
        number |= bits[..., k].astype(np.int32) << k
    return number


def blocked(kernels: np.ndarray, scalar_bits: int, config: EngineConfig) -> np.ndarray:
    """The bits of kernels [n_out, n_in, bits] in the order of the stream: as they are, or, for an engine with
    ``scalar_tables``, in blocks of masks and scalars."""
    if not config.scalar_tables:
        return kernels.reshape(-1)
    rows = len(kernels)
    blocks = range(0, kernels.shape[1], config.load_kernels)
    parts = [kernels[:, n : n + config.load_kernels] for n in blocks]
    halves = [half for part in parts for half in (part[..., scalar_bits:], part[..., :scalar_bits])]
    return np.concatenate([half.reshape(rows, -1) for half in halves], axis=1).reshape(-1)


def unblocked(
    bits: np.ndarray, shape: tuple[int, int, int], scalar_bits: int, config: EngineConfig
) -> np.ndarray:
    """Inverse of ``blocked``: [n_out, n_in, bits]."""
    if not config.scalar_tables:
        return bits.reshape(shape)
    kernels = np.zeros(shape, dtype=np.uint8)
    places = np.arange(kernels.size).reshape(shape)
    kernels.reshape(-1)[blocked(places, scalar_bits, config)] = bits
    return kernels
