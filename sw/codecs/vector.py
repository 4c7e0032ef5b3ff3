"""Vector quantisation: blocks of consecutive weights of a layer become indices into one codebook of blocks
(Chandrasekhar et al., section 3.1: blocks of 2 and 4)."""

from dataclasses import dataclass
from math import prod

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import kmeans, nearest_vectors
from kestrel.sw.codecs.coding.indices import check_coding, read_indices, write_indices
from kestrel.sw.codecs.coding.stream import check, seal, unseal

FAMILY = "vector"
BLOCKS = (2, 4)
CODEWORDS_MIN, CODEWORDS_MAX = 64, 1024


@dataclass(frozen=True)
class VectorOptions:
    """block: weights of a block, one of BLOCKS; codewords: a power of two; coding and seed as in
    ``ScalarOptions``. Raises InputError."""

    block: int = 2
    codewords: int = 256
    coding: str = "fixed"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise InputError(f"block {self.block}; allowed: {', '.join(map(str, BLOCKS))}")
        if not CODEWORDS_MIN <= self.codewords <= CODEWORDS_MAX or self.codewords & (self.codewords - 1):
            raise InputError(f"codewords {self.codewords}; allowed: powers of two, "
                             f"{CODEWORDS_MIN}..{CODEWORDS_MAX}")
        check_coding(self.coding)


@dataclass(frozen=True)
class Blocks:
    """Indices, int64 [B], into a codebook of blocks, float32 [K, block]; the last block may reach beyond the
    weights, of which there are as many as ``shape`` says."""

    shape: tuple[int, ...]
    codebook: np.ndarray
    indices: np.ndarray

    def weights(self) -> np.ndarray:
        """float32 of the shape."""
        return self.codebook[self.indices].ravel()[: prod(self.shape)].reshape(self.shape)


def quantise(weights: np.ndarray, options: VectorOptions) -> Blocks:
    """The blocks of float32 weights of any shape, zeros behind the last weight."""
    values = weights.astype(np.float32).ravel()
    blocks = np.pad(values, (0, -len(values) % options.block)).reshape(-1, options.block)
    codebook = kmeans(blocks, options.codewords, options.seed)
    return Blocks(weights.shape, codebook, nearest_vectors(blocks, codebook))


def encode(weights: np.ndarray, options: VectorOptions) -> bytes:
    """The stream of ``quantise``: the block in a byte, the codewords in two, the codebook, the indices."""
    found = quantise(weights, options)
    count = len(found.codebook)
    body = bytes((options.block,)) + count.to_bytes(2, "little") + found.codebook.astype("<f4").tobytes()
    return seal(FAMILY, weights.shape, body + write_indices(found.indices, count, options.coding))


def decode(stream: bytes) -> np.ndarray:
    """The weights that a stream stands for, float32. Raises InputError."""
    shape, reader = unseal(stream, FAMILY)
    block, count = reader.number(), reader.number(2)
    check(block in BLOCKS and (count > 0 or not prod(shape)), f"blocks of {block}, {count} codewords")
    codebook = reader.floats(count * block).reshape(count, block)
    indices = read_indices(reader, -(-prod(shape) // block), count)
    reader.end()
    return Blocks(shape, codebook, indices).weights()
