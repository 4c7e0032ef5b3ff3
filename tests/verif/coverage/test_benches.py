"""Coverage of the benches of blocks: one small bench, and what the crosses add up to."""

import json
from pathlib import Path

from kestrel.verif.coverage.__main__ import record
from kestrel.verif.coverage.benches import NAMES, WAIVERS, benches_of, crosses_of, main
from kestrel.verif.coverage.chips import beside
from kestrel.verif.coverage.counts import Counts, Point
from kestrel.verif.coverage.waivers import read_waivers


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
    assert report["run"]["what"] == "benches"
    assert (report["run"]["frames"], report["totals"]["functional"]["points"]) == (1, 0)
    assert report["totals"]["line"]["share"] == report["totals"]["branch"]["share"] == 1
    assert "Coverage of 1 benches" in (tmp_path / "coverage.html").read_text()
    into = tmp_path / "verification.json"
    into.write_text('{"coverage": {"line": 0.5}}')
    record(tmp_path / "coverage.json", into)
    found = json.loads(into.read_text())
    assert found["coverage"] == {"line": 0.5}
    assert found["coverage_of_benches"]["line"] == 1


def test_what_is_not_a_block_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--blocks", "chip.nothing"]) == 2
    assert f"allowed: {', '.join(NAMES)}" in capsys.readouterr().err


def test_each_block_has_its_benches_and_chips_come_last():
    names = [name for name, _, _ in benches_of(NAMES, 1)]
    assert len({name.split()[0] for name in names if not name.startswith("chip ")}) == len(NAMES) - 1
    kinds = [is_chip for _, is_chip, _ in benches_of(NAMES, 2)]
    assert kinds == sorted(kinds)
    assert kinds.count(False) > len(names)
    assert benches_of(["compute.pool"], 1)[0][0].startswith("compute.pool 3x3")


def test_of_a_chip_counts_what_no_bench_of_a_block_has(tmp_path):
    """A module that is counted already counts in the sizes that it has there; checkers never do."""

    def file(folder, name, text):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    def counts(*files):
        return Counts({Point(name, 1, 1, "line", "block"): 1 for name in files})

    small = file("block", "kestrel_pool.v", "module kestrel_pool (input wire [3:0] y);\nendmodule\n")
    same = file("chip", "kestrel_pool.v", "// made for a chip\n" + Path(small).read_text())
    large = file("other", "kestrel_pool.v", "module kestrel_pool (input wire [7:0] y);\nendmodule\n")
    core = file("chip", "kestrel_core.v", "module kestrel_core;\nendmodule\n")
    checker = file("chip", "kestrel_stream_checker.sv", "module kestrel_stream_checker;\nendmodule\n")
    found = beside(counts(same, large, core, checker), counts(small))
    assert {point.file for point in found} == {same, core}


def test_waivers_that_are_kept_waive_lines_each_for_a_reason_and_once():
    """No signal is waived: what merely does not change is told."""
    waivers = read_waivers(WAIVERS)
    assert all(waiver.line and waiver.reason for waiver in waivers)
    assert len({(waiver.module, waiver.line) for waiver in waivers}) == len(waivers)
