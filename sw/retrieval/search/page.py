"""The HTML page of search results: each query with its best matches as pictures, in one file."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.search.query import MARKS, Result

THUMBNAIL_SIDE = 176
"""Longest side of an embedded picture, in pixels."""

JPEG_QUALITY = 80


class Thumbnails:
    """Pictures of a folder by name, as data URIs, each read once; None where there is none to be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Path, str | None] = {}

    def __call__(self, name: str) -> str | None:
        path = self._folder / name
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


def write_page(path: Path, results: list[Result], about: Mapping[str, str], measure: str, pictures: Path,
               query_pictures: Mapping[str, Path]) -> None:
    """Writes the page. ``about``: lines of its head; ``measure``: what a score is; ``pictures``: the folder
    that names are relative to; ``query_pictures``: query name -> file, for those that lie elsewhere.
    Nothing is loaded from elsewhere when it is shown. Raises InputError when it cannot be written."""
    thumbnails = Thumbnails(pictures)
    environment = Environment(loader=PackageLoader("kestrel.sw.retrieval.search"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("search.html.j2").render(
        results=results, about=about, measure=measure, marks=MARKS, side=THUMBNAIL_SIDE,
        judged=any(result.wanted is not None for result in results), picture=thumbnails,
        query_picture=lambda name: thumbnails(str(query_pictures[name].resolve())
                                              if name in query_pictures else name),
    )  # fmt: skip
    # Names may hold bytes that the locale could not decode. They are UTF-8, or no text at all.
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    with atomic_write(path) as temporary:
        temporary.write_text(readable, encoding="utf-8")
