"""A photograph in, the nearest photographs of an index out, with the regions that agree."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.describe.backends import SimulatedBackend
from kestrel.sw.retrieval.describe.extract import Describer
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.regions import (
    Agreement,
    PictureRegions,
    agreements,
    picture_regions,
)
from kestrel.sw.retrieval.search.structures import CODES
from kestrel.sw.serve.kept import Kept
from kestrel.sw.serve.pictures import IndexPictures

CHIPS = ("rtl", "board")
"""The engines that compute one picture after the other, and whose frames are counted."""

COUNT_MAX = 100
"""Matches of a search, at most."""

PAIRS = 3
"""Pairs of regions of a match."""

KEPT = 128
"""Pictures of the index whose regions are kept in memory."""


@dataclass(frozen=True)
class Asked:
    """A search: codes, one of ``Searcher.indexes``; engine, one of ``Searcher.engines``; count: of the
    matches; explained: the best matches for which the regions that agree are found. Raises InputError."""

    codes: str
    engine: str
    count: int = 10
    explained: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COUNT_MAX:
            raise InputError(f"count {self.count}; allowed: 1..{COUNT_MAX}")
        if not 0 <= self.explained <= COUNT_MAX:
            raise InputError(f"regions {self.explained}; allowed: 0..{COUNT_MAX}")


@dataclass(frozen=True)
class Hit:
    """A match. has_picture: whether its file is there; regions: pairs that agree, () if not asked for."""

    name: str
    score: float
    has_picture: bool
    regions: tuple[Agreement, ...]


@dataclass(frozen=True)
class Answer:
    """measure: what a score is; frames, cycles: of the simulated chip, None of other engines; seconds: that
    describing took, and all the rest."""

    hits: tuple[Hit, ...]
    measure: str
    frames: int | None
    cycles: int | None
    describing_seconds: float
    searching_seconds: float


class Searcher:
    """An index, what describes queries for it, and its pictures. Safe to use from several threads.

    engines: by name, the quick one, which also describes the index's pictures, first; index: of floats, which
    can be searched in all codes, or of others, which can be searched in their own. ``indexes``: by codes, its
    own first.
    """

    def __init__(self, index: DescriptorIndex, engines: Mapping[str, Describer],
                 pictures: IndexPictures) -> None:
        self.engines = dict(engines)
        self.pictures = pictures
        known = index.kind.codes
        self.indexes = {codes: index.recoded(codes) for codes in CODES if known in ("floats", codes)}
        self._quick = next(iter(self.engines.values()))
        self._simulating = threading.Lock()
        self._searching = threading.Lock()
        self._kept: Kept[tuple[str, int], PictureRegions] = Kept(KEPT)

    def search(self, rgb: np.ndarray, asked: Asked) -> Answer:
        """The pictures nearest to uint8 RGB [H, W, 3]. Raises InputError, and SimulationError where a frame
        of the chip does not complete correctly."""
        index, engine = self.indexes.get(asked.codes), self.engines.get(asked.engine)
        if index is None:
            raise InputError(f"codes {asked.codes!r:.40}; allowed: {', '.join(self.indexes)}")
        if engine is None:
            raise InputError(f"engine {asked.engine!r:.40}; allowed: {', '.join(self.engines)}")
        start = time.perf_counter()
        frames, cycles = None, None
        if asked.engine in CHIPS:
            with self._simulating:  # which also keeps the counts of two searches apart
                before = _counts(engine)
                query = picture_regions(engine, rgb)
                frames, cycles = (b - a for a, b in zip(before, _counts(engine), strict=True))
        else:
            query = picture_regions(engine, rgb)
        described = time.perf_counter()
        with self._searching:  # FAISS' settings of a search belong to its index
            found = index.search(query.vector[None], asked.count)[0]
        hits: list[Hit] = []
        for rank, (name, score) in enumerate(zip(found.names, found.scores, strict=True)):
            regions = self._regions(name) if rank < asked.explained else None
            hits.append(Hit(name, score, self.pictures.file(name) is not None,
                            () if regions is None else agreements(query, regions, PAIRS)))
        return Answer(tuple(hits), index.kind.measure, frames, cycles, described - start,
                      time.perf_counter() - described)

    def _regions(self, name: str) -> PictureRegions | None:
        """Of a picture of the index; None of one that cannot be read."""
        path = self.pictures.file(name)
        if path is None:
            return None
        try:
            return self._kept.get((name, path.stat().st_mtime_ns),
                                  lambda: picture_regions(self._quick, read_picture(path).rgb))
        except (InputError, OSError):
            return None


def _counts(describer: Describer) -> tuple[int, int]:
    """Frames and cycles of a simulated chip so far."""
    backend = describer.backend
    assert isinstance(backend, SimulatedBackend), "the simulated chip counts"
    return backend.frames, backend.cycles
