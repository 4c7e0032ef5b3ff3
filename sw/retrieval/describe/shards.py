"""Finished parts of a long extraction, so that a stopped one continues where it was.

A folder of descriptor files, each complete or absent. A picture is known by its name, its size in bytes and
its time of change, so that one replaced in between is described again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import (
    Descriptors,
    DescriptorSettings,
    check_comparable,
    load_descriptors,
    save_descriptors,
)

PICTURES = 256
SECONDS = 60.0
"""A part is written after so many pictures or so long, whichever comes first."""

DIGITS = 16

PREFIX = "part-"
PATTERN = f"{PREFIX}*.npz"


class Shards:
    """The parts in ``folder``, which is made for the first of them. Raises InputError when it holds parts of
    other settings, or cannot be used."""

    def __init__(self, folder: Path, settings: DescriptorSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._known: dict[str, np.ndarray] = {}
        self._fresh: list[tuple[str, np.ndarray]] = []
        self._since = time.monotonic()
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; allowed: a folder for the parts of a run, or none")
        parts = sorted(folder.glob(PATTERN))
        for part in parts:
            found = load_descriptors(part)
            try:
                check_comparable(found.settings, settings, str(part), "this run")
            except InputError as error:
                raise InputError(f"{error}, or {folder}, the parts of a stopped run, removed") from error
            self._known |= dict(zip(found.names, found.vectors, strict=True))
        labels = [part.stem.removeprefix(PREFIX) for part in parts]
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
            _write(part_path(self._folder, f"{self._next:06}"), self._settings, self._fresh)
            self._known |= dict(self._fresh)
            self._fresh = []
            self._next += 1
        self._since = time.monotonic()


def part_path(folder: Path, label: str) -> Path:
    """The file of a part."""
    return folder / f"{PREFIX}{label}.npz"


def label_of(names: Sequence[str]) -> str:
    """Of the part of these pictures alone. Whoever writes it late, as a worker that has been given up may,
    overwrites no other part. It is never a number, which those of one process are."""
    return f"x{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:DIGITS]}"


def write_part(path: Path, settings: DescriptorSettings,
               found: Sequence[tuple[Path, str, np.ndarray]]) -> None:
    """Writes a part, whole or not at all: files, names and vectors of pictures. Raises InputError."""
    _write(path, settings, [(_key(file, name), vector) for file, name, vector in found])


def _write(path: Path, settings: DescriptorSettings, found: Sequence[tuple[str, np.ndarray]]) -> None:
    part = Descriptors(settings, tuple(key for key, _ in found), np.stack([vector for _, vector in found]))
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {path.parent} cannot be made: {error.strerror}") from error
    save_descriptors(part, path)


def remove_shards(folder: Path) -> None:
    """Removes the parts, and the folder if nothing else is in it."""
    for part in folder.glob(PATTERN):
        part.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _key(path: Path, name: str) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{name}"
