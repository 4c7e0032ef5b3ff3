"""Commands under faults: a small sample, and that the trial finds what does not hold."""

import json
import sys
from pathlib import Path

import pytest

from kestrel.verif.faults.child import Disturbance, start
from kestrel.verif.faults.trial import Case, Kind, Trial


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("software_faults")


def test_a_sample_of_commands_holds(script, tmp_path, seed):
    """One that writes a file, one that changes one, and one that writes a folder."""
    results = tmp_path / "results.jsonl"
    arguments = ["-o", str(results), "--kills", "4", "--others", "1", "--seed", str(seed)]
    assert script.main([*arguments, "--commands", "index add,scenes,whiten"]) == 0
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["command"] for line in lines] == ["whiten", "index add", "scenes"]
    assert all(sum(line["runs"].values()) == 7 for line in lines)
    assert script.main([*arguments, "--commands", "scenes"]) == 0
    assert len(results.read_text().splitlines()) == 3
    assert script.main(["--commands", "fly"]) == 2


def test_no_disk_is_filled_that_may_be_anybodys(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "DISK_MAX", 1000)
    assert script.main(["--disk", str(tmp_path)]) == 2
    assert "allowed: a file system of its own of at most 1,000" in capsys.readouterr().err


def test_every_command_that_writes_is_among_the_cases(script):
    wanted = {"compress", "retrain", "allocate", "export", "verilog", "plan", "describe", "whiten",
              "evaluate", "index add", "index remove", "index build", "index merge", "search",
              "report design", "report retrieval", "scenes", "shapes", "study", "regress",
              "simulate"}  # fmt: skip
    names = {case.arguments.partition(" -")[0] for case in script.CASES}
    assert all(any(name.startswith(command) for name in names) for command in wanted)


def _careless(arguments):
    """Writes in place, half at a time, and trips over what it wrote before."""
    path = Path(arguments[0])
    if path.exists() and path.read_text() == "first half, ":
        print("kestrel: error: what is that?", file=sys.stderr)
        return 2
    Path("input").read_text()
    with path.open("w") as file:
        file.write("first half, ")
        file.flush()
        Path("input").write_text("mine no longer")
        with path.open("a") as rest:
            rest.write("second half")
    return 0


def test_a_careless_command_is_found_out(tmp_path):
    world = tmp_path / "world"
    world.mkdir()
    (world / "input").write_text("mine")
    trial = Trial(Case("careless", "out", ("out",)), _careless, world, tmp_path / "room", 1)
    trial.run(Kind.CHANGE, 12)
    found = " ".join(trial.report.complaints)
    assert "out is neither as it was nor whole" in found
    assert "input is lost or changed" in found
    assert "given again: exit code 2" in found


def test_a_process_is_killed_and_counts_what_it_does(tmp_path):
    (tmp_path / "input").write_text("mine")
    ending = start(_careless, ["out"], tmp_path, tmp_path / "notes", Disturbance()).wait(30)
    assert (ending.code, ending.signal, ending.changes, ending.reads) == (0, 0, 3, 1)
    killed = start(_careless, ["new"], tmp_path, tmp_path / "notes", Disturbance(at_change=3)).wait(30)
    assert (killed.code, killed.signal) == (None, 9)
    assert (tmp_path / "new").read_text() == "first half, "
    full = start(_careless, ["full"], tmp_path, tmp_path / "notes", Disturbance(file_size=5)).wait(30)
    assert "File too large" in full.message
