"""The engine in a second simulator, which knows unknown values."""

import numpy as np
import pytest

from hw.config import NAMED
from sw.cycles import frame_cycles
from sw.plan import make_plan
from verif.compare import all_equal, compare_run, reference_maps
from verif.icarus import available, run_icarus
from verif.models.random_network import random_network, stack

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
