"""The HTML page of search results: each query with its best matches as pictures, in one file."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.common.files import atomic_write
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.query import MARKS, Result

THUMBNAIL_SIDE = 320
"""Longest side of an embedded picture, in pixels: a phone shows two beside each other, sharp."""

LARGE_SIDE = 800
"""The same of a picture that is opened large."""

LARGE_MAX = 300
"""Pictures that can be opened large, so that the page stays below about 30 MB for them. Of more, the others
are shown small only."""

JPEG_QUALITY = 80


@dataclass(frozen=True)
class Embedded:
    """A picture as data URIs. number: its own on the page; large: None of all but the first LARGE_MAX."""

    number: int
    name: str
    small: str
    large: str | None


class Pictures:
    """Pictures by name, each read once; None where there is none to be read. ``find``: the file of a name,
    None where it is not known."""

    def __init__(self, find: Callable[[str], Path | None]) -> None:
        self._find = find
        self._made: dict[Path, Embedded | None] = {}

    def __call__(self, name: str) -> Embedded | None:
        path = self._find(name)
        if path is None:
            return None
        if path not in self._made:
            number = len(self._made)
            try:
                rgb = read_picture(path).rgb
            except InputError:
                self._made[path] = None
            else:
                large = data_uri(rgb, LARGE_SIDE) if number < LARGE_MAX else None
                self._made[path] = Embedded(number, name, data_uri(rgb, THUMBNAIL_SIDE), large)
        return self._made[path]

    @property
    def large(self) -> list[Embedded]:
        """Those so far that can be opened large."""
        return [made for made in self._made.values() if made is not None and made.large is not None]


def data_uri(rgb: np.ndarray, side: int) -> str:
    """uint8 RGB [H, W, 3], reduced to at most ``side`` pixels a side, as a JPEG in a data URI."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture_finder(index: DescriptorIndex, folder: Path | None = None,
                   otherwise: Path | None = None) -> Callable[[str], Path | None]:
    """Where the pictures of names are: in ``folder``, else where the index remembers them, else, of what it
    does not remember, in ``otherwise``."""
    def find(name: str) -> Path | None:
        if folder is not None:
            return folder / name
        return index.picture(name) or (otherwise / name if otherwise is not None else None)

    return find


def warn_of_missing(results: list[Result], find: Callable[[str], Path | None], index: Path) -> None:
    """Warns (InputWarning) when pictures of matches are not where they should be."""
    names = dict.fromkeys(match.name for result in results for match in result.matches)
    missing = [name for name in names if (path := find(name)) is None or not path.is_file()]
    if missing:
        what = (f"{len(missing)} of {len(names)} pictures are not found, such as {missing[0]}; "
                "--images FOLDER tells where they are")
        warnings.warn(InputWarning(index, what), stacklevel=2)


def write_page(path: Path, results: list[Result], about: Mapping[str, str], measure: str,
               pictures: Path | Callable[[str], Path | None], query_pictures: Mapping[str, Path]) -> None:
    """Writes the page. ``about``: lines of its head; ``measure``: what a score is; ``pictures``: the folder
    that names are relative to, or what finds them (``picture_finder``); ``query_pictures``: query name ->
    file, for those that lie elsewhere. Nothing is loaded from elsewhere when it is shown. Raises InputError
    when it cannot be written."""
    find = (lambda name: pictures / name) if isinstance(pictures, Path) else pictures
    embedded = Pictures(lambda name: query_pictures.get(name) or find(name))
    environment = Environment(loader=PackageLoader("kestrel.sw.retrieval.search"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("search.html.j2").render(
        results=results, about=about, measure=measure, marks=MARKS, pictures=embedded,
        judged=any(result.wanted is not None for result in results),
        # Of bits a score is a count; others are shares, whose digits stand below each other.
        score="%d" if all(match.score.is_integer() for r in results for match in r.matches) else "%.4f",
    )  # fmt: skip
    # Names may hold bytes that the locale could not decode. They are UTF-8, or no text at all.
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with atomic_write(path) as temporary:
        temporary.write_text(readable, encoding="utf-8")
