"""Crops of many pictures through the backend, in batches, with pooling alongside."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from kestrel.sw.retrieval.describe.backends import BATCH_PIXELS
from kestrel.sw.retrieval.describe.crops import Inputs

Vectors = TypeVar("Vectors")
Result = TypeVar("Result")
Size = tuple[int, int]


class Source(Protocol):
    """What Batches needs of a backend."""

    def batch(self, height: int, width: int) -> int: ...

    def features(self, pictures: Sequence[np.ndarray]) -> Iterable[Any]:
        """What it makes of each picture."""
        ...


PENDING_PIXELS = 4 * BATCH_PIXELS
"""Crops of rare sizes wait for others of theirs until so much has gathered."""

AHEAD = 2
"""Batches of features that wait to be pooled, at most."""


@dataclass
class _Picture(Generic[Vectors, Result]):
    """A picture under way: ``vectors`` of its crops, as far as they are known."""

    key: int
    inputs: Inputs
    vectors: list[Vectors | None]
    missing: int
    result: Result | None = None


@dataclass
class _Group(Generic[Vectors, Result]):
    """Crops of one size that wait for the backend: whose they are, which, and the pixels."""

    crops: list[tuple[_Picture[Vectors, Result], int]] = field(default_factory=list)


class Batches(Generic[Vectors, Result]):
    """``pool`` turns what the backend makes of one crop, a map [C, h, w] or several, into its vectors;
    ``finish`` a picture's vectors, in the order of its crops, into its result."""

    def __init__(self, backend: Source, pool: Callable[[Any], Vectors],
                 finish: Callable[[Sequence[Vectors], Inputs], Result]) -> None:
        self._backend = backend
        self._pool = pool
        self._finish = finish
        self._groups: dict[Size, _Group[Vectors, Result]] = {}
        self._waiting: deque[Future[None]] = deque()

    def run(self, inputs: Iterable[tuple[int, Inputs]]) -> Iterator[tuple[int, Result]]:
        """(key, result) of every (key, inputs), in the same order."""
        pictures: deque[_Picture[Vectors, Result]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="pooling") as pooling:
            for key, picture_inputs in inputs:
                count = len(picture_inputs.pictures)
                picture: _Picture[Vectors, Result] = _Picture(key, picture_inputs, [None] * count, count)
                pictures.append(picture)
                for position, crop in enumerate(picture_inputs.pictures):
                    size = (crop.shape[0], crop.shape[1])
                    group = self._groups.setdefault(size, _Group())
                    group.crops.append((picture, position))
                    if len(group.crops) >= self._backend.batch(*size):
                        self._compute(size, pooling)
                while self._pending() > PENDING_PIXELS:
                    self._compute(max(self._groups, key=self._pixels), pooling)
                yield from _finished(pictures)
            while self._groups:
                self._compute(next(iter(self._groups)), pooling)
            while self._waiting:
                self._waiting.popleft().result()
            yield from _finished(pictures)
        assert not pictures, "every picture has its result"

    def _compute(self, size: Size, pooling: ThreadPoolExecutor) -> None:
        crops = self._groups.pop(size).crops
        features = self._backend.features([picture.inputs.pictures[n] for picture, n in crops])
        self._waiting.append(pooling.submit(self._take, crops, features))
        while len(self._waiting) > AHEAD:
            self._waiting.popleft().result()

    def _take(self, crops: Sequence[tuple[_Picture[Vectors, Result], int]], features: Iterable[Any]) -> None:
        """In the pooling thread, the only one that changes pictures."""
        for (picture, position), maps in zip(crops, features, strict=True):
            picture.vectors[position] = self._pool(maps)
            picture.missing -= 1
            if picture.missing == 0:
                vectors = [vector for vector in picture.vectors if vector is not None]
                picture.result = self._finish(vectors, picture.inputs)

    def _pixels(self, size: Size) -> int:
        return size[0] * size[1] * len(self._groups[size].crops)

    def _pending(self) -> int:
        return sum(self._pixels(size) for size in self._groups)


def _finished(pictures: deque[_Picture[Vectors, Result]]) -> Iterator[tuple[int, Result]]:
    while pictures and pictures[0].result is not None:
        picture = pictures.popleft()
        assert picture.result is not None
        yield picture.key, picture.result
