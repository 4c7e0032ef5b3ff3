"""Nearest neighbours by short codes in memory, refined by the vectors themselves on disk.

An inverted file of 4-bit product codes (Jégou, Douze and Schmid 2011; the fast scan of André, Kermarrec and
Le Scouarnec 2015) proposes candidates; their vectors, or bytes, are read from the mapped file and scored as
an exact search scores them. What is in memory of a descriptor is a code of a quarter of a byte a dimension
and its number.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.search.neighbours import (
    BLOCK,
    IVF_EFFORT,
    SCORE_DECIMALS,
    Advance,
    Neighbours,
)
from kestrel.sw.retrieval.search.rows import QUERIES, Rows
from kestrel.sw.retrieval.search.structures import CODE_TRAINING, Kind, cells_for, new_index, padded_dimension

CANDIDATES = 400
"""Refined for each query, at least."""

CANDIDATES_PER_MATCH = 4
"""Of long lists."""

MARGIN = 16
"""Scored in float64 beyond the wanted ones: float32 only chooses which."""


class RefinedNeighbours(Neighbours):
    """As Neighbours, of kind ivfpq."""

    rows: Rows

    @classmethod
    def empty(cls, kind: Kind, dimension: int, training: np.ndarray,
              byte_range: tuple[float, float] | None = None, spool: Path | None = None
              ) -> "RefinedNeighbours":
        """No vectors yet. ``training`` float32 [N, dimension] places cells and codes; ``spool``: a folder for
        what is added, until it is written. Raises InputError for too few."""
        if len(training) < CODE_TRAINING:
            raise InputError(f"structure {kind.structure!r} learned from {len(training)} descriptors; "
                             f"allowed: at least {CODE_TRAINING}, or structure flat")
        index = new_index(kind, dimension, cells_for(len(training)), byte_range)
        index.train(_padded(training))
        made = cls(kind, dimension, index, np.zeros(0, dtype=np.int64), byte_range)
        made.rows = Rows(np.zeros((0, dimension), np.float32 if byte_range is None else np.uint8),
                         spool)
        return made

    @classmethod
    def opened(cls, kind: Kind, dimension: int, stream: IO[bytes], numbers: np.ndarray, rows: np.ndarray,
               byte_range: tuple[float, float] | None = None) -> "RefinedNeighbours":
        """What ``write`` and ``rows.write`` wrote. Raises ValueError as ``read`` does."""
        made = cls.read(kind, dimension, stream, numbers, byte_range)
        dtype = np.float32 if byte_range is None else np.uint8
        if rows.shape != (len(numbers), dimension) or rows.dtype != dtype:
            raise ValueError(f"rows are {rows.dtype} {list(rows.shape)}")
        assert isinstance(made, RefinedNeighbours)
        made.rows = Rows(rows)
        return made

    def add(self, vectors: np.ndarray, advance: Advance | None = None) -> None:
        first = int(self.numbers[-1]) + 1 if len(self) else 0
        for start in range(0, len(vectors), BLOCK):
            block = np.ascontiguousarray(vectors[start:start + BLOCK], dtype=np.float32)
            numbers = np.arange(first + start, first + start + len(block), dtype=np.int64)
            self._index.add_with_ids(_padded(block), numbers)
            self.rows.append(self._stored_form(block))
            self.numbers = np.concatenate([self.numbers, numbers])
            if advance is not None:
                advance(len(block))

    def remove(self, rows: np.ndarray, advance: Advance | None = None) -> None:
        keep = np.ones(len(self), dtype=bool)
        keep[rows] = False
        self._index.remove_ids(self.numbers[~keep])
        self.rows.keep(keep)
        self.numbers = self.numbers[keep]
        if advance is not None:
            advance(int(keep.sum()))

    def vectors(self) -> Iterator[np.ndarray]:
        for block in self.rows.blocks():
            yield self._decoded(block)

    def describe(self) -> dict[str, int]:
        return {"cells": int(self._index.nlist), "effort": min(IVF_EFFORT, int(self._index.nlist)),
                "candidates": CANDIDATES, "memory_a_descriptor": int(self._index.code_size) + 8}

    def _fetch(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows [Q, count] of the best of the candidates."""
        candidates = min(len(self), max(CANDIDATES, CANDIDATES_PER_MATCH * count))
        _, numbers = self._index.search(_padded(queries), candidates)
        numbers.sort(axis=1)  # a file is read forwards; the missing ones, -1, go first
        missing = numbers < 0
        rows = np.searchsorted(self.numbers, np.where(missing, self.numbers[0], numbers))
        if candidates > count + MARGIN:
            rough = self.rows.products(queries, rows)  # of codes too: a score rises with it
            rough[missing] = -np.inf
            best = np.argpartition(-rough, count + MARGIN, axis=1)[:, :count + MARGIN]
            rows, missing = (np.take_along_axis(array, best, axis=1) for array in (rows, missing))
        found = [self._ranked(queries[start:start + QUERIES], rows[start:start + QUERIES],
                              missing[start:start + QUERIES], count)
                 for start in range(0, len(queries), QUERIES)]
        scores, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return scores, rows

    def _ranked(self, queries: np.ndarray, rows: np.ndarray, missing: np.ndarray, count: int
                ) -> tuple[np.ndarray, np.ndarray]:
        """The best ``count`` of few rows [Q, K], scored in float64."""
        products = self._decoded(self.rows.take(rows)) * queries[:, None].astype(np.float64)
        scores = np.where(missing, -np.inf, np.round(products.sum(axis=2), SCORE_DECIMALS))
        order = np.lexsort((rows, -scores), axis=1)[:, :count]
        scores, rows, missing = (np.take_along_axis(a, order, axis=1) for a in (scores, rows, missing))
        return np.where(missing, np.nan, scores), np.where(missing, -1, rows)

    def _stored_form(self, vectors: np.ndarray) -> np.ndarray:
        """Bytes as bytes; ``vectors`` are decoded ones, so that their codes are whole numbers again."""
        if self._byte_range is None:
            return vectors
        low, high = self._byte_range
        return np.rint((vectors.astype(np.float64) - low) / (high - low) * 256 - 0.5).astype(np.uint8)

    def _decoded(self, stored: np.ndarray) -> np.ndarray:
        """float32, as the exact search's."""
        if self._byte_range is None:
            return stored
        low, high = self._byte_range
        table = (low + (np.arange(256) + 0.5) * (high - low) / 256).astype(np.float32)
        return table[stored]


def _padded(vectors: np.ndarray) -> np.ndarray:
    """Contiguous float32 with zeros to the dimension that the codes divide."""
    dimension = padded_dimension(vectors.shape[1])
    if dimension == vectors.shape[1]:
        return np.ascontiguousarray(vectors, dtype=np.float32)
    padded = np.zeros((len(vectors), dimension), dtype=np.float32)
    padded[:, : vectors.shape[1]] = vectors
    return padded


def neighbours_of(kind: Kind) -> type[Neighbours]:
    """The class that holds a kind."""
    return RefinedNeighbours if kind.structure == "ivfpq" else Neighbours
