"""The rows of a study: one figure of merit of one network at one cut in one coding, and the files they are
in."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap


@dataclass(frozen=True)
class Row:
    """One measurement. task: what ``--only`` names; trained: whether the weights were learned; the sizes are
    those of ``Size``; precisions: the average precision of every query; cosine: mean over the pictures, of
    the descriptors to the float network's, None with a whitening; seconds: of the task; command: that repeats
    it."""

    task: str
    network: str
    trained: bool
    cut: str
    family: str
    codec: str
    options: dict[str, Any]
    data: str
    pooling: str
    whitening: str
    file_bytes: int
    weights: int
    weight_bytes: int
    entropy_bytes: int
    zeros: int
    dimension: int
    map: float
    precisions: tuple[float, ...]
    cosine: float | None
    seconds: float
    command: str

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.weight_bytes / self.weights

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """What a row and its float counterpart have in common."""
        return (self.network, self.cut, self.data, self.pooling, self.whitening)


@dataclass(frozen=True)
class DenseRow:
    """A dense layer in one coding. rate: 32 bits of every weight over the stream's bits; formula: the
    paper's; at_1, at_5: accuracy, by picture in ``hits`` (the rank of the right class, 0 first); map: of the
    layer's output as descriptor."""

    task: str
    network: str
    method: str
    codec: str
    options: dict[str, Any]
    stream_bytes: int
    rate: float
    formula: float
    at_1: float
    at_5: float
    ranks: tuple[int, ...]
    map: float
    precisions: tuple[float, ...]
    seconds: float
    command: str


@dataclass(frozen=True)
class Results:
    """All rows."""

    rows: tuple[Row, ...]
    dense: tuple[DenseRow, ...]

    def float_row(self, row: Row) -> Row | None:
        """The row of the float network at the same place."""
        return self._floats.get(row.place)

    @cached_property
    def _floats(self) -> dict[tuple[str, ...], Row]:
        return {row.place: row for row in self.rows if row.family == "float"}

    def drop(self, row: Row) -> Difference | None:
        """mAP less the float network's, with the interval of a paired bootstrap over the queries."""
        other = self.float_row(row)
        return None if other is None else _difference(row.precisions, other.precisions)


@lru_cache(maxsize=65536)
def _difference(this: tuple[float, ...], other: tuple[float, ...]) -> Difference:
    return paired_bootstrap(np.array(this), np.array(other))


def interval(precisions: Sequence[float]) -> Difference:
    """The mean of average precisions with its bootstrap interval."""
    return _difference(tuple(precisions), (0.0,) * len(precisions))


def write_task(path: Path, settings: Mapping[str, Any], rows: Iterable[Row],
               dense: Iterable[DenseRow]) -> None:
    """Writes the rows of one task, whole or not at all, with the settings they depend on."""
    content = {"settings": settings, "rows": [asdict(row) for row in rows],
               "dense": [asdict(row) for row in dense]}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read_task(path: Path, settings: Mapping[str, Any]) -> Results | None:
    """The rows of a task's file; None where there is none, or one of other settings. Raises InputError for a
    file that cannot be read."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["settings"] != json.loads(json.dumps(settings)):
            return None
        rows = tuple(Row(**{**row, "precisions": tuple(row["precisions"])}) for row in found["rows"])
        dense = tuple(DenseRow(**{**row, "ranks": tuple(row["ranks"]),
                                  "precisions": tuple(row["precisions"])}) for row in found["dense"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}); allowed: a file of rows, which may be "
                         "removed and is then measured anew") from error
    return Results(rows, dense)


LONG = ("precisions", "ranks")
"""Columns that only JSON has."""


def as_csv(table: Results) -> str:
    """All rows but the dense ones, a line each, with what is derived from them."""
    names = [field.name for field in fields(Row) if field.name not in LONG]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*names, "bits_per_weight", "map_low", "map_high", "difference", "difference_low",
                     "difference_high"])
    for row in table.rows:
        around, drop = interval(row.precisions), table.drop(row)
        values = asdict(row)
        writer.writerow([*(json.dumps(values[n]) if n == "options" else values[n] for n in names),
                         row.bits_per_weight, around.low, around.high,
                         *((drop.difference, drop.low, drop.high) if drop else ("", "", ""))])
    return stream.getvalue()


def as_json(table: Results) -> str:
    """All rows."""
    return json.dumps({"rows": [asdict(row) for row in table.rows],
                       "dense": [asdict(row) for row in table.dense]}, allow_nan=False) + "\n"
