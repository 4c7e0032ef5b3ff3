"""Finished parts of a long extraction, so that a stopped one continues where it was.

Descriptor files in a folder or an object store (``sw.common.store``), each complete or absent. A picture is
known by its name, its size in bytes and its time of change, so that one replaced in between is described
again.
"""

import hashlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.store import Place, open_store
from kestrel.sw.retrieval.describe.descriptor import (
    Descriptors,
    DescriptorSettings,
    check_comparable,
    read_descriptors,
    write_descriptors,
)

PICTURES = 256
SECONDS = 60.0
"""A part is written after so many pictures or so long, whichever comes first."""

DIGITS = 16

PREFIX, SUFFIX = "part-", ".npz"


class Shards:
    """The parts in ``place``, which is made for the first of them. Raises InputError when it holds parts of
    other settings, or cannot be used."""

    def __init__(self, place: Place, settings: DescriptorSettings) -> None:
        self._place = place
        self._settings = settings
        self._known: dict[str, np.ndarray] = {}
        self._fresh: list[tuple[str, np.ndarray]] = []
        self._since = time.monotonic()
        store = open_store(place)
        parts = _parts(store.names())
        for part in parts:
            content = store.read(part)
            if content is None:  # removed meanwhile
                continue
            # Only errors have this path in them: parts remember no folder.
            found = read_descriptors(io.BytesIO(content), Path(f"{place}/{part}"))
            try:
                check_comparable(found.settings, settings, f"{place}/{part}", "this run")
            except InputError as error:
                raise InputError(f"{error}, or {place}, the parts of a stopped run, removed") from error
            self._known |= dict(zip(found.names, found.vectors, strict=True))
        labels = [part.removeprefix(PREFIX).removesuffix(SUFFIX) for part in parts]
        self._next = 1 + max((int(label) for label in labels if label.isdecimal()), default=-1)

    def find(self, path: Path, name: str) -> np.ndarray | None:
        """The vector of a picture described before."""
        return self._known.get(_key(path, name))

    def add(self, path: Path, name: str, vector: np.ndarray) -> None:
        """Keeps a picture's vector; writes a part when it is time."""
        self._fresh.append((_key(path, name), vector))
        if len(self._fresh) >= PICTURES or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what is not on disk yet."""
        if self._fresh:
            _write(self._place, f"{self._next:06}", self._settings, self._fresh)
            self._known |= dict(self._fresh)
            self._fresh = []
            self._next += 1
        self._since = time.monotonic()


def part_name(label: str) -> str:
    """Of a part in its place."""
    return f"{PREFIX}{label}{SUFFIX}"


def label_of(names: Sequence[str]) -> str:
    """Of the part of these pictures alone. Whoever writes it late, as a worker that has been given up may,
    overwrites no other part. It is never a number, which those of one process are."""
    return f"x{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:DIGITS]}"


def write_part(place: Place, label: str, settings: DescriptorSettings,
               found: Sequence[tuple[Path, str, np.ndarray]]) -> None:
    """Writes a part, whole or not at all: files, names and vectors of pictures. Raises InputError."""
    _write(place, label, settings, [(_key(file, name), vector) for file, name, vector in found])


def has_part(place: Place, label: str) -> bool:
    """Whether it is there. Raises InputError."""
    return open_store(place).has(part_name(label))


def has_parts(place: Place) -> bool:
    """Whether a stopped run has left any. Raises InputError."""
    return bool(_parts(open_store(place).names()))


def remove_shards(place: Place) -> None:
    """Removes the parts, and the folder if nothing else is in it."""
    store = open_store(place)
    store.remove(_parts(store.names()))


def _parts(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]


def _write(place: Place, label: str, settings: DescriptorSettings,
           found: Sequence[tuple[str, np.ndarray]]) -> None:
    part = Descriptors(settings, tuple(key for key, _ in found), np.stack([vector for _, vector in found]))
    content = io.BytesIO()
    write_descriptors(part, content, Path(part_name(label)))
    open_store(place).write(part_name(label), content.getvalue())


def _key(path: Path, name: str) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{name}"
