"""One mutant of each outcome, on small blocks, with their real benches."""

import json

import pytest

from kestrel.verif.mutants.__main__ import main
from kestrel.verif.mutants.operators import mutants
from kestrel.verif.mutants.outcome import Outcome
from kestrel.verif.mutants.trial import ROOT, Workshop

RECIPROCAL, ROOTS = "descriptor/reciprocal.py", "common/isqrt.py"


def text_of(file):
    return (ROOT / "hw" / file).read_text(encoding="utf-8")


def mutant(file, old, new, line_has):
    """The one mutant of the file that makes ``new`` of ``old`` in a line with the text."""
    lines = text_of(file).splitlines()
    (found,) = [
        m for m in mutants(text_of(file)) if (m.old, m.new) == (old, new) and line_has in lines[m.line - 1]
    ]
    return found


@pytest.mark.parametrize(
    ("file", "old", "new", "line_has", "outcome"),
    [
        pytest.param(RECIPROCAL, "<<", ">>", "total << 1", Outcome.BENCH, marks=pytest.mark.regress),
        (RECIPROCAL, "1", "0", "range(moves + digits + 1)", Outcome.SAME),
        (ROOTS, "+", "-", "Signal(len(root) + 3", Outcome.INVALID),
    ],
)
def test_outcomes(file, old, new, line_has, outcome, tmp_path):
    workshop = Workshop(tmp_path, 300)
    if outcome is not Outcome.BENCH:  # that the bench passes otherwise counts only where it fails
        workshop._originals[file] = workshop._probe(file)
    result = workshop.try_mutant(file, mutant(file, old, new, line_has), frames=False)
    assert result.outcome is outcome
    assert (workshop.package / "hw" / file).read_text(encoding="utf-8") == text_of(file)


def test_a_mutant_that_takes_too_long_hangs(tmp_path, monkeypatch):
    workshop = Workshop(tmp_path, 300)
    place = workshop.package / "hw" / RECIPROCAL
    change = mutant(RECIPROCAL, "<<", ">>", "total << 1")
    workshop._originals[RECIPROCAL] = {"text": place.read_text()}
    monkeypatch.setattr(workshop, "_probe", lambda file, may_fail=False: {"text": place.read_text()})
    workshop.seconds = 0.1
    assert workshop.try_mutant(RECIPROCAL, change, frames=False).outcome is Outcome.HANG


def test_what_was_tried_is_not_tried_again(tmp_path, capsys):
    m = mutant(RECIPROCAL, "1", "0", "range(moves + digits + 1)")
    change = {"line": m.line, "kind": m.kind, "old": m.old, "new": m.new}
    known = [{"file": RECIPROCAL, "outcome": "same", **change}]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(entry) + "\n" for entry in known), encoding="utf-8")
    assert main([str(results), "--files", RECIPROCAL, "--count", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] == 1
    assert len(results.read_text(encoding="utf-8").splitlines()) == 1
