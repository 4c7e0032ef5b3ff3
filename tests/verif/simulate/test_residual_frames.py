"""Frames of residual networks through the simulated engine: every element of every map against the reference,
the counted cycles of every record against the closed form, in whole maps and depth first."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.network import ConvShape, Shortcut
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan, plan_layers, with_schedule
from kestrel.sw.planning.proof import check_plan
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import build_native
from kestrel.verif.cases.random_graph import lane_channels, random_graph
from kestrel.verif.cases.random_network import random_network
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import Pauses, run_frame

SMALL = replace(
    NAMED["nano"], residual=True, feature_words=(6000, 6000), weight_words=1 << 15, table_words=1 << 14,
    max_width=80, partial_depth=120,
)  # fmt: skip
CONFIGS = {
    "2x2": SMALL,
    "4x2": replace(SMALL, input_lanes=4, load_kernels=2, stream_bytes=2),
    "2x4": replace(SMALL, output_lanes=4, stream_bytes=3),
    "3x3": replace(SMALL, input_lanes=3, output_lanes=3, load_kernels=3, stream_bytes=3, activation_bits=5),
    "4x4 rows": replace(SMALL, input_lanes=4, output_lanes=4, load_kernels=2, row_groups=True),
    "3 bits": replace(SMALL, mask_bits_max=3),
}
SIZES = (8, 24)

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """A map of these is too small to be shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def schedules(network, config, height, width):
    """The plan that would be taken, and one that goes depth first and fits."""
    plan = make_plan(network, config, height, width)
    yield plan
    first = (plan.records[0].out_height, plan.records[0].out_width)
    layers = plan_layers(network)
    found = depth_first_schedules(network.name, layers, config, *first, network.blocks)
    yield with_schedule(plan, min(found, key=lambda one: sum(one.feature_words)))


def check(config, network, size, rng, workdir, pauses=None):
    """Runs a picture by both schedules. Returns the values compared."""
    build = build_native(engine_sources(config), TOP, HARNESS, optimise=1)
    pixels = rng.integers(0, 1 << PIXEL_BITS, (3, *size), dtype=np.uint8)
    expected = reference_maps(network, pixels)
    compared = 0
    for number, plan in enumerate(schedules(network, config, *size)):
        check_plan(plan)
        run = run_frame(build, network, plan, pixels, workdir / str(number), pauses=pauses)
        results = compare_run(run, network, expected)
        what = [(layer.shape, layer.mask_bits) for layer in network.layers]
        assert all_equal(results), f"{'; '.join(map(str, results))}: {what}, {size}, {plan.visits}"
        if pauses is None:
            counted = dict(zip((r.name for r in plan.records), run.record_cycles, strict=True))
            assert counted == {r.name: r.cycles for r in frame_cycles(plan).records}, f"{what}, {size}"
        compared += sum(result.values_compared for result in results)
    return compared


def one_bit_more(config):
    return [bits for bits in range(1, 6) if bits <= config.mask_bits_max]


@every_config
def test_random_graphs(config, rng, tmp_path):
    compared = 0
    for number in range(6):
        network = random_graph(
            rng, int(rng.integers(2, 9)), lane_channels(config.input_lanes, config.output_lanes),
            mask_bits=one_bit_more(config), activation_bits=config.activation_bits, blocks=number % 3 == 2,
        )  # fmt: skip
        if max(layer.shortcut_shift for layer in network.layers) > config.shortcut_shift_max:
            continue
        size = tuple(int(n) for n in rng.integers(*SIZES, 2))
        compared += check(config, network, size, rng, tmp_path / str(number))
    assert compared > 0


def test_pauses_change_nothing(rng, tmp_path):
    config = CONFIGS["2x4"]
    network = random_graph(rng, 5, lane_channels(2, 4), blocks=True)
    assert check(config, network, (15, 18), rng, tmp_path, Pauses(seed=3, share=0.3)) > 0


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (2, 3)])
def test_maps_of_one_row_or_column(size, rng, tmp_path):
    shapes = [
        ConvShape("a", 3, 4, pool=False),
        ConvShape("b", 4, 4, pool=True, pool_size=3, shortcut=Shortcut(0)),
        ConvShape("c", 4, 5, pool=False, stride=2),
        ConvShape("d", 5, 5, pool=False, shortcut=Shortcut(1, projection=True, stride=2)),
    ]
    assert check(CONFIGS["2x2"], random_network(rng, shapes, [3, 1, 5, 2]), size, rng, tmp_path) > 0


def test_an_engine_without_the_option_refuses(rng):
    network = random_network(rng, [ConvShape("a", 3, 4, False), ConvShape("b", 4, 4, False, stride=2)], 3)
    with pytest.raises(InputError, match=r"b is no plain 3x3 layer.*allowed: --set residual=true"):
        make_plan(network, NAMED["nano"], 8, 8)
