"""The engine in a second simulator, which has unknown values."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.icarus import available, run_icarus

pytestmark = pytest.mark.skipif(
    not available(), reason="Icarus Verilog is not installed; it is an optional second simulator"
)


@pytest.mark.parametrize(
    ("channels", "pools", "mask_bits", "size"),
    [([3, 5, 2], [0], [3, 5], (7, 6)), ([1, 3], [], [1], (1, 1))],
)
def test_icarus_agrees_with_reference_and_model(channels, pools, mask_bits, size, rng, tmp_path):
    """Nothing written depends on what registers and memories hold at power-up."""
    network = random_network(rng, stack(channels, pools), mask_bits)
    plan = make_plan(network, NAMED["nano"], *size)
    pixels = rng.integers(0, 256, size=(channels[0], *size)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total


@pytest.mark.parametrize("height", [1, 5, 6])
def test_rows_of_a_triple_that_do_not_exist_reach_nothing(height, rng, tmp_path):
    """In row groups parts of the image's words are never written, and rows below the map are computed."""
    config = replace(NAMED["nano"], input_lanes=4, output_lanes=4, row_groups=True)
    network = random_network(rng, stack((1, 5, 2)), (3, 2))
    plan = make_plan(network, config, height, 4)
    assert plan.row_groups
    pixels = rng.integers(0, 256, size=(1, height, 4)).astype(np.uint8)
    run = run_icarus(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total
