"""Mutants of a netlist: which are made, how they are named, and what becomes of them with a real bench."""

import json
import re
import signal
from dataclasses import asdict, replace
from itertools import product

import pytest

from kestrel.verif.blocks.support.run import block_maker
from kestrel.verif.build.rtl import block_sources
from kestrel.verif.mutants.netlists import trial
from kestrel.verif.mutants.netlists.__main__ import main
from kestrel.verif.mutants.netlists.argued import _entries, argue
from kestrel.verif.mutants.netlists.design import NetlistMutant, list_mutants, with_mutants
from kestrel.verif.mutants.netlists.equivalence import proved_equivalent
from kestrel.verif.mutants.netlists.forks import Ending
from kestrel.verif.mutants.netlists.observed import enables_of
from kestrel.verif.mutants.netlists.refutation import refuted_by
from kestrel.verif.mutants.netlists.shares import LEAST, shares
from kestrel.verif.mutants.netlists.trial import base_of_unit, judge
from kestrel.verif.mutants.netlists.units import BLOCKS, UNITS
from kestrel.verif.mutants.outcome import Outcome
from kestrel.verif.mutants.targets import TARGETS
from kestrel.verif.proofs.solve import solver_available

pytestmark = pytest.mark.skipif(
    not solver_available(), reason="the solver is missing: pip install 'kestrel-engine[proofs]'"
)
LANE, SLAVE = "compute.pool_lane", "chip.axi_lite"


def unit(block):
    return next(each for each in UNITS if each.block == block)


@pytest.fixture(scope="module")
def slave():
    return base_of_unit(unit(SLAVE))


def cell_of(base, text, module="kestrel_axi_lite"):
    """The number of the one line of the module that holds the text."""
    (line,) = [n for n, found in enumerate(base.texts[module], 1) if text in found]
    return line


def test_every_target_has_a_unit_and_labels_tell_units_apart():
    assert {block for target in TARGETS.values() for block in target.blocks} <= set(BLOCKS)
    assert len({(each.block, each.label) for each in UNITS}) == len(UNITS)


def test_a_longer_list_begins_with_the_shorter_one(slave, tmp_path):
    few, many = (list_mutants(slave, count, 3, tmp_path) for count in (9, 40))
    assert (len(few), len(many), many[:9]) == (9, 40, few)
    assert list_mutants(slave, 9, 4, tmp_path) != few
    every = list_mutants(slave, 10**6, 3, tmp_path)
    assert len(every) == len(set(every)) > 1000
    assert {"CLK"}.isdisjoint(mutant.port for mutant in every)
    assert {mutant.kind for mutant in every} == {"inv", "const0", "const1", "cnot0", "cnot1"}


def test_a_mutant_is_named_by_its_signal_and_its_line(slave, tmp_path):
    every = list_mutants(slave, 10**6, 1, tmp_path)
    line = cell_of(slave, "assign write = ")
    named = {(slave.signal(m), slave.place(m)) for m in every if m.line == line and m.port == "Y"}
    assert ("write", "hw/chip/axi_lite.py") in named
    answering = [m for m in every if slave.signal(m) == "answering"]
    assert {"$dff", "$mux"} <= {re.sub(r"\$proc(dff|mux)\$\d+", r"$\1", m.cell) for m in answering}
    assert all(re.fullmatch(r"hw/chip/axi_lite\.py:\d+", slave.place(m)) for m in answering)


def test_what_has_a_bench_of_its_own_is_left_to_it():
    base = base_of_unit(unit("compute.pool"))
    assert [path.stem for path in base.sources] == ["kestrel_ram_1r1w", "kestrel_pool_lane", "kestrel_pool"]
    assert base.modules == ("kestrel_pool",)
    assert unit("compute.pool").modules == ("kestrel_pool", "kestrel_compute_pool")
    header = unit("descriptor.header")
    assert base_of_unit(header).top == "kestrel_descriptor_header"
    assert "kestrel_descriptor_header" in header.modules


def test_the_netlist_with_mutants_has_the_ports_of_the_block_and_one_more(slave, tmp_path):
    (file,) = with_mutants(slave, list_mutants(slave, 3, 1, tmp_path), tmp_path)
    ports = re.compile(r"^ *(?:input|output)\b[^;,\n]*?(\w+)[;,]?(?: *//.*)?$", re.MULTILINE)
    (source,) = block_sources(block_maker(SLAVE), unit(SLAVE).config)
    expected = set(ports.findall(source.read_text()))
    assert len(expected) > 20
    assert set(ports.findall(file.read_text())) == expected | {"mutsel"}


@pytest.mark.parametrize(
    ("port", "kind", "proved"),
    [("A", "const0", True), ("A", "const1", False), ("Y", "const0", True), ("Y", "inv", False)],
)
def test_a_bit_that_is_always_0_may_be_0(port, kind, proved, slave, tmp_path):
    """Bit 0 of BRESP: OKAY and SLVERR are 0 and 2."""
    every = list_mutants(slave, 10**6, 1, tmp_path)
    bit = [m for m in every if slave.signal(m) == "s_axil_bresp[0]" and (m.port, m.kind) == (port, kind)]
    assert bit
    assert {proved_equivalent(SLAVE, slave, mutant, tmp_path) for mutant in bit} == {proved}


def test_a_register_without_a_reset_is_no_constant(slave, tmp_path):
    """What a mutant changes at its output is not the same before the reset, nor need it be behind it."""
    every = list_mutants(slave, 10**6, 1, tmp_path)
    data = [m for m in every if slave.signal(m) == "wdata[3]" and m.port == "Q" and m.kind == "const0"]
    assert len(data) == 1
    assert not proved_equivalent(SLAVE, slave, data[0], tmp_path)


def test_a_payload_may_be_anything_where_it_is_not_valid(tmp_path):
    """The packer's TLAST after a reset, but not in a word; and a solver without time proves nothing."""
    block = "chip.byte_packer"
    base = base_of_unit(unit(block))
    every = list_mutants(base, 10**6, 1, tmp_path)
    last = {
        m.kind: m
        for m in every
        if (base.signal(m), m.port, base.text(m)) == ("o_tlast", "B", "if (rst) begin")
    }
    assert proved_equivalent(block, base, last["const1"], tmp_path)
    assert not proved_equivalent(block, base, last["const1"], tmp_path, seconds=0)
    always = {m.kind: m for m in every if base.signal(m) == "o_tlast" and m.port == "Q"}
    assert not proved_equivalent(block, base, always["const1"], tmp_path)


def test_what_a_structure_carries_counts_with_its_enable(tmp_path):
    """The image's word is written in the cycle behind its last beat, and may be anything later."""
    writer = unit("memory.image_input")
    assert enables_of(writer.block, writer.config) == {"write": (0, 0)}
    assert enables_of(SLAVE, unit(SLAVE).config) == {}
    base = base_of_unit(writer)
    (mutant,) = [
        m for m in list_mutants(base, 10**6, 1, tmp_path)
        if (base.signal(m), m.port, m.kind, m.bit) == ("word[28]", "A", "inv", 4)
        and base.text(m) == "if (taken) begin"
    ]  # fmt: skip
    assert judge(writer, base, mutant, tmp_path, 60) == (Outcome.EQUIVALENT, "")
    assert not proved_equivalent(writer.block, base, mutant, tmp_path, 60)


def test_a_proof_finds_what_no_bench_waits_for(tmp_path):
    """A bit of a counter that changes after 2**28 frames; not in a block of which there is no proof."""
    base = base_of_unit(unit("chip.control"))
    found = [
        m for m in list_mutants(base, 10**6, 1, tmp_path)
        if (base.signal(m), m.port, m.kind) == ("frames[28]", "Q", "const0")
    ]  # fmt: skip
    assert [refuted_by(base, mutant, tmp_path) for mutant in found] == ["frames-counted"]
    other = base_of_unit(unit("chip.register_file"))
    assert refuted_by(other, list_mutants(other, 1, 1, tmp_path)[0], tmp_path) is None


@pytest.mark.parametrize(("text", "outcome"), [("did not converge", Outcome.HANG), ("no", None)])
def test_other_endings_are_hangs_or_errors(text, outcome, tmp_path):
    (tmp_path / "3.log").write_text(text)
    ending = Ending(3, "", signal.SIGABRT, 1.0, results=False)
    if outcome is None:
        with pytest.raises(RuntimeError, match="number=3"):
            trial._outcome(ending, tmp_path)
    else:
        assert trial._outcome(ending, tmp_path) is outcome
    assert trial._outcome(replace(ending, status=signal.SIGXCPU), tmp_path) is Outcome.HANG
    assert trial._outcome(replace(ending, results=True), tmp_path) is Outcome.SURVIVED
    assert trial._outcome(replace(ending, results=True, failed="x"), tmp_path) is Outcome.BENCH


def test_a_bench_finds_mutants_and_they_are_tried_once(tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    command = [str(results), "--blocks", LANE, "--count", "10", "--tries", "1"]
    assert main(command) in {0, 1}
    counts = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert counts["tried"] == len(lines) == len({tuple(line.values()) for line in lines}) == 10
    assert counts["found"] >= 8
    found = [line for line in lines if line["outcome"] == Outcome.BENCH]
    assert all(line["test"] and line["bench_seed"] == 1 and line["seconds"] > 0 for line in found)
    assert {line["block"] for line in lines} == {LANE}
    assert main(command) in {0, 1}
    assert json.loads(capsys.readouterr().out) == counts


def test_survivors_are_looked_at_again(slave, tmp_path, capsys):
    """Here one that a proof decides; one of other sources is refused."""
    results = tmp_path / "results.jsonl"
    (mutant,) = [
        m for m in list_mutants(slave, 10**6, 1, tmp_path)
        if (slave.signal(m), m.port, m.kind) == ("s_axil_bresp[0]", "A", "const0")
        and slave.text(m) == "if (rst) begin"
    ]  # fmt: skip
    line = asdict(mutant) | {
        "block": SLAVE, "config": unit(SLAVE).label, "text": "", "signal": "s_axil_bresp[0]", "source": "",
        "outcome": "survived", "test": "", "bench_seed": 1, "seconds": 0.1,
    }  # fmt: skip
    results.write_text(json.dumps(line) + "\n")
    assert main([str(results), "--again"]) == 0
    assert json.loads(capsys.readouterr().out)["equivalent"] == 1
    assert json.loads(results.read_text()) == line | {"outcome": "equivalent"}
    results.write_text(json.dumps(line | {"cell": "$none$1"}) + "\n")
    assert main([str(results), "--again"]) == 2
    assert capsys.readouterr().err.endswith("has no cell $none$1; allowed: results of these sources\n")


def test_shares_follow_the_cells_and_every_block_gets_the_least():
    cells = {"small": [3], "large": [300, 100], "middle": [100]}
    found = shares(500 + 3 * LEAST, cells, 1)
    assert sum(map(sum, found.values())) == 500 + 3 * LEAST
    assert sum(found["small"]) in {LEAST + 2, LEAST + 3}
    assert sum(found["large"]) in {LEAST + 397, LEAST + 398}
    assert found["large"][0] == 3 * found["large"][1] or abs(found["large"][0] - 3 * found["large"][1]) <= 3


def test_too_few_for_all_blocks_go_to_some():
    cells = {name: [1, 1] for name in "abcdefgh"}
    for count, seed in product((1, LEAST, LEAST + 5, 3 * LEAST), (1, 2, 3)):
        found = shares(count, cells, seed)
        assert sum(map(sum, found.values())) == count
        assert len(found) == -(-count // LEAST)
    assert len({tuple(shares(LEAST, cells, seed)) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--blocks", "compute.nothing"], "block 'compute.nothing'; allowed: chip.axi_lite, "),
        (["--count", "-1"], "--count -1; allowed: at least 0"),
        (["--count", "5", "--tries", "0"], "--tries 0; allowed: at least 1"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, message, tmp_path, capsys):
    assert main([str(tmp_path / "results"), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("count", ["0", "1"])
@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[]"])
def test_a_file_of_something_else_is_refused(text, count, tmp_path, capsys):
    (tmp_path / "results").write_text(f"{text}\n")
    assert main([str(tmp_path / "results"), "--count", count]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'results'}: no results of mutants of netlists (")
    assert error.count("\n") == 1
    assert (tmp_path / "results").read_text() == f"{text}\n"


def test_too_many_for_one_netlist_are_refused(slave, tmp_path):
    mutant = NetlistMutant("kestrel_axi_lite", "x", "A", 0, "inv", -1, 1)
    with pytest.raises(ValueError, match="65536 mutants; allowed: below 65536"):
        with_mutants(slave, [mutant] * 65536, tmp_path)


ARGUED = {
    "module": "kestrel_b", "text": "assign x = y;", "port": "A", "signal": "x", "kinds": ["inv"],
    "reason": "so",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "only", "reason"),
    [
        ({}, {}, "so"), ({"kind": "const0"}, {}, None), ({"signal": "xy[2]"}, {}, None),
        ({"text": "assign x = z;"}, {}, None), ({"port": "B"}, {}, None),
        ({}, {"bits": [2, 3]}, "so"), ({}, {"bits": [3]}, None),
        ({}, {"controls": [5]}, "so"), ({}, {"controls": [4]}, None),
        ({}, {"configs": ["1x1"]}, "so"), ({}, {"configs": ["2x2"]}, None),
    ],
)  # fmt: skip
def test_an_argument_is_of_a_line_a_signal_and_kinds(change, only, reason):
    result = ARGUED | {"signal": "x[2]", "kind": "inv", "bit": 2, "control": 5, "config": "1x1"} | change
    assert argue(result, [ARGUED | only]) == reason


def test_every_argument_is_of_a_line_that_is_there():
    for entry in _entries():
        units = [each for each in UNITS if entry["module"] in base_of_unit(each).modules]
        assert any(
            entry["text"] == line.partition("//")[0].strip()
            for each in units
            for line in base_of_unit(each).texts[entry["module"]]
        ), entry
        assert entry["reason"]
