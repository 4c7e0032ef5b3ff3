"""Proof that a plan works: it is replayed on a model of the feature memory that records what lies where."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.sw.planning.geometry import Region, Visit
from kestrel.sw.planning.plan import Plan, Record
from kestrel.sw.planning.visit_order import keeps_pooled_rows


class PlanError(RuntimeError):
    """A plan reads a row that is not (or no longer) there, or visits one twice or never: a defect."""


def check_plan(plan: Plan) -> None:
    """Replays every visit. Each word of the modelled memory holds the record and the row that were last
    written to it, separately for each row group; a visit must find all rows of its window. Raises
    PlanError."""
    for record in plan.records:
        if record.read is not None and record.read.part == record.written_part:
            raise PlanError(f"{record.name}: reads and writes part {record.read.part}, one port, at once")
    owners = [np.full((BANKS, words, ROW_GROUPS), -1, dtype=np.int64) for words in plan.feature_words]
    done = [0] * len(plan.records)
    for visit in plan.visits:
        record = plan.records[visit.record]
        if visit.first_row != done[visit.record] or visit.rows < 1:
            raise PlanError(
                f"{record.name}: rows from {visit.first_row} on, not from {done[visit.record]} on"
            )
        done[visit.record] += visit.rows
        if done[visit.record] > record.rows:
            raise PlanError(f"{record.name}: more rows than {record.rows}")
        if record.read is not None:
            assert record.source is not None
            for row, place in _rows_read(plan, visit):
                if (_words(owners, record.read, place) != _owner(record.source, row)).any():
                    raise PlanError(
                        f"{record.name}: row {row} of its input has been overwritten or never written"
                    )
        row = _missing_shortcut_row(owners, record, visit)
        if row is not None:
            raise PlanError(f"{record.name}: row {row} of its shortcut has been overwritten or never written")
        if record.write is not None:
            for row, place in _rows_written(plan, visit):
                _words(owners, record.write, place)[:] = _owner(visit.record, row)
        # The output groups of a visit read the shortcut one after the other, and each writes what it finds.
        row = _missing_shortcut_row(owners, record, visit)
        if row is not None:
            raise PlanError(f"{record.name}: row {row} of its shortcut is overwritten by its own output")
    layers = [record.layer for record in plan.records if record.layer is not None]
    if not keeps_pooled_rows(layers, plan.visits):
        raise PlanError("another layer pools between the strips of a 3x3 pooling")
    for record, rows in zip(plan.records, done, strict=True):
        if rows != record.rows:
            raise PlanError(f"{record.name}: {rows} of {record.rows} rows are visited")


def _missing_shortcut_row(owners: list[np.ndarray], record: Record, visit: Visit) -> int | None:
    """The first row of its shortcut's map that a visit needs and that is not there; None if all are."""
    if record.shortcut_read is None:
        return None
    assert record.shortcut is not None
    for row in _shortcut_rows(record, visit):
        if (_words(owners, record.shortcut_read, _Place(row)) != _owner(record.shortcut, row)).any():
            return row
    return None


@dataclass(frozen=True)
class _Place:
    """Where a row lies: as which row of its region, and in which row group's lanes (None means in all)."""

    row: int
    group: int | None = None


def _rows_read(plan: Plan, visit: Visit) -> Iterator[tuple[int, _Place]]:
    """The rows of its input that a visit needs, and where it reads them."""
    record = plan.records[visit.record]
    end = visit.first_row + visit.rows
    if record.kind == KIND_OUTPUT:
        yield from ((row, _Place(row)) for row in range(visit.first_row, end))
    elif visit.record == 1 and plan.row_groups:
        if visit.first_row % ROW_GROUPS or (visit.rows % ROW_GROUPS and end != record.height):
            raise PlanError(f"{record.name}: rows {visit.first_row} to {end - 1} are not whole triples")
        for out in range(visit.first_row, end):
            group = out % ROW_GROUPS
            for n in range(ROW_GROUPS):
                if 0 <= out + n - 1 < record.height:
                    yield out + n - 1, _Place(out - group + n, group)
    else:
        assert record.counted is not None
        rows = {row for out in range(visit.first_row, end) for row in record.counted.window(out)}
        yield from ((row, _Place(row)) for row in sorted(rows))


def _shortcut_rows(record: Record, visit: Visit) -> Iterator[int]:
    """The rows of its shortcut's map that a visit needs."""
    assert record.counted is not None
    for row in range(visit.first_row, visit.first_row + visit.rows):
        yield record.counted.shortcut_row(row)


def _rows_written(plan: Plan, visit: Visit) -> Iterator[tuple[int, _Place]]:
    """The rows of its output that a visit writes, and where it writes them."""
    record = plan.records[visit.record]
    assert record.kind in {KIND_INPUT, KIND_CONV}
    end = visit.first_row + visit.rows
    if record.layer is None or record.counted is None:
        first = visit.first_row
    else:
        if record.layer.shape.pool and record.layer.shape.pool_size == 2 and visit.first_row % 2:
            raise PlanError(f"{record.name}: a strip of a pooled layer begins on row {visit.first_row}")
        first = record.counted.written(visit.first_row)
        end = record.counted.written(end)
    for row in range(first, min(record.out_height, end)):
        if visit.record == 0 and plan.row_groups:
            yield from ((row, _Place(row + 1 - group, group)) for group in range(ROW_GROUPS))
        elif visit.record == 0 and plan.blocks:
            # A row of blocks is made of its own two rows of the image and of the one above them, which is
            # written together with the row of blocks before, if that belongs to the same image.
            image_rows = record.out_height // plan.images
            yield from ((row, _Place(row, part)) for part in (0, 1))
            if row % image_rows == 0:
                yield row, _Place(row, 2)
            if (row + 1) % image_rows:
                yield row + 1, _Place(row + 1, 2)
        else:
            yield row, _Place(row)


def _words(owners: list[np.ndarray], region: Region, place: _Place) -> np.ndarray:
    """The words of a row, as a view. Raises PlanError if some lie beyond what the plan uses: numpy would
    leave them out, and of no words at all every statement is true."""
    start, used = region.slot(place.row), owners[region.part].shape[1]
    if not 0 <= start <= start + region.stride <= used:
        raise PlanError(
            f"words {start} to {start + region.stride} of part {region.part}, of which the plan uses {used}"
        )
    words = owners[region.part][place.row % BANKS, start : start + region.stride]
    return words if place.group is None else words[:, place.group]


def _owner(record: int, row: int) -> int:
    return record << 32 | row
