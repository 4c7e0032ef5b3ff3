"""The engine in the simulator of yosys."""

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.physical.cxxrtl import run_cxxrtl
from kestrel.verif.physical.synthesis import yosys_available
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps


@pytest.mark.regress
@pytest.mark.skipif(
    not yosys_available(), reason="yosys is missing: pip install 'kestrel-engine[synthesis]'"
)
def test_cxxrtl_agrees_with_reference_and_model(rng, tmp_path):
    """Strips, pooling, two passes."""
    network = random_network(rng, stack([3, 5, 6], [0]), [3, 5])
    plan = make_plan(network, NAMED["nano"], 24, 20)
    pixels = rng.integers(0, 256, size=(3, 24, 20)).astype(np.uint8)
    run = run_cxxrtl(network, plan, pixels, tmp_path)
    results = compare_run(run, network, reference_maps(network, pixels))
    assert all_equal(results), [str(result) for result in results]
    assert run.cycles == frame_cycles(plan).total
