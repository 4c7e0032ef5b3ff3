"""The pictures of a folder and its folders, and what else lies there."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.common.picture_manifest import MANIFEST
from kestrel.sw.pictures.decode import HEIF_SUFFIXES, IMAGE_SUFFIXES

Found = TypeVar("Found")

UNREAD_NAMED = 3
"""Examples given of files that are not read."""


@dataclass(frozen=True)
class Listing:
    """``names``: the pictures, relative to ``folder``, with slashes, sorted; ``unread``: the other files."""

    folder: Path
    names: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    @property
    def unread_text(self) -> str:
        """What is not read, in one line, "" for nothing."""
        if not self.unread:
            return ""
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in self.unread)
        found = ", ".join(f"{count} {kind}{' (with pillow-heif)' if kind in HEIF_SUFFIXES else ''}"
                          for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))
        some = ", ".join(self.unread[:UNREAD_NAMED]) + (", ..." if len(self.unread) > UNREAD_NAMED else "")
        return f"{len(self.unread)} files are not read: {found} ({some})"


def list_tree(folder: str | Path, ignored: Sequence[str] = ()) -> Listing:
    """Everything below ``folder`` but what a name with a leading point belongs to.

    Links to files and folders are followed, each folder once: a link back up, or to what is there under its
    own name, brings nothing twice. ``ignored``: patterns of names that are no news among the unread, such as
    ``*.txt``; manifests are none. Raises InputError when there is no such folder or no picture in it.
    """
    folder = Path(folder)
    check_folder(folder)
    files = sorted(_files(folder, ""))
    pictures = tuple(name for name in files if _is_picture(name) and (folder / name).is_file())
    if not pictures:
        raise InputError(f"{folder}: no images; allowed: at least one {', '.join(IMAGE_SUFFIXES)} file")
    kept, known = set(pictures), (MANIFEST, *ignored)
    unread = tuple(name for name in files if name not in kept
                   and not any(fnmatchcase(Path(name).name, pattern) for pattern in known))
    return Listing(folder, pictures, unread)


def find_pictures(folder: str | Path, ignored: Sequence[str] = ()) -> Listing:
    """``list_tree``, with a warning (InputWarning) of what is not read. Raises InputError."""
    found = list_tree(folder, ignored)
    if found.unread:
        warnings.warn(InputWarning(folder, found.unread_text), stacklevel=2)
    return found


def spread(found: Sequence[Found], count: int) -> list[Found]:
    """``count`` of what was found, at equal distances; all of it where there is less."""
    count = min(count, len(found))
    return [found[n * len(found) // count] for n in range(count)]


def check_folder(folder: Path) -> None:
    """Raises InputError unless ``folder`` is one."""
    if not folder.is_dir():
        raise InputError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}; "
                         "allowed: a folder of images")


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _files(folder: Path, prefix: str) -> Iterator[str]:
    """Names of all files, in no particular order. Real folders go before links, which then bring only what
    lies elsewhere."""
    waiting = [(folder, prefix)]
    links: list[tuple[Path, str]] = []
    seen: set[tuple[int, int]] = set()
    while waiting or links:
        place, prefix = waiting.pop() if waiting else links.pop(0)
        status = place.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except PermissionError as error:
            raise InputError(f"{place}: {error.strerror}; allowed: folders that may be read") from error
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                queue = links if entry.is_symlink() else waiting
                queue.append((Path(entry.path), f"{prefix}{entry.name}/"))
            else:
                yield prefix + entry.name
