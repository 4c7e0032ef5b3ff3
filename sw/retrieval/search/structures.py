"""The FAISS structures that descriptors are searched with.

Kinds, coded by what is stored of a descriptor and how it is looked through:

    codes    flat                    hnsw               ivf                        ivfpq
    floats   IndexFlatIP             IndexHNSWFlat      IndexIVFFlat               IndexIVFPQFastScan
    bytes    IndexScalarQuantizer    IndexHNSWSQ        IndexIVFScalarQuantizer    IndexIVFPQFastScan
    bits     IndexBinaryFlat         IndexBinaryHNSW    -                          -

``flat`` compares with everything and is exact. ``hnsw`` is the graph of Malkov and Yashunin (2016), ``ivf``
an inverted file: k-means cells of which only the nearest are looked into, ``ivfpq`` one of product codes that
propose what is then compared by its floats or bytes on disk (``refined``). Bytes lie in the index as bytes:
FAISS' 8-bit uniform scalar quantiser is given the range of ours instead of training its own, so that its
codes are ours to the last bit and a score is the inner product of the decoded values, without decoded copies
in memory.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError

faiss: Any = importlib.import_module("faiss")  # its own stubs lack half of what is used here

CODES = ("floats", "bytes", "bits")
STRUCTURES = ("flat", "hnsw", "ivf", "ivfpq")

HNSW_LINKS = 16
"""M: links of a vector on each level, twice as many on the lowest."""

HNSW_BUILD_EFFORT = 40
"""efConstruction: candidates kept while a vector's links are chosen."""

IVF_TRAINING = 64
"""Vectors of the training set used for a cell, at most. More change the recall little and cost much."""

CODED_TOGETHER = 2
"""Dimensions that share one 4-bit product code."""

CODE_TRAINING = 256
"""Vectors that product codes are learned from, at least."""

CELL_ROUNDS = 10
"""Rounds of k-means for the cells of product codes; more move them little."""

EXACT_UP_TO = {"floats": 50_000, "bytes": 200_000, "bits": 500_000}
"""Descriptors of 512 dimensions that two cores compare a query with in some 50 ms or less."""


@dataclass(frozen=True)
class Kind:
    """What is stored and how it is searched. Raises InputError for a pair that does not exist."""

    codes: str
    structure: str

    def __post_init__(self) -> None:
        if self.codes not in CODES:
            raise InputError(f"codes {self.codes!r}; allowed: {', '.join(CODES)}")
        if self.structure not in STRUCTURES:
            raise InputError(f"structure {self.structure!r}; allowed: {', '.join(STRUCTURES)}")
        if self.codes == "bits" and self.structure in ("ivf", "ivfpq"):
            raise InputError(f"structure {self.structure!r} of bits; allowed: flat or hnsw")

    @property
    def exact(self) -> bool:
        return self.structure == "flat"

    @property
    def learned(self) -> bool:
        """Whether there are cells, which are placed by a training set."""
        return self.structure in ("ivf", "ivfpq")

    @property
    def measure(self) -> str:
        """What a score is. The Hamming distance is better the smaller, the inner product the larger."""
        return "Hamming distance" if self.codes == "bits" else "inner product"


def structure_for(codes: str, count: int) -> str:
    """The structure for ``count`` descriptors: exact where that is quick, then the quickest that finds more
    than nine in ten."""
    if codes not in EXACT_UP_TO or count <= EXACT_UP_TO[codes]:
        return "flat"
    return "hnsw" if codes == "bits" else "ivfpq"


def padded_dimension(dimension: int) -> int:
    """The dimension that product codes are made for: the next multiple of CODED_TOGETHER."""
    return -(-dimension // CODED_TOGETHER) * CODED_TOGETHER


def cells_for(count: int) -> int:
    """Cells of an inverted file trained on ``count`` vectors: the square root, but 39 vectors a cell."""
    return max(1, min(round(count ** 0.5), count // 39))


def new_index(kind: Kind, dimension: int, cells: int, byte_range: tuple[float, float] | None) -> Any:
    """An empty FAISS index. ``cells``: of ivf, which still has to be trained. ``byte_range``: values that the
    codes 0 and 256 would stand for, for bytes."""
    product, bytes_ = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_8bit_uniform
    if kind.structure == "ivfpq":
        return _product_codes(padded_dimension(dimension), cells)
    if kind.codes == "bits":
        if kind.structure == "flat":
            return faiss.IndexBinaryFlat(dimension)
        index: Any = faiss.IndexBinaryHNSW(dimension, HNSW_LINKS)
    elif kind.codes == "bytes":
        if byte_range is None:
            raise ValueError("bytes need their range")
        if kind.structure == "flat":
            index = faiss.IndexScalarQuantizer(dimension, bytes_, product)
        elif kind.structure == "hnsw":
            index = faiss.IndexHNSWSQ(dimension, bytes_, HNSW_LINKS, product)
        else:
            index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dimension), dimension, cells, bytes_,
                                                  product, False)
        set_range(index, byte_range)
    elif kind.structure == "flat":
        return faiss.IndexFlatIP(dimension)
    elif kind.structure == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, HNSW_LINKS, product)
    else:
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, cells, product)
    if kind.structure == "hnsw":
        index.hnsw.efConstruction = HNSW_BUILD_EFFORT
    elif kind.structure == "ivf":
        index.cp.spherical = True
        index.cp.min_points_per_centroid = 1  # cells_for has seen to it; FAISS would print a warning
        index.cp.max_points_per_centroid = IVF_TRAINING
    return index


def _product_codes(dimension: int, cells: int) -> Any:
    """An inverted file of 4-bit codes of what is left of a vector beside its cell's centre."""
    index = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dimension), dimension, cells,
                                     dimension // CODED_TOGETHER, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = True
    index.cp.spherical = True
    index.cp.niter = CELL_ROUNDS
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = IVF_TRAINING
    return index


def set_range(index: Any, byte_range: tuple[float, float]) -> None:
    """Makes FAISS' codes ours. It decodes low + (code + 1/2) / 255 * span, we over 256 steps."""
    low, high = byte_range
    storage = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index
    span = (high - low) * 255 / 256
    faiss.copy_array_to_vector(np.array([low, span], dtype=np.float32), storage.sq.trained)
    if not hasattr(index, "nlist"):  # an inverted file still has its cells to find
        storage.is_trained = index.is_trained = True
