"""``kestrel study`` as a user runs it."""

import json
import re

import pytest

from kestrel.cli.main import run
from kestrel.sw.study import quick
from kestrel.sw.study import run as study_run

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = """
title = "Small"
[[data]]
name = "scenes"
folder = "scenes"
size = 48
[[networks]]
name = "squeezenet1_1"
weights = "random:1"
cuts = ["fire2"]
[[codecs]]
family = "scalar"
bits = 4
coding = ["fixed", "huffman"]
[[poolings]]
name = "nip"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *arguments):
    capsys.readouterr()
    assert run([*map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_the_quick_study_makes_its_own_pictures(here, capsys, monkeypatch):
    monkeypatch.setattr(quick, "TEXT", SMALL)
    assert run(["study", "quick", "-o", "s", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["rows"] == 3  # float, fixed, Huffman
    assert {row["codec"] for row in found["pareto"]} <= {"float", "lloyd-max-4bit", "lloyd-max-4bit-huffman"}
    assert "squeezenet1_1/float: " in err
    assert "min left" in err
    assert {"table.csv", "table.json", "report", "rows"} <= {path.name for path in (here / "s").iterdir()}
    # Done before: nothing is measured again.
    assert run(["study", "quick", "-o", "s", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["pareto"] == found["pareto"]
    assert run(["study", "quick", "-o", "s"]) == 0
    assert "Pareto fronts" in capsys.readouterr().out


def rows_without_seconds(folder):
    found = json.loads((folder / "table.json").read_text())
    text = json.dumps(found, sort_keys=True)
    return re.sub(r'"seconds": [0-9.e-]+', "", text)


def test_the_same_rows_in_pieces_here_and_on_a_worker(here, monkeypatch, capsys):
    monkeypatch.setattr(quick, "TEXT", SMALL)
    for output, arguments in (("a", []), ("b", ["--dask-workers", "0"]), ("c", ["--dask-workers", "1"])):
        assert run(["study", "quick", "-o", output, "--json", *arguments]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == 3
    assert rows_without_seconds(here / "a") == rows_without_seconds(here / "b")
    assert rows_without_seconds(here / "a") == rows_without_seconds(here / "c")
    assert not list(here.glob(".*.lock"))


def test_a_task_that_fails_is_named_and_the_others_are_kept(here, monkeypatch, capsys):
    monkeypatch.setattr(quick, "TEXT", SMALL)
    inner = study_run.run_task

    def flawed(task, place):
        if task.name != "squeezenet1_1/float":
            raise RuntimeError("spilt milk")
        return inner(task, place)

    monkeypatch.setattr(study_run, "run_task", flawed)
    assert run(["study", "quick", "-o", "s", "--dask-workers", "0"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("kestrel: error: 1 of 2 pieces failed: squeezenet1_1/")
    assert error.endswith("s keeps the others; the same command goes on from there")
    assert [path.name for path in (here / "s" / "rows").iterdir()] == ["squeezenet1_1--float.json"]


def test_what_cannot_be_used_is_refused_in_one_line(here, capsys):
    (here / "g.toml").write_text(SMALL)
    assert "none.toml: no such file; allowed: a grid (TOML), or quick" in refused(
        capsys, "study", "none.toml", "-o", "s")
    assert "--root has no effect with the grid quick" in refused(
        capsys, "study", "quick", "-o", "s", "--root", ".")
    assert "scenes: " in refused(capsys, "study", "g.toml", "-o", "s")  # no such folder
    assert "matches no task; allowed: squeezenet1_1/float" in refused(
        capsys, "study", "g.toml", "-o", "s", "--only", "vgg16/*")
    (here / "g.toml").write_text(SMALL.replace("bits = 4", "bit = 4"))
    assert "g.toml: family scalar: no option 'bit'" in refused(capsys, "study", "g.toml", "-o", "t")
    assert not (here / "t").exists()
