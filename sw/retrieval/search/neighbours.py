"""Nearest neighbours among vectors or bits: FAISS behind one small interface."""

from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.search.structures import HNSW_LINKS, Kind, cells_for, faiss, new_index, set_range

HNSW_EFFORT = 96
"""efSearch, the default of ``effort``: candidates kept during a search."""

IVF_EFFORT = 24
"""nprobe, the default of ``effort``: cells that a search looks into."""

EFFORT_MAX = 1 << 16

NOISE = 4e-6
"""More than FAISS' float32 inner products of unit vectors are wrong by. Their last bits depend on a vector's
place in the index and would decide between equal pictures, so what is found is scored again in float64."""

SCORE_DECIMALS = 12

RESCORED = 1 << 24
"""Numbers of found vectors held at a time for it."""

TIES = 16
"""Fetched beyond the wanted ones at first, to see whether the list ends among equals."""

TIES_MAX = 1 << 16
"""Fetched at most for that; of a larger group of equals FAISS chooses."""

COUNT_MAX = 1 << 14
"""Matches of a query at most."""

BLOCK = 1 << 14
"""Vectors added at a time, between two steps of the progress bar."""

NO_VECTORS = np.zeros((0, 0), dtype=np.float32)

Advance = Callable[[int], None]


def _byte_scores(shares: np.ndarray, blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Sums of what each bit adds, float64 [2, B], over blocks of codes, uint8 [N, B / 8] -> float64 [N]: for
    each byte of the codes a table of what its 256 values add."""
    ones = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    below, above = shares.reshape(2, -1, 8)
    tables = (above @ ones.T.astype(float) + below @ (1.0 - ones.T)).ravel()
    places = 256 * np.arange(shares.shape[1] // 8)
    found = [tables[block + places].sum(axis=1) for block in blocks]
    return np.concatenate(found) if found else np.zeros(0)


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
        index = new_index(kind, dimension, cells_for(len(training)), byte_range)
        if kind.structure == "ivf":
            index.train(np.ascontiguousarray(training, dtype=np.float32))
            if byte_range is not None:
                set_range(index, byte_range)  # train() has put its own
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

        ``effort``: candidates kept (hnsw) or cells visited (ivf); flat has none and ignores it. Raises
        InputError.
        """
        if not 1 <= count <= COUNT_MAX:
            raise InputError(f"{count} matches; allowed: 1..{COUNT_MAX}")
        wanted = min(count, len(self))
        if wanted == 0:
            return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), dtype=np.int64)
        self._set_effort(effort)
        first = min(len(self), wanted + TIES) if self.kind.exact else wanted
        block = max(1, RESCORED // (self.dimension * first))
        all_scores, all_rows = np.zeros((len(queries), wanted)), np.zeros((len(queries), wanted), np.int64)
        for start in range(0, len(queries), block):
            part = np.ascontiguousarray(queries[start:start + block])
            scores, rows = self._fetch(part, first)
            all_scores[start:start + block] = scores[:, :wanted]
            all_rows[start:start + block] = rows[:, :wanted]
            if self.kind.exact and first < len(self):
                for n in np.flatnonzero(self._cut(scores, wanted)):
                    all_scores[start + n], all_rows[start + n] = self._whole_tie(part[n:n + 1], wanted)
        return all_scores, all_rows

    def search_by_shares(self, shares: np.ndarray, codes: np.ndarray, count: int, effort: int | None = None
                         ) -> tuple[np.ndarray, np.ndarray]:
        """As ``search``, of bits by queries that keep their floats. ``shares``: float64 [Q, 2, B], what a bit
        of 0 and of 1 adds to a score; ``codes``: the queries as bits. ``flat`` compares with everything; of
        ``hnsw`` the candidates, at least ``effort`` of them, are found by their bits."""
        if not 1 <= count <= COUNT_MAX:
            raise InputError(f"{count} matches; allowed: 1..{COUNT_MAX}")
        wanted = min(count, len(self))
        padded = np.zeros((len(shares), 2, self.dimension))
        padded[:, :, : shares.shape[2]] = shares
        all_rows = np.arange(len(self))
        near = None
        if not self.kind.exact and wanted:
            _, near = self.search(codes, min(COUNT_MAX, max(wanted, effort or HNSW_EFFORT)), effort)
        found_scores = np.full((len(shares), wanted), np.nan)
        found_rows = np.full((len(shares), wanted), -1, dtype=np.int64)
        for query, share in enumerate(padded):
            rows = all_rows if near is None else np.sort(near[query][near[query] >= 0])
            scores = np.round(_byte_scores(share, self._stored(rows)), SCORE_DECIMALS)
            best = np.argsort(-scores, kind="stable")[:wanted]
            found_scores[query, : len(best)] = scores[best]
            found_rows[query, : len(best)] = rows[best]
        return found_scores, found_rows

    def _cut(self, scores: np.ndarray, wanted: int) -> np.ndarray:
        """Whether the list [Q, more than wanted] ends within a group of scores equal to the last wanted."""
        margin = 0 if self.kind.codes == "bits" else NOISE
        return abs(scores[:, wanted - 1] - scores[:, -1]) <= margin

    def _whole_tie(self, query: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """FAISS chooses which of a group of equals it returns: fetch until the group is whole."""
        fetched = wanted + TIES
        while True:
            fetched = min(len(self), 4 * fetched)
            scores, rows = self._fetch(query, fetched)
            if fetched == len(self) or fetched >= TIES_MAX or not self._cut(scores, wanted)[0]:
                return scores[0, :wanted], rows[0, :wanted]

    def _fetch(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ranked: scores and rows [Q, count]."""
        if self.kind.codes == "bits":
            distances, numbers = self._index.search(queries, count)
            scores = distances.astype(np.float64)
            loss = scores
        else:
            _, numbers, vectors = self._index.search_and_reconstruct(queries, count)
            products = vectors * queries[:, None].astype(np.float64)
            scores = np.round(products.sum(axis=2), SCORE_DECIMALS)
            loss = -scores
        missing = numbers < 0
        rows = np.where(missing, -1, np.searchsorted(self.numbers, np.where(missing, 0, numbers)))
        order = np.lexsort((rows, np.where(missing, np.inf, loss)), axis=1)
        scores = np.where(missing, np.nan, scores)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _set_effort(self, effort: int | None) -> None:
        if effort is not None and not 1 <= effort <= EFFORT_MAX:
            raise InputError(f"effort {effort}; allowed: 1..{EFFORT_MAX}")
        if self.kind.structure == "hnsw":
            self._index.hnsw.efSearch = effort or HNSW_EFFORT
        elif self.kind.learned:
            self._index.nprobe = min(effort or IVF_EFFORT, self._index.nlist)

    def _stored(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What lies in a graph, or bits in a flat array, as ``add`` takes it, in blocks."""
        if self.kind.codes == "bits":
            flat = self.kind.structure == "flat"
            storage = self._index if flat else faiss.downcast_IndexBinary(self._index.storage)
            codes = faiss.vector_to_array(storage.xb).reshape(-1, self.dimension // 8)
            for start in range(0, len(rows), BLOCK):
                yield codes[rows[start:start + BLOCK]]
        else:
            for start in range(0, len(rows), BLOCK):
                yield self._index.reconstruct_batch(rows[start:start + BLOCK])

    def vectors(self) -> Iterator[np.ndarray]:
        """All that is stored, as ``add`` takes it, block by block in the order of the rows."""
        if self.kind.structure == "ivf":
            # Numbers with gaps, where some were removed, need the table; it is built once.
            self._index.set_direct_map_type(faiss.DirectMap.Hashtable)
            for start in range(0, len(self), BLOCK):
                yield self._index.reconstruct_batch(self.numbers[start:start + BLOCK])
        else:
            yield from self._stored(np.arange(len(self)))

    def write(self, stream: IO[bytes]) -> None:
        """FAISS' own format. The caller keeps ``numbers``."""
        write = faiss.write_index_binary if self.kind.codes == "bits" else faiss.write_index
        write(self._index, faiss.PyCallbackIOWriter(stream.write, 1 << 20))

    @classmethod
    def read(cls, kind: Kind, dimension: int, stream: IO[bytes], numbers: np.ndarray,
             byte_range: tuple[float, float] | None = None) -> "Neighbours":
        """What ``write`` wrote. Raises ValueError when it is broken or of another kind. FAISS trusts much of
        what it reads: check the bytes before (kestrel.sw.retrieval.search.index holds their CRC-32)."""
        read = faiss.read_index_binary if kind.codes == "bits" else faiss.read_index
        try:
            index = read(faiss.PyCallbackIOReader(stream.read, 1 << 20))
        except (RuntimeError, MemoryError) as error:
            raise ValueError("FAISS cannot read it") from error
        expected = new_index(kind, dimension, 1, (0.0, 1.0))
        if type(index) is not type(expected) or index.d != expected.d or index.ntotal != len(numbers):
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
