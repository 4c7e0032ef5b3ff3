"""Coverage of the benches of blocks: one small bench, and what the crosses add up to."""

import json

from kestrel.verif.coverage.__main__ import record
from kestrel.verif.coverage.benches import BENCHES, crosses_of, main


def test_crosses_of_several_benches_add_up(tmp_path):
    parts = ({"command x state": {"start x idle": 2, "abort x idle": 0}}, {"a x b": {"1 x 2": 3}},
             {"command x state": {"start x idle": 1, "start x owed": 0}})  # fmt: skip
    files = []
    for number, part in enumerate(parts):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(part))
    found = crosses_of(files)
    assert (len(found.hits), found.covered) == (4, 2)
    assert found.hits[("command", "start"), ("state", "idle")] == 3
    assert set(found.never) == {
        (("command", "abort"), ("state", "idle")), (("command", "start"), ("state", "owed")),
    }  # fmt: skip


def test_a_bench_is_counted_and_recorded(tmp_path, seed):
    """The register port: all of its lines and branches, and no cross."""
    assert main([str(tmp_path), "--blocks", "chip.axi_lite", "--seed", str(seed)]) == 0
    report = json.loads((tmp_path / "coverage.json").read_text())
    assert report["run"]["what"] == "benches of blocks"
    assert (report["run"]["frames"], report["totals"]["functional"]["points"]) == (1, 0)
    assert report["totals"]["line"]["share"] == report["totals"]["branch"]["share"] == 1
    assert "Coverage of 1 benches of blocks" in (tmp_path / "coverage.html").read_text()
    into = tmp_path / "verification.json"
    into.write_text('{"coverage": {"line": 0.5}}')
    record(tmp_path / "coverage.json", into)
    found = json.loads(into.read_text())
    assert found["coverage"] == {"line": 0.5}
    assert found["coverage_of_benches"]["line"] == 1


def test_what_is_not_a_block_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--blocks", "chip.nothing"]) == 2
    assert f"allowed: {', '.join(BENCHES)}" in capsys.readouterr().err
