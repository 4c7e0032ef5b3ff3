"""The HTML page of search results: each query with its best matches as pictures, in one file."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.common.files import atomic_write
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.query import MARKS, Result

THUMBNAIL_SIDE = 176
"""Longest side of an embedded picture, in pixels."""

JPEG_QUALITY = 80


class Thumbnails:
    """Pictures by name, as data URIs, each read once; None where there is none to be read. ``find``: the file
    of a name, None where it is not known."""

    def __init__(self, find: Callable[[str], Path | None]) -> None:
        self._find = find
        self._made: dict[Path, str | None] = {}

    def __call__(self, name: str) -> str | None:
        path = self._find(name)
        if path is None:
            return None
        if path not in self._made:
            try:
                self._made[path] = thumbnail(path)
            except InputError:
                self._made[path] = None
        return self._made[path]


def thumbnail(path: Path) -> str:
    """A picture of at most THUMBNAIL_SIDE pixels, as a data URI. Raises InputError."""
    picture = Image.fromarray(read_picture(path).rgb)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
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
    thumbnails = Thumbnails(lambda name: query_pictures.get(name) or find(name))
    environment = Environment(loader=PackageLoader("kestrel.sw.retrieval.search"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("search.html.j2").render(
        results=results, about=about, measure=measure, marks=MARKS, side=THUMBNAIL_SIDE,
        judged=any(result.wanted is not None for result in results), picture=thumbnails,
        query_picture=thumbnails,
    )  # fmt: skip
    # Names may hold bytes that the locale could not decode. They are UTF-8, or no text at all.
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with atomic_write(path) as temporary:
        temporary.write_text(readable, encoding="utf-8")
