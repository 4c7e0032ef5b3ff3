"""The Pareto front, and what a family's rows are said to be beside it."""

import pytest

from kestrel.sw.study.report.fronts import front, rivals
from kestrel.sw.study.rows import Row


def row(family, size, value, spread=(0.0, 0.0)):
    precisions = (value + spread[0], value + spread[1])
    return Row("n/x", "n", True, "c", family, f"{family}{size}", {}, "d", "nip", "none", size, 100, size, 0,
               0, 8, value, precisions, None, 1.0, "kestrel study")


def test_the_front_has_no_row_that_another_dominates():
    rows = [row("scalar", 10, 0.5), row("masks", 20, 0.6), row("vector", 20, 0.55), row("scalar", 30, 0.6),
            row("float", 99, 0.7)]
    assert [(found.file_bytes, found.map) for found in front(rows)] == [(10, 0.5), (20, 0.6), (99, 0.7)]


def test_of_equal_rows_one_is_on_the_front():
    assert len(front([row("scalar", 10, 0.5), row("masks", 10, 0.5)])) == 1


@pytest.mark.parametrize(("other", "spread", "verdict"), [
    (0.5, (0, 0), "on the front"),
    (0.7, (0, 0), "behind"),
    (0.61, (0.3, -0.3), "beside it, not told apart"),
])
def test_verdicts(other, spread, verdict):
    found = rivals([row("masks", 20, 0.6), row("scalar", 15, other, spread)], "masks")
    assert [rival.verdict for rival in found] == [verdict]
    assert found[0].rival is not None
    assert found[0].rival.map == other


def test_a_row_may_be_behind_its_own_family():
    found = rivals([row("masks", 20, 0.6), row("masks", 15, 0.65)], "masks")
    assert [rival.verdict for rival in found] == ["on the front", "behind its own family"]


def test_larger_rows_are_no_rivals():
    found = rivals([row("masks", 20, 0.6), row("scalar", 21, 0.9)], "masks")
    assert found[0].on_front
    assert found[0].rival is None
