"""The engine's counters: every cycle is counted in exactly one of them, the right one."""

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.hw.spec.timing import start_cycles
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.blocks.support.run import block_config, run_block
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.simulate.frame import Pauses, run_frame

NANO = NAMED["nano"]


def frame(rng, tmp_path, size, channels, pauses=None):
    network = random_network(rng, stack(channels, [0]), 3)
    plan = make_plan(network, NANO, *size)
    pixels = rng.integers(0, 256, size=(channels[0], *size)).astype(np.uint8)
    return plan, run_frame(build_engine(NANO), network, plan, pixels, tmp_path, pauses=pauses)


def test_without_pauses_the_counters_are_the_model(rng, tmp_path):
    plan, run = frame(rng, tmp_path, (12, 14), [3, 5, 4])
    model = frame_cycles(plan)
    streaming = {
        kind: sum(r.streaming for r in model.records if r.kind == kind)
        for kind in (KIND_CONV, KIND_INPUT, KIND_OUTPUT)
    }
    counters = run.counters
    assert counters["busy"] == model.total == sum(n for name, n in counters.items() if name != "busy")
    assert counters["array"] == streaming[KIND_CONV]
    assert counters["input"] == streaming[KIND_INPUT]
    assert counters["output"] == streaming[KIND_OUTPUT]
    assert counters["input_stall"] == counters["output_stall"] == 0
    assert counters["control"] >= start_cycles(plan.config)
    assert run.record_cycles == [record.cycles for record in model.records]


def test_pauses_show_as_stalls_and_nowhere_else(rng, tmp_path):
    """The same frame with and without pauses differs in the stalls alone."""
    state = rng.bit_generator.state
    _, plain = frame(rng, tmp_path / "a", (9, 9), [3, 4])
    rng.bit_generator.state = state
    _, paused = frame(rng, tmp_path / "b", (9, 9), [3, 4], Pauses(seed=3, share=0.5))
    assert paused.counters["input_stall"] > 0
    assert paused.counters["output_stall"] > 0
    for name in ("array", "input", "weight_stall", "control"):
        assert paused.counters[name] == plain.counters[name]


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_short_passes_wait_for_weights(size, rng, tmp_path):
    network = random_network(rng, stack([8, 8]), 1)
    plan = make_plan(network, NANO, *size)
    pixels = rng.integers(0, 256, size=(8, *size)).astype(np.uint8)
    run = run_frame(build_engine(NANO), network, plan, pixels, tmp_path)
    assert run.counters["weight_stall"] > 0
    assert run.counters["array"] == size[0] * size[1] * 16


def test_counters_equal_their_model(tmp_path, seed):
    run_block("control.counters", block_config(1, 1, 4), tmp_path, seed)
