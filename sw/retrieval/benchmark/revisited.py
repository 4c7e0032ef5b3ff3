"""Revisited Oxford and Paris (Radenovic, Iscen, Tolias, Avrithis, Chum, CVPR 2018)."""

import json
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.benchmark.datasets import (
    SIDE_MAX,
    Benchmark,
    Box,
    Doubts,
    Judgement,
    Query,
    benchmark_pictures,
    by_stem,
    some,
)
from kestrel.sw.retrieval.benchmark.plain_pickle import load_plain_pickle

SPLITS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""Split -> lists of the ground truth that are to be found, and those that are taken out of the ranking."""

HEADLINE = "medium"

_FORM = "imlist, qimlist and gnd (easy, hard, junk and bbx of each query)"


def load_revisited(folder: Path, doubts: Doubts, protocol: str) -> Benchmark:
    """Images below ``folder`` and gnd_PROTOCOL.pkl as published, or the same as .json, which goes first. The
    queries are parts of images outside the database.

    A pickle runs code of whoever wrote it when it is read; ``kestrel.sw.retrieval.benchmark.plain_pickle``
    takes its data alone. An image in several lists counts in the first of easy, hard and junk; images that
    are not there are left out. Raises InputError.
    """
    stems = by_stem(folder, benchmark_pictures(folder))
    path = _find_truth(folder, protocol)
    database, asked, truths = _read_truth(path)
    missing = {stem for stem in (*database, *asked) if stem not in stems}
    if missing:
        doubts(path, f"names images that are not there and are left out: {some(missing)}")
    images = tuple(stems.get(stem, stem) for stem in database)
    queries = []
    judged: dict[str, list[Judgement]] = {split: [] for split in SPLITS}
    for number, (stem, truth) in enumerate(zip(asked, truths, strict=True)):
        where = f"{path}: gnd[{number}]"
        lists = {kind: _rows(truth, kind, len(images), where) for kind in ("easy", "hard", "junk")}
        counted: set[int] = set()
        for kind, rows in lists.items():
            if counted & set(rows):
                doubts(where, "what is in two of easy, hard and junk counts in the first")
            lists[kind] = [row for row in rows if row not in counted]
            counted |= set(rows)
        queries.append(Query(f"{number}:{stem}", stems.get(stem, stem), _box(truth, where)))
        for split, (positives, ignored) in SPLITS.items():
            judged[split].append(Judgement(tuple(row for kind in positives for row in lists[kind]),
                                           tuple(row for kind in ignored for row in lists[kind])))
    found = Benchmark(protocol, folder, images, tuple(queries),
                      {split: tuple(rows) for split, rows in judged.items()}, HEADLINE)
    gone = {query.key for query in queries if query.image in missing}
    return found.without(missing | gone) if missing else found


def _find_truth(folder: Path, protocol: str) -> Path:
    names = [f"gnd_{protocol}.json", f"gnd_{protocol}.pkl"]
    for name in names:
        if found := sorted(folder.rglob(name)):
            return found[0]
    raise InputError(f"{folder}: no {' or '.join(names)}; allowed: images and the ground truth of {protocol}")


def _read_truth(path: Path) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    if path.suffix == ".pkl":
        content = load_plain_pickle(path)
    else:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # also for a number of too many digits
            raise InputError(f"{path}: not JSON ({error}); allowed: {_FORM}") from error
    parts = [content.get(key) if isinstance(content, dict) else None for key in ("imlist", "qimlist", "gnd")]
    for key, part, kind in zip(("imlist", "qimlist", "gnd"), parts, (str, str, dict), strict=True):
        if not isinstance(part, list) or not all(isinstance(entry, kind) for entry in part):
            raise InputError(f"{path}: {key} is missing or no list of "
                             f"{'names' if kind is str else 'objects'}; allowed: {_FORM}")
    database, asked, truths = parts
    assert database is not None and asked is not None and truths is not None, "checked"  # noqa: PT018
    if len(asked) != len(truths):
        raise InputError(f"{path}: {len(asked)} names in qimlist, {len(truths)} entries in gnd; "
                         "allowed: as many of the one as of the other")
    return database, asked, truths


def _rows(truth: dict[str, Any], kind: str, images: int, where: str) -> list[int]:
    rows = truth.get(kind, [])
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < images for row in rows):
        raise InputError(f"{where}: {kind} is no list of indices; allowed: 0..{images - 1}")
    return rows


def _box(truth: dict[str, Any], where: str) -> Box | None:
    box = truth.get("bbx")
    if box is None:
        return None
    if (not isinstance(box, list) or len(box) != 4
            or not all(isinstance(side, int | float) and abs(side) < SIDE_MAX for side in box)
            or not (box[0] < box[2] and box[1] < box[3])):
        raise InputError(f"{where}: bbx is {str(box)[:60]}; allowed: left, top, right, bottom of a box")
    return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
