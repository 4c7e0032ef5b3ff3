"""The contents of a folder of training pictures: which picture belongs to which class and group."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.picture_manifest import MANIFEST, Entry, read_manifest
from kestrel.sw.pictures.images import IMAGE_SUFFIXES, generate_picture, list_images, open_image

UNKNOWN = -1
"""The label or group of a picture that has none."""


class Pictures(Protocol):
    """A source of pictures. It must be picklable, because worker processes read from it."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The picture's name in reports."""
        ...

    def read(self, index: int) -> np.ndarray:
        """The picture as uint8 RGB [H, W, 3]. Raises InputError if it cannot be read."""
        ...


@dataclass(frozen=True)
class FolderPictures:
    """The image files ``names``, relative to ``folder``."""

    folder: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def read(self, index: int) -> np.ndarray:
        return open_image(self.folder / self.names[index])


@dataclass(frozen=True)
class GeneratedPictures:
    """``count`` pictures generated from ``seed``, see kestrel.sw.pictures.images.generate_picture."""

    count: int
    height: int
    width: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"generated {self.seed + index}"

    def read(self, index: int) -> np.ndarray:
        return generate_picture(self.height, self.width, self.seed + index)


@dataclass(frozen=True)
class TrainingSet:
    """Pictures, each with one label and one group (UNKNOWN if it has none).

    ``classes`` names the labels 0, 1, .... Pictures of the same group show the same thing; if the folder
    gives only classes, the groups are the labels.
    """

    pictures: Pictures
    labels: tuple[int, ...]
    groups: tuple[int, ...]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.pictures) == len(self.labels) == len(self.groups)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Sequence[int]) -> "TrainingSet":
        """The pictures at ``rows``, in that order."""
        return replace(self, pictures=_Selected(self.pictures, tuple(rows)),
                       labels=tuple(self.labels[row] for row in rows),
                       groups=tuple(self.groups[row] for row in rows))

    def first_classes(self, count: int) -> "TrainingSet":
        """Only the pictures of the first ``count`` classes. Raises InputError if there are fewer classes."""
        if not 1 <= count <= len(self.classes):
            raise InputError(f"{count} classes; allowed: 1..{len(self.classes)}, as many as the set has")
        chosen = self.select([row for row, label in enumerate(self.labels) if 0 <= label < count])
        return replace(chosen, classes=self.classes[:count])

    def split(self, share: float, seed: int) -> tuple["TrainingSet", "TrainingSet"]:
        """(the rest, a random ``share`` of the pictures), for training and validation. Raises InputError if
        one of the two would be empty."""
        count = round(share * len(self))
        if not 0 < count < len(self):
            raise InputError(f"validation share {share:g} of {len(self)} pictures; "
                             "allowed: such that both parts have pictures")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(sorted(order[count:].tolist())), self.select(sorted(order[:count].tolist()))


@dataclass(frozen=True)
class _Selected:
    """Some of the pictures of another source."""

    source: Pictures
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.source.name(self.rows[index])

    def read(self, index: int) -> np.ndarray:
        return self.source.read(self.rows[index])


# --------------------------------------------------------------------------------------------------------
# Layouts of folders
# --------------------------------------------------------------------------------------------------------


def _manifest(folder: Path) -> list[Entry]:
    return read_manifest(folder, ("label", "group"))


def _class_folders(folder: Path) -> list[Entry]:
    """Reads CLASS/.../image; this is also the layout of ImageNet, whose folders are named after synsets."""
    entries = [
        Entry(path.relative_to(folder).as_posix(), place.name)
        for place in sorted(folder.iterdir()) if place.is_dir() and not place.name.startswith(".")
        for path in sorted(place.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]  # fmt: skip
    if not entries:
        raise InputError(f"{folder}: no images in folders; allowed: one folder a class")
    return entries


def _group_names(folder: Path) -> list[Entry]:
    """Reads group and index from the file name. It consists either of digits, of which the last two are the
    index (Holidays: 100001, and 00701), or of GROUP_INDEX, as in eiffel_000017."""
    entries = []
    for path in list_images(folder):
        match = re.fullmatch(r"([0-9]+)[0-9]{2}|(.+)[_-][0-9]+", path.stem)
        if match is None:
            raise InputError(f"{path}: the name does not tell a group; allowed: digits of which the last "
                             f"two are the index, as in 00701.jpg, GROUP_INDEX, or a {MANIFEST}")
        entries.append(Entry(path.name, group=match[1] or match[2]))
    return entries


def _class_names(folder: Path) -> list[Entry]:
    """Reads the class from the file name: all before the first underscore, as in n01440764_tench.jpg."""
    entries = []
    for path in list_images(folder):
        label, line, _ = path.stem.partition("_")
        if not label or not line:
            raise InputError(f"{path}: the name does not tell a class; allowed: CLASS_anything")
        entries.append(Entry(path.name, label))
    return entries


def _plain(folder: Path) -> list[Entry]:
    return [Entry(path.name) for path in list_images(folder)]


LAYOUTS: dict[str, Callable[[Path], list[Entry]]] = {
    "manifest": _manifest,
    "folders": _class_folders,
    "groups": _group_names,
    "names": _class_names,
    "plain": _plain,
}
"""``manifest``: manifest.csv; ``folders``: one folder for each class, as in ImageNet; ``groups``: group and
index in the file name; ``names``: class in the file name; ``plain``: neither."""

AUTO = "auto"


def load_training_set(folder: str | Path, layout: str = AUTO,
                      classes: Sequence[str] | None = None) -> TrainingSet:
    """The pictures of ``folder``, sorted by class or group and by name, in whatever order the system lists
    them.

    ``layout`` is one of LAYOUTS, or ``auto``: a manifest if there is one; otherwise folders if there are no
    images in the folder itself; otherwise what all file names have in common (digits: groups, synset numbers:
    classes); otherwise plain. ``classes`` are the names of the labels, so that a second folder (ImageNet's
    val besides its train) gets the same numbers; without it, the names found are used in sorted order. Raises
    InputError if the folder does not exist, is empty or does not have this layout. The files themselves are
    read, and found unreadable, later.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}; "
                         "allowed: a folder of images")
    if layout != AUTO and layout not in LAYOUTS:
        raise InputError(f"layout {layout!r}; allowed: {AUTO}, {', '.join(LAYOUTS)}")
    entries = LAYOUTS[_guess(folder) if layout == AUTO else layout](folder)
    if not entries:
        raise InputError(f"{folder}: no images; allowed: at least one")
    entries.sort(key=lambda e: (e.label, e.group, e.name))
    known = sorted({e.label for e in entries} - {""}) if classes is None else list(classes)
    numbers = {name: n for n, name in enumerate(known)}
    for entry in entries:
        if entry.label and entry.label not in numbers:
            raise InputError(f"{folder / entry.name}: class {entry.label!r}; "
                             f"allowed: the {len(known)} classes trained on")
    groups = {name: n for n, name in enumerate(sorted({e.group or e.label for e in entries} - {""}))}
    return TrainingSet(
        FolderPictures(folder, tuple(e.name for e in entries)),
        labels=tuple(numbers.get(e.label, UNKNOWN) for e in entries),
        groups=tuple(groups.get(e.group or e.label, UNKNOWN) for e in entries),
        classes=tuple(known),
    )


def _guess(folder: Path) -> str:
    if (folder / MANIFEST).is_file():
        return "manifest"
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    if not images:
        return "folders"
    if all(re.fullmatch("[0-9]{5,}", p.stem) for p in images):
        # Numbers alone may mean anything; they are groups only if some pictures share one.
        return "groups" if max(Counter(p.stem[:-2] for p in images).values()) > 1 else "plain"
    return "names" if all(re.match("n[0-9]{8}_", p.stem) for p in images) else "plain"
