"""What the estimate was measured on is what the bench says, and its memories are those in the Verilog."""

import json
from collections import Counter
from dataclasses import asdict

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.measured import tables
from kestrel.sw.estimate.memories import chip_memories, engine_memories

EDGE, NANO = NAMED["edge"], NAMED["nano"]
KINDS = {"ram_1rw": "single", "ram_1r1w": "dual", "rom": "rom"}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("estimate_tables")


@pytest.fixture(scope="module")
def memories(load_script):
    return load_script("memories")


def test_every_engine_of_the_tables_is_one_of_the_bench(script):
    wanted = {config.name: (asdict(config), held_out) for config, held_out, _ in script.jobs(set())}
    found = {engine.config.name: (asdict(engine.config), engine.held_out) for engine in tables().engines}
    assert found == wanted
    assert sum(engine.held_out for engine in tables().engines) == 3


def test_the_rows_are_those_of_the_bench(script):
    """Nothing is measured in part: a stopped run was continued."""
    known = {engine.config.name: set(engine.blocks) for engine in tables().engines}
    for config, _, blocks in script.jobs(set()):
        if config.name in known:
            assert known[config.name] == {name for name, _ in blocks}, config.name


def test_a_stopped_run_continues_and_other_tools_are_refused(script, tmp_path, monkeypatch):
    library = tmp_path / "tiny.lib"
    library.write_text("")
    monkeypatch.setattr(script, "register_ns", lambda liberty, cell: 0.1)
    path = tmp_path / "measured.json"
    first = script.Tables(path, library, 2.5, fresh=False)
    first.blocks(EDGE, False)["pool"] = {"area": 1.0}
    first.save()
    again = script.Tables(path, library, 2.5, fresh=False)
    assert again.blocks(EDGE, False) == {"pool": {"area": 1.0}}
    assert again.blocks(EDGE.with_options(max_width=128), False) == {}, "another engine of that name"
    assert json.loads(path.read_text())["engines"]["edge"]["held_out"] is False
    with pytest.raises(SystemExit, match=r"measured with period_ns = 2\.5, now 3\.0; use --fresh"):
        script.Tables(path, library, 3.0, fresh=False)


@pytest.mark.parametrize("config", [
    NANO,
    NANO.with_options(input_lanes=4, output_lanes=8, load_kernels=2, partial_depth=700, max_width=301,
                      residual=True, batch=True, scalar_tables=True, row_groups=True),
    NANO.with_options(activation_bits=5, feature_words=(300, 200), weight_words=999, table_words=555,
                      descriptor_channels=64, descriptor_maps=3, descriptor_words=777, whitening_rows=8),
], ids=["nano", "options", "sizes"])  # fmt: skip
def test_memories_are_those_in_the_verilog(memories, config):
    found = Counter()
    for memory in chip_memories(config):
        found[memory.words, memory.word_bits, memory.kind, memory.lanes] += memory.instances
    wanted = Counter((memory.words, memory.word_bits, KINDS[memory.wrapper], memory.lanes)
                     for memory in memories.chip_memories(config))
    assert found == wanted
    assert set(engine_memories(config)) < set(chip_memories(config))
