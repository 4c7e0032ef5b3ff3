"""Nearest neighbours among vectors or bits: FAISS behind one small interface.

Six kinds, coded by what is stored of a descriptor and how it is looked through:

    codes    flat                    hnsw               ivf
    floats   IndexFlatIP             IndexHNSWFlat      IndexIVFFlat
    bytes    IndexScalarQuantizer    IndexHNSWSQ        IndexIVFScalarQuantizer
    bits     IndexBinaryFlat         IndexBinaryHNSW    -

``flat`` compares with everything and is exact. ``hnsw`` is the graph of Malkov and Yashunin (2016), ``ivf``
an inverted file: k-means cells of which only the nearest are looked into. Bytes lie in the index as bytes:
FAISS' 8-bit uniform scalar quantiser is given the range of ours instead of training its own, so that its
codes are ours to the last bit and a score is the inner product of the decoded values, without decoded copies
in memory.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from hw.spec import InputError

faiss: Any = importlib.import_module("faiss")  # its own stubs lack half of what is used here

CODES = ("floats", "bytes", "bits")
STRUCTURES = ("flat", "hnsw", "ivf")

HNSW_LINKS = 16
"""M: links of a vector on each level, twice as many on the lowest."""

HNSW_BUILD_EFFORT = 80
"""efConstruction: candidates kept while a vector's links are chosen."""

HNSW_EFFORT = 96
"""efSearch, the default of ``effort``: candidates kept during a search."""

IVF_EFFORT = 24
"""nprobe, the default of ``effort``: cells that a search looks into."""

IVF_TRAINING = 64
"""Vectors of the training set used for a cell, at most. More change the recall little and cost much."""

EFFORT_MAX = 1 << 16

SCORE_DECIMALS = 6
"""Inner products are rounded to it: what lies below is the noise of the float32 sum, whose order depends on
the place of a vector in the index, and would decide between equal pictures."""

BLOCK = 1 << 14
"""Vectors added at a time, between two steps of the progress bar."""

NO_VECTORS = np.zeros((0, 0), dtype=np.float32)

Advance = Callable[[int], None]


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
        if (self.codes, self.structure) == ("bits", "ivf"):
            raise InputError("structure 'ivf' of bits; allowed: flat or hnsw")

    @property
    def exact(self) -> bool:
        return self.structure == "flat"

    @property
    def measure(self) -> str:
        """What a score is. The Hamming distance is better the smaller, the inner product the larger."""
        return "Hamming distance" if self.codes == "bits" else "inner product"


class Neighbours:
    """Vectors under ascending numbers, and the search for the nearest.

    Floats and bytes are float32 [N, dimension] (bytes decoded), bits uint8 [N, dimension / 8]
    (``dimension`` a multiple of 8). Build with ``empty`` or ``read``.
    """

    def __init__(self, kind: Kind, dimension: int, index: Any, numbers: np.ndarray,
                 byte_range: tuple[float, float] | None) -> None:
        self.kind = kind
        self.dimension = dimension
        self.numbers = numbers  # int64 [N], ascending: a vector's number in FAISS, by row
        self._index = index
        self._byte_range = byte_range

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def empty(cls, kind: Kind, dimension: int, training: np.ndarray,
              byte_range: tuple[float, float] | None = None) -> "Neighbours":
        """No vectors yet. ``training`` float32 [N, dimension] places the cells of ``ivf`` (others ignore
        it); ``byte_range``: values that the codes 0 and 256 would stand for, needed for bytes."""
        index = _new_index(kind, dimension, cells_for(len(training)), byte_range)
        if kind.structure == "ivf":
            index.train(np.ascontiguousarray(training, dtype=np.float32))
            if byte_range is not None:
                _set_range(index, byte_range)  # train() has put its own
        return cls(kind, dimension, index, np.zeros(0, dtype=np.int64), byte_range)

    def add(self, vectors: np.ndarray, advance: Advance | None = None) -> None:
        """Appends rows. HNSW links them on several threads: its graph may differ from run to run."""
        first = int(self.numbers[-1]) + 1 if len(self) else 0
        for start in range(0, len(vectors), BLOCK):
            block = np.ascontiguousarray(vectors[start:start + BLOCK])
            numbers = np.arange(first + start, first + start + len(block), dtype=np.int64)
            if self.kind.structure == "ivf":
                self._index.add_with_ids(block, numbers)
            else:
                self._index.add(block)
            self.numbers = np.concatenate([self.numbers, numbers])
            if advance is not None:
                advance(len(block))

    def remove(self, rows: np.ndarray, advance: Advance | None = None) -> None:
        """Removes rows; the others keep their order and move up. Flat arrays and cells close the gap. From a
        graph nothing can be taken out, so it is built anew from the codes that stay."""
        keep = np.ones(len(self), dtype=bool)
        keep[rows] = False
        if self.kind.structure == "hnsw":
            rebuilt = Neighbours.empty(self.kind, self.dimension, NO_VECTORS, self._byte_range)
            for block in self._stored(np.flatnonzero(keep)):
                rebuilt.add(block, advance)
            self._index, self.numbers = rebuilt._index, rebuilt.numbers
            return
        self._index.remove_ids(self.numbers[rows])
        # FAISS moves up the numbers of flat arrays, those in cells stay.
        self.numbers = self.numbers[keep] if self.kind.structure == "ivf" else self.numbers[:keep.sum()]
        if advance is not None:
            advance(int(keep.sum()))

    def search(self, queries: np.ndarray, count: int, effort: int | None = None
               ) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` best rows of each query, best first: scores float64 [Q, K] and rows int64 [Q, K], K
        the lesser of ``count`` and all there are. Equal scores are ranked by row. Where an approximate search
        finds fewer, the row is -1 and the score NaN.

        ``effort``: candidates kept (hnsw) or cells visited (ivf); flat has none and ignores it.
        """
        wanted = min(count, len(self))
        if wanted == 0:
            return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), dtype=np.int64)
        self._set_effort(effort)
        # FAISS may cut through a group of equal scores: fetch until the group is whole.
        fetched = min(len(self), wanted + 16) if self.kind.exact else wanted
        while True:
            scores, rows = self._fetch(queries, fetched)
            cut = self.kind.exact and fetched < len(self) and (scores[:, wanted - 1] == scores[:, -1]).any()
            if not cut:
                return scores[:, :wanted], rows[:, :wanted]
            fetched = min(len(self), 4 * fetched)

    def _fetch(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        scores, found = self._index.search(np.ascontiguousarray(queries), count)
        missing = found < 0
        scores = np.round(scores.astype(np.float64), SCORE_DECIMALS)
        rows = np.searchsorted(self.numbers, np.where(missing, 0, found))
        loss = np.where(missing, np.inf, scores if self.kind.codes == "bits" else -scores)
        order = np.lexsort((rows, loss), axis=1)
        scores = np.where(missing, np.nan, scores)
        rows = np.where(missing, -1, rows)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _set_effort(self, effort: int | None) -> None:
        if effort is not None and not 1 <= effort <= EFFORT_MAX:
            raise InputError(f"effort {effort}; allowed: 1..{EFFORT_MAX}")
        if self.kind.structure == "hnsw":
            self._index.hnsw.efSearch = effort or HNSW_EFFORT
        elif self.kind.structure == "ivf":
            self._index.nprobe = min(effort or IVF_EFFORT, self._index.nlist)

    def _stored(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What lies in a graph, as ``add`` takes it, in blocks."""
        if self.kind.codes == "bits":
            storage = faiss.downcast_IndexBinary(self._index.storage)
            codes = faiss.vector_to_array(storage.xb).reshape(-1, self.dimension // 8)
            for start in range(0, len(rows), BLOCK):
                yield codes[rows[start:start + BLOCK]]
        else:
            for start in range(0, len(rows), BLOCK):
                yield self._index.reconstruct_batch(rows[start:start + BLOCK])

    def write(self, stream: IO[bytes]) -> None:
        """FAISS' own format. The caller keeps ``numbers``."""
        write = faiss.write_index_binary if self.kind.codes == "bits" else faiss.write_index
        write(self._index, faiss.PyCallbackIOWriter(stream.write, 1 << 20))

    @classmethod
    def read(cls, kind: Kind, dimension: int, stream: IO[bytes], numbers: np.ndarray,
             byte_range: tuple[float, float] | None = None) -> "Neighbours":
        """What ``write`` wrote. Raises ValueError when it is broken or of another kind. FAISS trusts much of
        what it reads: check the bytes before (sw.retrieval.index holds their CRC-32)."""
        read = faiss.read_index_binary if kind.codes == "bits" else faiss.read_index
        try:
            index = read(faiss.PyCallbackIOReader(stream.read, 1 << 20))
        except (RuntimeError, MemoryError) as error:
            raise ValueError("FAISS cannot read it") from error
        expected = _new_index(kind, dimension, 1, (0.0, 1.0))
        if type(index) is not type(expected) or index.d != dimension or index.ntotal != len(numbers):
            raise ValueError(f"{type(index).__name__} of {index.ntotal} x {index.d} instead of "
                             f"{type(expected).__name__} of {len(numbers)} x {dimension}")
        return cls(kind, dimension, index, numbers, byte_range)

    def describe(self) -> dict[str, int]:
        """The structure's own figures."""
        if self.kind.structure == "hnsw":
            return {"links": HNSW_LINKS, "build_effort": int(self._index.hnsw.efConstruction),
                    "effort": HNSW_EFFORT}
        if self.kind.structure == "ivf":
            return {"cells": int(self._index.nlist), "effort": min(IVF_EFFORT, int(self._index.nlist))}
        return {}


def cells_for(count: int) -> int:
    """Cells of an inverted file trained on ``count`` vectors: the square root, but 39 vectors a cell."""
    return max(1, min(round(count ** 0.5), count // 39))


def _new_index(kind: Kind, dimension: int, cells: int, byte_range: tuple[float, float] | None) -> Any:
    product, bytes_ = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_8bit_uniform
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
        _set_range(index, byte_range)
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


def _set_range(index: Any, byte_range: tuple[float, float]) -> None:
    """Makes FAISS' codes ours. It decodes low + (code + 1/2) / 255 * span, we over 256 steps."""
    low, high = byte_range
    storage = faiss.downcast_index(index.storage) if hasattr(index, "storage") else index
    span = (high - low) * 255 / 256
    faiss.copy_array_to_vector(np.array([low, span], dtype=np.float32), storage.sq.trained)
    if not hasattr(index, "nlist"):  # an inverted file still has its cells to find
        storage.is_trained = index.is_trained = True
