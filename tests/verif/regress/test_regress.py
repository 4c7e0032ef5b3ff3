"""The nightly set as a user runs it, on the smallest engine, and its ways to fail."""

import json
import os
import signal
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kestrel.verif.simulate.frame
from kestrel.cli.chip.regress import parse_seeds
from kestrel.cli.main import run
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.kinds import COVERAGE, COVERAGE_PAGE, file_kind
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.proof import check_plan
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.sources import sources_hash
from kestrel.verif.faults.child import Disturbance, start
from kestrel.verif.regress import run as library
from kestrel.verif.regress.cases import all_cases, kinds_of, make_frame
from kestrel.verif.regress.draw import TARGETS, Case
from kestrel.verif.regress.graphs import GRAPH_KINDS
from kestrel.verif.regress.junit import junit_xml
from kestrel.verif.regress.results import Result, Store
from kestrel.verif.regress.run import run_cases

FEW = ["regress", "--configs", "nano", "--seeds", "2", "--jobs", "1", "--filter", "/stack"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(arguments, capsys) -> tuple[int, Any, str]:
    code = run([*arguments, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def junit(folder):
    return ET.parse(folder / "build/regress/junit.xml").getroot()  # noqa: S314 - our own file


def result(**changes):
    good = Result("nano", "stack", 1, "hash", True, False, "", 10, 20, 0.5)
    return replace(good, **changes)


@pytest.fixture
def _flipped_weight_bit(monkeypatch):
    """The simulated ROM holds another network than the reference computes."""
    whole = kestrel.verif.simulate.frame.encode_weights

    def flipped(network, config):
        image = whole(network, config)
        data = bytearray(image.words.data)
        # Every scalar of the first kernel word: one bit alone may drown in the rounding of a small network.
        data[:8] = bytes(byte ^ 0x55 for byte in data[:8])
        return type(image)(type(image.words)(image.words.word_bits, bytes(data)), image.layers)

    monkeypatch.setattr(kestrel.verif.simulate.frame, "encode_weights", flipped)


# --- the cases ------------------------------------------------------------------------------------------


def test_no_name_is_part_of_another_so_that_a_filter_repeats_one_case():
    names = {case.name for case in all_cases(range(1, 2))}
    assert len(names) == sum(len(kinds_of(config)) for config in TARGETS.values())
    assert [(a, b) for a in names for b in names if a != b and a in b] == []


@pytest.mark.parametrize(
    ("config", "kind"), [(name, kind) for name, config in TARGETS.items() for kind in kinds_of(config)]
)
def test_drawn_plans_are_proven_and_depend_on_name_and_seed_alone(config, kind):
    frames = [make_frame(Case(config, kind, seed)) for seed in (1, 2, 1)]
    for frame in frames:
        check_plan(frame.plan)
        assert frame_cycles(frame.plan).total < 200_000
        assert frame.network.activation_bits <= TARGETS[config].activation_bits
    first, other, again = frames
    assert str(first) == str(again)
    assert (first.pixels == again.pixels).all()
    assert str(first) != str(other)


def test_the_set_covers_what_it_promises():
    kinds = kinds_of(TARGETS["nano"])
    frames = [make_frame(Case("nano", kind, seed)) for kind in kinds for seed in range(1, 41)]
    assert {frame.network.activation_bits for frame in frames} == {4, 5, 6, 7, 8}
    assert {layer.mask_bits for frame in frames for layer in frame.network.layers} == {1, 2, 3, 4, 5}
    assert {frame.pauses is None for frame in frames} == {True, False}
    assert {frame.network.name.partition("/")[0] for frame in frames} >= {"vgg11", "vgg13", "vgg16", "vgg19"}
    assert any(len(frame.network.layers) == 16 for frame in frames), "VGG-19 whole"
    assert any(1 in (frame.plan.height, frame.plan.width) for frame in frames)
    small = [frame for frame in frames if frame.plan.config.feature_words != TARGETS["nano"].feature_words]
    deep = [frame for frame in small if len(frame.plan.visits) > 2 * len(frame.plan.records)]
    assert len(deep) > 10, "depth first, because the memory is small"


def test_the_set_covers_what_a_residual_network_may_have():
    frames = [make_frame(Case("2x4-residual", kind, seed)) for kind in GRAPH_KINDS for seed in range(1, 13)]
    shapes = [layer.shape for frame in frames for layer in frame.network.layers]
    shortcuts = [shape.shortcut for shape in shapes if shape.shortcut is not None]
    assert {shape.stride for shape in shapes} == {1, 2}
    assert {shape.kernel for shape in shapes} == {1, 3}
    assert {(shape.pool, shape.pool_size) for shape in shapes} == {(False, 2), (True, 2), (True, 3)}
    assert {(s.projection, s.stride) for s in shortcuts} == {(False, 1), (True, 1), (True, 2)}
    assert {shape.shares is None for shape in shapes} == {True, False}
    assert {frame.network.blocks for frame in frames} == {True, False}
    assert any(shape.source is not None for shape in shapes), "a layer reads another map than the last one"
    parts = {
        record.shortcut_read.part == record.written_part
        for frame in frames for record in frame.plan.records if record.shortcut_read is not None
    }  # fmt: skip
    assert parts == {True, False}
    spans = {n - s.source for frame in frames for n, layer in enumerate(frame.network.layers)
             if (s := layer.shape.shortcut) is not None}  # fmt: skip
    assert spans >= {1, 2, 3}
    deep = [frame for frame in frames if len(frame.plan.visits) > 2 * len(frame.plan.records)]
    assert len(deep) > 5, "depth first"
    assert any(1 in (frame.plan.height, frame.plan.width) for frame in frames)
    assert "image in blocks" in str(next(frame for frame in frames if frame.network.blocks))


# --- passing and failing --------------------------------------------------------------------------------


def test_cases_pass_and_leave_results_and_junit(capsys, tmp_path):
    code, found, _ = call(FEW, capsys)
    assert code == 0
    assert (found["cases"], found["ran"], found["passed"], found["failed"], found["kept"]) == (2, 2, 2, 0, 0)
    assert found["values_compared"] > 100
    assert found["cycles"] > 100
    assert [row["name"] for row in found["configs"]] == ["nano"]
    lines = (tmp_path / "build/regress/results.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [1, 2]
    suite = junit(tmp_path).find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("nano", "2", "0")


def test_processes_find_the_same_as_one(capsys):
    _, one, _ = call([*FEW, "-o", "one"], capsys)
    code, two, _ = call([*FEW, "-o", "two", "--jobs", "2"], capsys)
    assert code == 0
    assert two["ran"] == 2
    assert two["values_compared"] == one["values_compared"]
    assert two["cycles"] == one["cycles"]


@pytest.mark.usefixtures("_flipped_weight_bit")
def test_a_wrong_weight_fails_the_run_and_says_how_to_repeat_it(capsys, tmp_path):
    code, found, err = call(FEW, capsys)
    assert code == 1
    assert found["failed"] == len(found["failures"]) > 0
    failure = found["failures"][0]
    assert not failure["crashed"]
    assert "values differ, first channel" in failure["message"]
    assert "mask bits" in failure["message"], "the case is described"
    seed = failure["seed"]
    assert failure["repeat"] == f"kestrel regress --filter nano/stack --seeds {seed}..{seed} --again"
    assert failure["repeat"] in err
    root = junit(tmp_path)
    assert root.get("failures") == str(found["failed"])
    told = root.find(f"testsuite/testcase[@name='stack@{seed}']/failure")
    assert told is not None
    assert told.text is not None
    assert failure["repeat"] in told.text

    code, found, _ = call([*failure["repeat"].split()[1:], "--jobs", "1"], capsys)
    assert (code, found["cases"], found["failed"]) == (1, 1, 1)


def test_other_cycles_than_modelled_fail(capsys, monkeypatch):
    def longer(plan):
        model = frame_cycles(plan)
        return replace(model, total=model.total + 1)

    monkeypatch.setattr(library, "frame_cycles", longer)
    code, found, _ = call([*FEW, "--seeds", "8"], capsys)
    assert code == 1
    assert 0 < found["failed"] < 8, "those without pauses"
    assert found["failures"][0]["message"].startswith("frame: ")


def test_a_crash_is_a_failure_and_the_others_run(capsys, monkeypatch, tmp_path):
    whole = library.compare_run
    calls = []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("bad \x00 luck")
        return whole(*arguments)

    monkeypatch.setattr(library, "compare_run", broken)
    code, found, _ = call(FEW, capsys)
    assert code == 1
    assert (found["ran"], found["failed"]) == (2, 1)
    assert found["failures"][0]["crashed"]
    told = junit(tmp_path).find("testsuite/testcase/error")
    assert told is not None
    assert told.get("message") == "RuntimeError: bad ? luck"


def test_an_engine_that_is_not_built_fails_its_cases_only():
    def build(config):
        if config.name == "nano":
            raise RuntimeError("no compiler")
        return build_engine(TARGETS["nano"])  # another engine than the cases ask for

    cases = [Case("nano", "stack", 1), Case("1x1", "stack", 1)]
    found = list(run_cases(cases, "hash", 1, build))
    assert [r.crashed for r in found] == [True, True]
    assert "no compiler" in found[0].message
    assert "no compiler" not in found[1].message


class DeadlyCase(Case):
    """Ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_process_that_dies_fails_its_case_and_the_others_run():
    cases = [Case("nano", "stack", 1), DeadlyCase("nano", "stack", 2), Case("nano", "stack", 3)]
    found = {r.seed: r for r in run_cases(cases, "hash", 2)}
    assert [found[seed].passed for seed in (1, 2, 3)] == [True, False, True]
    assert "died" in found[2].message


# --- resuming -------------------------------------------------------------------------------------------


def test_what_has_passed_is_kept_until_again(capsys, monkeypatch):
    call([*FEW, "--seeds", "1"], capsys)
    code, found, _ = call(FEW, capsys)
    assert (code, found["ran"], found["kept"], found["passed"]) == (0, 1, 1, 2)
    code, found, _ = call(FEW, capsys)
    assert (code, found["ran"], found["kept"], found["passed"]) == (0, 0, 2, 2)
    _, found, _ = call([*FEW, "--again"], capsys)
    assert (found["ran"], found["kept"]) == (2, 0)
    monkeypatch.setattr("kestrel.cli.chip.regress.sources_hash", lambda: "other sources")
    _, found, _ = call(FEW, capsys)
    assert (found["ran"], found["kept"]) == (2, 0)


def test_failures_run_again(capsys, tmp_path):
    folder = tmp_path / "build" / "regress"
    folder.mkdir(parents=True)
    store = Store(folder / "results.jsonl")
    store.append(result(sources=sources_hash(), passed=False, message="no"))
    _, found, _ = call([*FEW, "--seeds", "1"], capsys)
    assert (found["ran"], found["passed"]) == (1, 1)


def test_a_full_disk_leaves_the_results_as_they_were(tmp_path):
    """Half of a first line would be taken for somebody's text file by the next run."""
    store = Store(tmp_path / "r.jsonl")

    def write(_arguments):
        store.append(result())
        return 0

    notes = tmp_path / "notes"
    for there in (b"", b'{"whole": 1}\n'):
        store.path.write_bytes(there)
        ending = start(write, [], tmp_path, notes, Disturbance(file_size=len(there) + 20)).wait(30)
        assert "File too large" in ending.message
        assert store.path.read_bytes() == there


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path):
    store = Store(tmp_path / "r.jsonl")
    store.append(result())
    with store.path.open("a") as file:
        file.write('{"config": "nano", "ki')
    assert list(store.load("hash")) == ["nano/stack@1"]
    store.append(result(seed=2))
    with store.path.open("ab") as file:
        file.write(b'\xff\n[]\n{"config": 1}\n')
    assert list(store.load("hash")) == ["nano/stack@1", "nano/stack@2"]
    assert store.load("another hash") == {}


def test_the_last_line_of_a_case_counts(tmp_path):
    store = Store(tmp_path / "r.jsonl")
    store.append(result(passed=False, message="no"))
    store.append(result())
    assert store.load("hash")["nano/stack@1"].passed


def test_an_interruption_leaves_what_was_done(capsys, monkeypatch, tmp_path):
    whole = library.run_case
    done = []

    def interrupted(*arguments):
        if done:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(whole(*arguments))
        return done[-1]

    monkeypatch.setattr(library, "run_case", interrupted)
    code, found, err = call(FEW, capsys)
    assert code == 130
    assert found is None
    assert "keeps the cases that were finished; the same command goes on from there" in err
    assert len((tmp_path / "build/regress/results.jsonl").read_text().splitlines()) == 1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    _, found, _ = call(FEW, capsys)
    assert (found["ran"], found["kept"]) == (1, 1)


# --- options --------------------------------------------------------------------------------------------


def test_list_names_the_cases_and_runs_none(capsys, tmp_path):
    code, found, _ = call(["regress", "--list", "--configs", "nano,edge", "--seeds", "3..7"], capsys)
    assert code == 0
    assert found["seeds"] == [3, 7]
    assert found["count"] == 5 * 2 * len(kinds_of(TARGETS["nano"]))
    assert {"nano/vgg16", "edge/deep"} <= set(found["cases"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--filter", "vgg17"], "filter 'vgg17' selects no case"),
        (["--configs", "giga"], "'giga' is not known"),
        (["--seeds", "0"], "seeds '0'"),
        (["--seeds", "5..4"], "seeds '5..4'"),
        (["--seeds", "some"], "seeds 'some'"),
        (["--jobs", "0"], "jobs"),
        (["-o", "taken"], "output taken"),
    ],
)
def test_nothing_to_run_is_one_line_and_exit_code_2(arguments, text, capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code = run(["regress", *arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert text in captured.err


def test_seeds():
    assert list(parse_seeds("3")) == [1, 2, 3]
    assert list(parse_seeds("5..7")) == [5, 6, 7]
    assert list(parse_seeds("0..0")) == [0]
    with pytest.raises(InputError, match=r"A <= B"):
        parse_seeds("7..")


def test_junit_of_nothing_is_a_document():
    assert junit_xml([]).endswith(
        '<testsuites name="kestrel regress" tests="0" failures="0" errors="0" time="0.000" />\n'
    )


# --- coverage -------------------------------------------------------------------------------------------


def uncounted(config, coverage):
    assert coverage
    return build_engine(config)


@pytest.fixture
def _counts_of_a_small_module(monkeypatch):
    """Frames leave the counts of a small module that is written here, and the engine is the usual one, since
    to build one that counts takes minutes."""
    whole = library.run_frame

    def counting(build, network, plan, pixels, workdir, **named):
        verilog = Path("kestrel_peak.v").absolute()
        verilog.write_text("// Generated from hw/peak.py; so.\nmodule kestrel_peak(\n  input y\n);\n")
        lines = [f"C '\x01f\x02{verilog}\x01l\x023\x01n\x029\x01t\x02toggle\x01o\x02y:{edge}' {count}\n"
                 for edge, count in (("0->1", 2), ("1->0", 0))]  # fmt: skip
        (workdir / "coverage.dat").write_text("".join(["# SystemC::Coverage-3\n", *lines]))
        return whole(build, network, plan, pixels, workdir, **named)

    monkeypatch.setattr(library, "run_frame", counting)
    monkeypatch.setattr("kestrel.cli.chip.regress.build_engine", uncounted)


@pytest.mark.usefixtures("_counts_of_a_small_module")
def test_coverage_is_that_of_all_frames_also_of_those_that_have_passed(capsys):
    call(FEW, capsys)
    code, found, _ = call([*FEW, "--coverage", "c"], capsys)
    assert (code, found["ran"], found["kept"]) == (0, 2, 0)
    report = json.loads(Path("c/coverage.json").read_text())
    assert report["totals"]["toggle"] == {"points": 2, "covered": 1, "waived": 0, "share": 0.5}
    assert (report["run"]["frames"], report["run"]["failed"], report["run"]["seeds"]) == (2, 0, [1, 2])
    assert report["run"]["sources"] == sources_hash()
    assert file_kind(Path("c/coverage.json")) == COVERAGE
    assert file_kind(Path("c/coverage.html")) == COVERAGE_PAGE
    assert "y 1-&gt;0" in Path("c/coverage.html").read_text()
    assert run([*FEW, "--coverage", "c"]) == 0, "its own files are replaced"
    assert "toggle 50.0%" in capsys.readouterr().out


@pytest.mark.usefixtures("_counts_of_a_small_module")
def test_waivers_are_counted_and_one_that_waives_nothing_is_refused(capsys):
    good = '[[waiver]]\nmodule = "peak"\nsignal = "y"\nreason = "it only rises"\n'
    Path("w.toml").write_text(good)
    code, found, _ = call([*FEW, "--coverage", "c", "--waivers", "w.toml"], capsys)
    assert (code, found["coverage"]["totals"]["toggle"]["share"]) == (0, 1)
    Path("w.toml").write_text(good + good.replace('"y"', '"z"'))
    code, found, error = call([*FEW, "--coverage", "c", "--waivers", "w.toml"], capsys)
    assert code == 2
    assert "waivers w.toml: module 'peak', signal 'z': nothing to waive in what was run" in error
    Path("w.toml").write_text("[[waiver]]\nmodule = 3\n")
    code, _, error = call([*FEW, "--coverage", "d", "--waivers", "w.toml"], capsys)
    assert (code, Path("d").exists()) == (2, False)
    assert "waivers w.toml, number 1" in error


def test_engines_that_do_not_count_fail_their_cases(capsys, monkeypatch):
    monkeypatch.setattr("kestrel.cli.chip.regress.build_engine", uncounted)
    code, found, _ = call([*FEW, "--coverage", "c"], capsys)
    assert (code, found["failed"]) == (1, 2)
    assert "coverage.dat" in found["failures"][0]["message"]
    assert found["coverage"]["totals"]["line"]["points"] == 0
