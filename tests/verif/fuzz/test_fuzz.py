"""Bad files of every kind: what fuzzing once found, and a few new ones each time."""

import json
import os
from pathlib import Path

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.fuzz.__main__ import main
from kestrel.verif.fuzz.run import make_input, run, seeds_of, try_input
from kestrel.verif.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_refused_in_one_line(path, tmp_path):
    """Files of the corpus lie in a folder by the name of what reads them."""
    target = TARGETS[path.parent.name]
    target.prepare(tmp_path)
    place = tmp_path / target.file
    place.write_bytes(path.read_bytes())
    assert try_input(target, place) == "refused"


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_taken(name, tmp_path):
    target = TARGETS[name]
    target.prepare(tmp_path)
    found = []
    for content in seeds_of(target):
        (tmp_path / target.file).write_bytes(content)
        found.append(try_input(target, tmp_path / target.file))
    assert found
    assert set(found) == {"taken"}


@pytest.mark.parametrize("name", TARGETS)
def test_bad_files_are_taken_or_refused(name, seed):
    outcome = run(name, TARGETS[name], 0, 60, seed)
    assert outcome.findings == []
    assert outcome.taken + outcome.refused == 60
    assert outcome.refused or name in {"kind", "table"}  # of any file it can be said what it is


def _misbehaves(path):
    number = int(path.read_text() or "0")
    if number == 1:
        raise KeyError("no such")
    if number == 2:
        raise InputError("another file is wrong")
    if number == 3:
        bytearray(1 << 31)
    if number == 4:
        while True:
            pass
    if number == 5:
        os._exit(3)


def test_every_kind_of_misbehaviour_is_found(monkeypatch):
    monkeypatch.setattr("kestrel.verif.fuzz.run.SECONDS", 0.2)
    numbers = [lambda source, data, _: b"%d" % source.randrange(6)]
    target = Target("number", lambda _: [b"0"], _misbehaves, numbers)
    outcome = run("number", target, 0, 60, 1)
    kinds = {finding.problem.partition(":")[0].split(" status")[0] for finding in outcome.findings}
    assert kinds == {
        "KeyError", "refusal without the file's name", "MemoryError", "over 0.2 s", "the process ended with",
    }  # fmt: skip
    assert outcome.next == 60
    assert sum(outcome.problems.values()) + outcome.taken == 60


def test_an_input_is_known_by_its_number_and_a_run_goes_on(tmp_path, capsys):
    target = TARGETS["rom-mem"]
    seeds = seeds_of(target)
    assert make_input("rom-mem", target, seeds, 5, 17) == make_input("rom-mem", target, seeds, 5, 17)
    assert make_input("rom-mem", target, seeds, 5, 17) != make_input("rom-mem", target, seeds, 6, 17)
    results = tmp_path / "results.jsonl"
    for count in (30, 50, 0):
        assert main([str(results), "--count", str(count), "--seed", "2", "--targets", "rom-mem"]) == 0
    assert [json.loads(line)["next"] for line in results.read_text().splitlines()] == [30, 50]
    assert json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(("{", "")))["inputs"] == 50
    assert main([str(results), "--targets", "rom-xyz"]) == 2
