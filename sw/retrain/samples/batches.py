"""Batches of training pictures: read, decoded and augmented in worker processes, and divided among ranks.

The content of a batch depends on the set, the settings, the epoch and the batch's number, and on nothing
else: neither on the number of workers nor on what was computed before. A stopped run therefore continues with
the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.sizes import SIDE_MAX
from kestrel.sw.retrain.samples.augment import Augmentation, prepare
from kestrel.sw.retrain.samples.folder import Pictures, TrainingSet

WORKERS_MAX = 64

SUBSTITUTES = 16
"""The largest number of pictures that are tried for one place in a batch."""

UNREADABLE_SHARE = 0.01
"""The share of a set's pictures that may be unreadable."""

Order = Callable[[int], list[list[int]]]
"""``order(epoch)`` gives the whole batches of that epoch, of all ranks together, as rows of the set."""


@dataclass(frozen=True)
class Batch:
    """``pictures`` are uint8 RGB [N, H, W, 3]; ``labels`` and ``groups`` are int64 [N], -1 for unknown."""

    pictures: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(*(t.to(device, non_blocking=True) for t in (self.pictures, self.labels, self.groups)))


@dataclass(frozen=True)
class DataSettings:
    """The settings for reading batches. Raises InputError.

    ``batch_size`` counts the pictures of all ranks together. ``augmentation`` is None for whole pictures,
    stretched. ``rank`` and ``world_size`` are this process's number and the number of processes that share
    each batch; rank r takes the r-th part of it. ``unreadable_share`` is the share of unreadable pictures
    above which reading fails. ``seed`` determines order and augmentation.
    """

    height: int
    width: int
    batch_size: int = 32
    augmentation: Augmentation | None = None
    seed: int = 0
    workers: int = 0
    rank: int = 0
    world_size: int = 1
    unreadable_share: float = UNREADABLE_SHARE

    def __post_init__(self) -> None:
        if not (1 <= self.height <= SIDE_MAX and 1 <= self.width <= SIDE_MAX):
            raise InputError(f"picture size {self.height} x {self.width}; "
                             f"allowed: 1 x 1 .. {SIDE_MAX} x {SIDE_MAX}")
        if not 0 <= self.rank < self.world_size:
            raise InputError(f"rank {self.rank} of {self.world_size} processes; allowed: 0 up to one less")
        if self.batch_size < 1 or self.batch_size % self.world_size:
            raise InputError(f"batch size {self.batch_size}; "
                             f"allowed: multiples of {self.world_size}, the number of processes")
        if not 0 <= self.workers <= WORKERS_MAX:
            raise InputError(f"workers {self.workers}; allowed: 0..{WORKERS_MAX}")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}; allowed: 0 or more")
        if not 0 <= self.unreadable_share <= 1:
            raise InputError(f"share of unreadable pictures {self.unreadable_share:g}; allowed: 0..1")


def shuffled(count: int, batch_size: int, seed: int) -> Order:
    """Every row once an epoch, in random order. An incomplete last batch is dropped, unless it is the only
    one, which is then filled by repeating rows."""
    def order(epoch: int) -> list[list[int]]:
        rows = np.random.default_rng((seed, epoch)).permutation(count)
        if count < batch_size:
            rows = np.resize(rows, batch_size)
        return [rows[first : first + batch_size].tolist()
                for first in range(0, len(rows) - batch_size + 1, batch_size)]

    return order


def in_order(count: int, batch_size: int) -> Order:
    """Every row once, in the order of the set, for measuring; the last batch may be smaller."""
    batches = [list(range(first, min(first + batch_size, count))) for first in range(0, count, batch_size)]
    return lambda epoch: batches


_Key = tuple[int, list[tuple[int, int]]]
"""The epoch and, for each place of the batch, the row and how often it occurred in this batch before."""


@dataclass(frozen=True)
class _Read:
    """A batch from a worker, or None if no picture could be read, and (name, reason) of each unreadable
    picture."""

    batch: Batch | None
    unreadable: tuple[tuple[str, str], ...]


class _Reader(Dataset[_Read]):
    """Reads a batch by its key (epoch, rows), in a worker process or in the main process."""

    def __init__(self, data: TrainingSet, settings: DataSettings) -> None:
        self._data = data
        self._settings = settings

    def __getitem__(self, key: "_Key") -> _Read:
        epoch, rows = key
        settings, unreadable = self._settings, []
        pictures = np.empty((len(rows), settings.height, settings.width, 3), dtype=np.uint8)
        found: list[int] = []
        for place, (row, time) in enumerate(rows):
            # Each picture has its own generator, so neither order nor neighbours affect its augmentation.
            generator = np.random.default_rng((settings.seed, epoch, row, time))
            taken, rgb = _read_or_next(self._data.pictures, row, unreadable)
            if rgb is None:
                return _Read(None, tuple(unreadable))
            pictures[place] = prepare(rgb, settings.height, settings.width, settings.augmentation, generator)
            found.append(taken)
        labels, groups = (torch.tensor([values[row] for row in found], dtype=torch.int64)
                          for values in (self._data.labels, self._data.groups))
        return _Read(Batch(torch.from_numpy(pictures), labels, groups), tuple(unreadable))


def _read_or_next(pictures: Pictures, row: int,
                  unreadable: list[tuple[str, str]]) -> tuple[int, np.ndarray | None]:
    """The picture at ``row`` or, if it is unreadable, the next readable one, as (row taken, picture). Batches
    thus keep their size and, since sets are sorted, the substitute is mostly of the same class or group."""
    for step in range(min(SUBSTITUTES, len(pictures))):
        taken = (row + step) % len(pictures)
        try:
            return taken, pictures.read(taken)
        except InputError as error:
            unreadable.append((pictures.name(taken), str(error)))
    return row, None


class _Keys:
    """The keys of the batches to read next; the loader asks for them at the start of every epoch."""

    def __init__(self) -> None:
        self.keys: list[_Key] = []

    def __iter__(self) -> Iterator[_Key]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


def _same(read: Any) -> Any:
    return read


class TrainingData:
    """Batches of ``data``, epoch by epoch. A context manager: the workers live until its end.

    Parameters: the set, the settings, and the order of the pictures (``shuffled`` by default).

    Members: ``unreadable`` gives, by name, the reason for each picture that could not be read so far, which
    the next one in the set replaces; ``steps`` is the number of batches in the first epoch.
    """

    def __init__(self, data: TrainingSet, settings: DataSettings, order: Order | None = None) -> None:
        if not len(data):
            raise InputError("a training set without pictures; allowed: at least one")
        self.data = data
        self.settings = settings
        self.unreadable: dict[str, str] = {}
        self._order = order or shuffled(len(data), settings.batch_size, settings.seed)
        self.steps = len(self._order(0))
        self._keys = _Keys()
        workers = settings.workers
        self._loader = DataLoader(
            _Reader(data, settings), batch_size=None, sampler=self._keys, collate_fn=_same,
            num_workers=workers, persistent_workers=workers > 0,
            # Spawned, not forked: a forked copy would lack this process's threads and its CUDA context.
            multiprocessing_context="spawn" if workers else None,
            # The loader has its own generator; otherwise starting an epoch would draw from torch's generator,
            # which belongs to the trainer.
            generator=torch.Generator(),
        )  # fmt: skip

    def __enter__(self) -> "TrainingData":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        del self._loader  # persistent workers end with the last reference to their loader

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yields this rank's part of the batches of epoch ``number``, from batch ``start`` on. Raises
        InputError if more pictures are unreadable than the settings allow, or if a worker dies."""
        settings = self.settings
        whole = self._order(number)[start:]
        self._keys.keys = [(number, _part(_times(rows), settings.rank, settings.world_size))
                           for rows in whole]
        reads = iter(self._loader)
        while True:
            try:
                read = next(reads, None)
            except RuntimeError as error:
                if "worker" not in str(error):
                    raise
                raise InputError("a process reading pictures died (out of memory?); "
                                 "allowed: fewer --workers, or 0, which reads in the main process") from error
            if read is None:
                return
            self.unreadable.update(read.unreadable)
            self._check_unreadable(read)
            assert read.batch is not None
            yield read.batch

    def _check_unreadable(self, read: _Read) -> None:
        count, share = len(self.unreadable), self.settings.unreadable_share
        if read.batch is None or count > share * len(self.data):
            first = next(iter(self.unreadable.values()))
            raise InputError(f"{count} of {len(self.data)} pictures are unreadable, the first: {first}; "
                             f"allowed: a share of {share:g}")


def _times(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Each row together with the number of its earlier occurrences."""
    seen: Counter[int] = Counter()
    result = []
    for row in rows:
        result.append((row, seen[row]))
        seen[row] += 1
    return result


def _part(rows: list[tuple[int, int]], rank: int, world_size: int) -> list[tuple[int, int]]:
    """The rank's part of a batch; if a batch is not full, the parts differ by at most one row."""
    return rows[len(rows) * rank // world_size : len(rows) * (rank + 1) // world_size]
