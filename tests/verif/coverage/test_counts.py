"""Counts of coverage: literal files, and one of a small design that really ran."""

import subprocess
from pathlib import Path

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build.verilator import build_native
from kestrel.verif.coverage.counts import HEADER, Counts, Point, merge, read_counts

HERE = Path(__file__).parent
SKID = HERE.parent / "build" / "skid.v"
HARNESS = HERE.parent / "build" / "harness_coverage.cpp"


def line(count, **fields):
    text = "".join(f"\x01{key}\x02{value}" for key, value in fields.items())
    return f"C '{text}' {count}"


BRANCH = {"f": "a b.v", "l": 7, "n": 3, "t": "branch", "page": "v_branch/m", "o": "if", "S": "7-8,10"}
TOGGLE = {"f": "a b.v", "l": 2, "n": 9, "t": "toggle", "page": "v_toggle/m", "o": "x___05Fy[3]:0->1"}


def write(path, *lines):
    path.write_text("".join(f"{text}\n" for text in (HEADER, *lines)))
    return path


def test_points_are_read_with_their_lines_and_names(tmp_path):
    found = read_counts(write(tmp_path / "c.dat", line(5, **BRANCH, h="TOP.m"), line(0, **TOGGLE)))
    assert found == {
        Point("a b.v", 7, 3, "branch", "if", (7, 8, 10)): 5,
        Point("a b.v", 2, 9, "toggle", "x__y[3]:0->1"): 0,
    }
    assert len(found) == 2


def test_instances_and_runs_add_up_and_what_was_never_reached_stays(tmp_path):
    first = read_counts(write(tmp_path / "1.dat", line(5, **BRANCH, h="TOP.a"), line(2, **BRANCH, h="TOP.b"),
                              line(0, **TOGGLE)))  # fmt: skip
    total = Counts()
    for counts in (first, first):
        merge(total, counts)
    assert sorted(total.values()) == [0, 14]


@pytest.mark.parametrize(("text", "message"), [
    ("", "begins with ''"),
    ("SP 1 2\n", "begins with 'SP 1 2'"),
    (f"{HEADER}\n", "no points"),
    (f"{HEADER}\nC 'nonsense' 3\n", "line 2: \"C 'nonsense' 3\" is no point"),
    (f"{HEADER}\n{line('', **BRANCH)}\n", "is no point"),
    (f"{HEADER}\n{line(1, **BRANCH | {'t': 'fsm'})}\n", "is no point"),
    (f"{HEADER}\n{line(1, **BRANCH)}\n{line(12, **TOGGLE)}"[:-1], "cut off"),
])  # fmt: skip
def test_what_is_no_whole_file_of_counts_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "c.dat"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.dat") as refusal:
        read_counts(path)
    assert message in str(refusal.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.dat"):
        read_counts(tmp_path / "none.dat")


def skid_counts(tmp_path, cycles):
    build = build_native([SKID], "skid", HARNESS, optimise=0, coverage=True)
    assert build.coverage
    file = tmp_path / f"{cycles}.dat"
    subprocess.run([build.binary, str(cycles), f"+verilator+coverage+file+{file}"], check=True)
    return {(point.kind, point.line, point.name): count for point, count in read_counts(file).items()}


def test_a_run_counts_what_it_reaches(tmp_path):
    """Two cycles of reset, seven of traffic without a pause: the buffer is never full and waiting."""
    found = skid_counts(tmp_path, 9)
    assert found["line", 14, "block"] == 9
    assert found["branch", 19, "if"] == 2
    assert found["branch", 19, "else"] == 7
    assert found["branch", 15, "else"] == 0
    assert found["toggle", 5, "i__payload[0]:0->1"] > 0
    assert found["toggle", 5, "i__payload[7]:0->1"] == 0
    assert {kind for kind, _, _ in found} == {"line", "branch", "expr", "toggle"}
    assert skid_counts(tmp_path, 2)["branch", 19, "else"] == 0


def test_coverage_has_an_entry_of_its_own_in_the_cache():
    counted = build_native([SKID], "skid", HARNESS, optimise=0, coverage=True)
    plain = build_native([SKID], "skid", HARNESS, optimise=0)
    assert plain.binary != counted.binary
    assert not plain.coverage
