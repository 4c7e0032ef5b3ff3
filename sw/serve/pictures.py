"""The pictures of an index, reduced for the page. Nothing else of the disk can be reached.

A picture is found by its name in the index, and only if its file lies in the folder that the index or the
user names: a name with ``..`` or a link that leads out of the folder has no picture here. What is sent is a
new JPEG, never the file itself.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.decode import IMAGE_SUFFIXES, PIXELS_MAX, read_picture
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.serve.kept import Kept

SIDES = {"small": 480, "large": 1600}
"""Longest side in pixels of what is sent, by the word in the address."""

JPEG_QUALITY = 82

KEPT = 256
"""Reduced pictures that are kept in memory."""


class IndexPictures:
    """The pictures of an index by name. ``folder``: where they are (None: where the index remembers them).
    Safe to use from several threads."""

    def __init__(self, index: DescriptorIndex, folder: Path | None = None) -> None:
        self._index = index
        self._folder = folder
        self._names = frozenset(index.names)
        self._kept: Kept[tuple[Path, int, str], bytes] = Kept(KEPT)

    def file(self, name: str) -> Path | None:
        """The file of a picture; None for a name that is not in the index, and for a file that is not there
        or lies outside the folder."""
        if name not in self._names:
            return None
        folder = self._folder or self._index.folder(name)
        if folder is None:
            return None
        try:
            root = folder.resolve(strict=True)
            path = (root / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # gone, no name for a file, links in a circle
            return None
        return path if path.is_relative_to(root) and path.is_file() else None

    def jpeg(self, path: Path, size: str) -> bytes:
        """A file of ``file``, reduced to the side that ``size`` names. Raises InputError."""
        return self._kept.get((path, path.stat().st_mtime_ns, size),
                              lambda: jpeg(read_picture(path).rgb, SIDES[size]))

    def missing(self, most: int) -> tuple[list[str], int]:
        """Of at most ``most`` names, evenly spread, those without a picture; and how many were looked for."""
        names = self._index.names
        looked = names if len(names) <= most else [names[n * len(names) // most] for n in range(most)]
        return [name for name in looked if self.file(name) is None], len(looked)


def jpeg(rgb: np.ndarray, side: int) -> bytes:
    """uint8 RGB [H, W, 3], reduced to at most ``side`` pixels a side."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def read_upload(path: Path, name: str, pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """An uploaded file as uint8 RGB [H, W, 3], and remarks on its reading. ``name``: the user's, for
    messages; ``pixels``: the most that are allowed. Raises InputError for anything but a whole picture of a
    usual format: formats that Pillow hands to other programs are not tried."""
    try:
        found = read_picture(path, pixels_max=min(pixels, PIXELS_MAX), formats=_formats())
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    return found.rgb, found.remarks


def _formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be read here."""
    known = Image.registered_extensions()
    return tuple(sorted({known[suffix] for suffix in IMAGE_SUFFIXES if suffix in known}))
