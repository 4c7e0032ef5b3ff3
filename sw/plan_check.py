"""Proof that a plan works: replays it on a model of the feature memory that remembers what lies where."""

import numpy as np

from hw.spec import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from sw.geometry import BANKS, Region, Visit
from sw.plan import Plan, Record


class PlanError(RuntimeError):
    """A plan reads a row that is not there (any more), or visits a row twice or never. A defect."""


def check_plan(plan: Plan) -> None:
    """Replay every visit. Each word of the memory holds the record and row that were written to it last; a
    visit must find all rows of its window. Raises PlanError."""
    owners = [np.full((BANKS, words), -1, dtype=np.int64) for words in plan.feature_words]
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
            for row in _rows_read(record, visit):
                if (_words(owners, record.read, row) != _owner(visit.record - 1, row)).any():
                    raise PlanError(
                        f"{record.name}: row {row} of its input has been overwritten or never written"
                    )
        if record.write is not None:
            for row in _rows_written(record, visit):
                _words(owners, record.write, row)[:] = _owner(visit.record, row)
    for record, rows in zip(plan.records, done, strict=True):
        if rows != record.rows:
            raise PlanError(f"{record.name}: {rows} of {record.rows} rows are visited")


def _rows_read(record: Record, visit: Visit) -> range:
    if record.kind == KIND_OUTPUT:
        return range(visit.first_row, visit.first_row + visit.rows)
    return range(max(0, visit.first_row - 1), min(record.height, visit.first_row + visit.rows + 1))


def _rows_written(record: Record, visit: Visit) -> range:
    assert record.kind in {KIND_INPUT, KIND_CONV}
    divisor = 2 if record.layer is not None and record.layer.shape.pool else 1
    if visit.first_row % divisor:
        raise PlanError(f"{record.name}: a strip of a pooled layer begins on row {visit.first_row}")
    return range(
        visit.first_row // divisor, min(record.out_height, (visit.first_row + visit.rows) // divisor)
    )


def _words(owners: list[np.ndarray], region: Region, row: int) -> np.ndarray:
    """The words of a row: a view."""
    start = region.slot(row)
    return owners[region.part][row % BANKS, start : start + region.stride]


def _owner(record: int, row: int) -> int:
    return record << 32 | row
