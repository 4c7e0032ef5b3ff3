"""Figures of runs are written by a tool, into a file whose other entries stay."""

import json

import pytest

from kestrel.verif.record import main

MUTANT = {"file": "chip/crc.py", "line": 1, "kind": "constant", "old": "1", "new": "2", "seconds": 1.0}
FRAME = {"config": "nano", "kind": "stack", "seed": 1, "passed": True, "values": 10, "cycles": 20}
PIECE = {
    "piece": "frame/0/3", "what": "large", "seed": 3, "sources": "a1", "values": 40, "cycles": 50,
    "disturbed": 0, "counts": {}, "message": "", "seconds": 600,
}  # fmt: skip
BLOCK = {"target": "index", "seed": 3, "first": 0, "next": 50, "taken": 1, "refused": 48, "problems": 1}

NETLIST = {
    "block": "a.b", "config": "1x1", "source": "hw/a/b.py:3", "signal": "x[1]", "module": "kestrel_b",
    "line": 7, "port": "Y", "bit": 1, "kind": "inv",
}  # fmt: skip

RUNS = {
    "mutants": (
        [
            *(NETLIST | {"outcome": outcome, "bench_seed": 5, "text": "assign x = 1;"}
              for outcome in ("bench", "proof", "hang", "equivalent", "survived")),
            NETLIST | {"outcome": "bench", "bench_seed": 6, "config": "2x2", "text": ""},
        ],
        {"tried": 6, "found": 4, "hangs": 1, "by_proofs": 1, "another_seed": 1, "equivalent": 1,
         "proved": 1, "argued": {}, "share_found": 0.8, "survivors": [NETLIST], "blocks": 1, "netlists": 2},
    ),
    "source_mutants": (
        [MUTANT | {"outcome": outcome} for outcome in ("bench", "hang", "same", "invalid", "survived")],
        {"tried": 5, "invalid": 1, "found": 2, "equivalent": 1, "argued": [], "files": 1,
         "survivors": [{k: MUTANT[k] for k in ("file", "line", "kind", "old", "new")}]},
    ),
    "soak": (
        [PIECE, PIECE | {"piece": "frame/1/7", "message": "a value differs"},
         PIECE | {"piece": "chip/0/0", "what": "tiny", "values": 0, "cycles": 0, "disturbed": 100,
                  "counts": {"reset": 60, "abort": 40}}],
        {"values_compared": 40, "frames": 1, "cycles": 50, "disturbed_frames": 100,
         "disturbances": {"abort": 40, "reset": 60}, "configurations": {"frame": 2, "chip": 1},
         "kinds": {"chip tiny": {"ran": 1, "failed": 0}, "frame large": {"ran": 2, "failed": 1}},
         "failures": ["frame/1/7"], "seeds": [3], "hours": 0.5},
    ),
    "frames": (
        [FRAME | {"passed": False}, FRAME, FRAME | {"seed": 2}],
        {"frames": 2, "failures": 0, "values_compared": 20, "cycles": 40, "configs": ["nano"],
         "seeds": [1, 2]},
    ),
    "bad_files": (
        [BLOCK, BLOCK | {"first": 50, "next": 60}],
        {"inputs": 60, "taken": 2, "refused": 96, "problems": 2, "readers": 1, "seeds": [3]},
    ),
    "proofs": (
        {"proved": [{"claims": 3, "seconds": 1.25}, {"claims": 4, "seconds": 2.0}], "failed": {}},
        {"proofs": 2, "claims": 7, "seconds": 3.2},
    ),
    "software_faults": (
        [{"command": name, "runs": {"killed": 9}, "complaints": ["x"], "seed": 4} for name in ("a", "b")],
        {"runs": {"killed": 18}, "complaints": 2, "commands": 2, "seeds": [4]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("entry", RUNS)
def test_figures_are_recorded(entry, tmp_path):
    results, wanted = RUNS[entry]
    text = json.dumps(results) if isinstance(results, dict) else "\n".join(map(json.dumps, results))
    (tmp_path / "results").write_text(text)
    into = tmp_path / "verification.json"
    into.write_text('{"coverage": {"line": 0.5}}')
    assert main([entry, str(tmp_path / "results"), str(into)]) == 0
    found = json.loads(into.read_text())
    assert found["coverage"] == {"line": 0.5}
    assert found[entry].pop("date")
    assert found[entry].pop("commit") is not None
    assert found[entry] == wanted


def test_what_cannot_be_recorded_is_refused(tmp_path, capsys):
    into = tmp_path / "verification.json"
    results = tmp_path / "results"
    for entry, text in (
        ("proofs", '{"proved": [], "failed": {"axi": "x"}}'), ("soak", ""), ("frames", ""), ("frames", "{"),
        ("soak", '{"a": 1}'), ("proofs", "[]"),
    ):  # fmt: skip
        results.write_text(text)
        assert main([entry, str(results), str(into)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not into.exists()
