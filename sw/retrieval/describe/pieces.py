"""Descriptors of many pictures as pieces of work, for several processes and machines.

A piece is a run of pictures. Its vectors become one part in the place of parts (``describe.shards``), as
those of a run in one process do, so that either continues what the other has left. Every piece holds the same
pictures however many workers there are.
"""

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.cluster.pieces import Done, Piece, Runner, failure_of
from kestrel.sw.common.places import common_base
from kestrel.sw.common.progress import Progress, silent
from kestrel.sw.common.store import Place, whole_place
from kestrel.sw.common.threads import one_thread
from kestrel.sw.pictures.boxes import Box, open_box
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.describe.extract import Describer, Recipe, Skip, make_describer
from kestrel.sw.retrieval.describe.shards import (
    Shards,
    has_part,
    label_of,
    part_name,
    write_part,
)

PICTURES = 64
"""Of a piece: what is lost, at most, when a worker dies."""


@dataclass(frozen=True)
class Batch:
    """What a piece describes. start: its place among the pictures; paths, names, boxes: one a picture, of
    which the box alone is described where there is one; place, label: of the part to write."""

    start: int
    paths: tuple[str, ...]
    names: tuple[str, ...]
    boxes: tuple[Box | None, ...]
    place: str
    label: str


@dataclass(frozen=True)
class Found:
    """What a piece tells beside the part that it wrote. written: whether it wrote one; skipped: names of
    pictures that cannot be used, and why; remarks: on those that were used."""

    written: bool
    skipped: tuple[tuple[str, str], ...]
    remarks: tuple[InputWarning, ...]


def describe_in_pieces(
    describer: Describer, paths: Sequence[Path], names: Sequence[str], runner: Runner, parts: Place, *,
    boxes: Sequence[Box] | None = None, progress: Progress = silent, skip: Skip | None = None,
    pictures: int | None = None,
) -> Descriptors:
    """As ``Describer.describe`` with ``shards=parts``, by ``runner``, whose processes must all see the files
    and the folder ``parts`` under the same paths, or reach the store ``parts``.

    boxes: of each picture the part that is described (None: the whole); pictures: of a piece (None:
    PICTURES). Raises InputError also for pieces that failed, once all others are done.
    """
    pieces = _pieces(describer, paths, names, boxes, parts, pictures or PICTURES)
    failed: list[Done] = []
    what = "describing" if boxes is None else "describing queries"
    with progress(what, len(paths)) as advance:
        advance(len(paths) - sum(len(_batch(piece).names) for piece in pieces))
        for done in map(_checked, runner.run(pieces)):
            if done.failed:
                failed.append(done)
            else:
                _tell(done, skip)
            advance(len(_batch(done.piece).names))
    if failed:
        failed.sort(key=lambda done: _batch(done.piece).start)
        raise failure_of(failed, len(pieces), f"{parts} keeps the others; the same command goes on from "
                         "there")
    known, kept = Shards(parts, describer.settings), _kept_names(names, boxes)
    found = [(path, name, vector) for path, name, label in zip(paths, names, kept, strict=True)
             if path.is_file() and (vector := known.find(path, label)) is not None]
    if not found:
        raise InputError(f"no picture that can be described among {len(paths)}; allowed: at least one")
    used, called, vectors = zip(*found, strict=True)
    return Descriptors(describer.settings, called, np.stack(vectors),
                       folder=common_base(list(used), list(called)))


def _pieces(describer: Describer, paths: Sequence[Path], names: Sequence[str], boxes: Sequence[Box] | None,
            parts: Place, pictures: int) -> list[Piece]:
    """Of the pictures that no part has yet."""
    assert describer.recipe is not None, "made by make_describer"
    known = Shards(parts, describer.settings)
    kept = _kept_names(names, boxes)
    recipe = pickle.dumps(_portable(describer.recipe))
    found: list[Piece] = []
    for start in range(0, len(paths), pictures):
        rows = [row for row in range(start, min(start + pictures, len(paths)))
                if not paths[row].is_file() or known.find(paths[row], kept[row]) is None]
        if rows:
            batch = Batch(start, tuple(str(paths[row].absolute()) for row in rows),
                          tuple(names[row] for row in rows),
                          tuple(None if boxes is None else boxes[row] for row in rows), whole_place(parts),
                          label_of([kept[row] for row in rows]))
            found.append(Piece(f"{batch.names[0]} to {batch.names[-1]}", describe_piece,
                               (recipe, describer.settings, batch)))
    return found


def _kept_names(names: Sequence[str], boxes: Sequence[Box | None] | None) -> list[str]:
    """Under which parts keep the vectors: another box of a picture is another name."""
    boxes = [None] * len(names) if boxes is None else boxes
    return [name if box is None else f"{name} {box}" for name, box in zip(names, boxes, strict=True)]


def _batch(piece: Piece) -> Batch:
    return piece.arguments[2]


def _checked(done: Done) -> Done:
    """Failed too where the part that a worker wrote is not seen here."""
    batch = _batch(done.piece)
    if not done.failed and done.value.written and not has_part(batch.place, batch.label):
        return Done(done.piece, failed=f"{batch.place}/{part_name(batch.label)} was written and is not seen "
                                       "here; allowed: a folder that all workers share")
    return done


def _tell(done: Done, skip: Skip | None) -> None:
    for remark in done.value.remarks:
        warnings.warn(remark, stacklevel=2)
    for name, reason in done.value.skipped:
        if skip is None:
            raise InputError(reason)
        skip(name, InputError(reason))


def _portable(recipe: Recipe) -> Recipe:
    """With whole paths: a worker may have been started in another folder. Names stay names."""
    network, options = recipe.network, recipe.options
    backend_options = {name: _whole(value) for name, value in options.backend_options.items()}
    changed = replace(options, weights=_whole(options.weights), whitening=_whole(options.whitening),
                      backend_options=backend_options)
    return Recipe(_whole(network), changed)


def _whole(given: Any) -> Any:
    """A path that is there as a whole one; anything else, such as the name of a network, as it is."""
    is_file = isinstance(given, str | Path) and Path(given).is_file()
    return str(Path(given).absolute()) if is_file else given


def describe_piece(recipe: bytes, settings: DescriptorSettings, batch: Batch) -> Found:
    """On a worker: describes the pictures of ``batch`` and writes their part. recipe: pickled; settings:
    those that have to come of it. Raises InputError."""
    describer = _describer(recipe)
    if describer.settings != settings:
        raise InputError("network, weights or whitening are other ones on this worker; allowed: the same "
                         "files under the same paths")
    paths = [Path(path) for path in batch.paths]
    skipped: list[tuple[str, str]] = []
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        vectors = _vectors(describer, paths, batch, lambda name, error: skipped.append((name, str(error))))
    remarks = [warning.message for warning in caught]
    for other in remarks:
        if not isinstance(other, InputWarning):
            warnings.warn(other, stacklevel=2)
    if vectors:
        kept = _kept_names(batch.names, batch.boxes)
        write_part(batch.place, batch.label, settings,
                   [(paths[row], kept[row], vector) for row, vector in vectors])
    return Found(bool(vectors), tuple(skipped), tuple(r for r in remarks if isinstance(r, InputWarning)))


def _vectors(describer: Describer, paths: Sequence[Path], batch: Batch,
             skip: Skip) -> list[tuple[int, np.ndarray]]:
    if not any(batch.boxes):
        return describer.vectors(paths, batch.names, skip)
    found: list[tuple[int, np.ndarray]] = []
    for row, (path, name, box) in enumerate(zip(paths, batch.names, batch.boxes, strict=True)):
        try:
            what = name.replace(":", " ", 1)  # query:NAME
            found.append((row, describer.describe_picture(open_box(path, box, what))))
        except InputError as error:
            skip(name, error)
    return found


@lru_cache(maxsize=1)
def _describer(recipe: bytes) -> Describer:
    """Made once in a process, for all pieces of a run."""
    made: Recipe = pickle.loads(recipe)  # noqa: S301 - from the process that this one works for
    return make_describer(made.network, made.options)
