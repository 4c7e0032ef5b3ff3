"""Frames of residual networks through the simulated engine: every element of every map against the reference,
the counted cycles of every record against the closed form, in whole maps and depth first."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.export.weight_rom import encode_weights
from kestrel.hw.emit.verilog import TOP
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.graph import check_graph
from kestrel.sw.model.network import BLOCK_CHANNELS, IMAGE_CHANNELS, ConvShape, Shortcut
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import Visit
from kestrel.sw.planning.plan import make_plan, plan_layers, with_schedule
from kestrel.sw.planning.proof import check_plan
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import build_native
from kestrel.verif.cases.random_graph import GraphKinds, lane_channels, random_graph
from kestrel.verif.cases.random_network import random_network
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import Pauses, run_frame

SMALL = replace(
    NAMED["nano"], residual=True, feature_words=(6000, 6000), weight_words=1 << 15, table_words=1 << 14,
    max_width=80, partial_depth=120,
)  # fmt: skip
CONFIGS = {
    "1x1": replace(SMALL, input_lanes=1, output_lanes=1),
    "2x2": SMALL,
    "2x4": replace(SMALL, output_lanes=4, stream_bytes=3),
    "6x2 batch": replace(
        SMALL, input_lanes=6, load_kernels=2, stream_bytes=2, activation_bits=5, batch=True
    ),
    "12x3 rows, batch": replace(
        SMALL, input_lanes=12, output_lanes=3, load_kernels=3, stream_bytes=4, activation_bits=6,
        row_groups=True, batch=True,
    ),
    "3x3 3 bits": replace(
        SMALL, input_lanes=3, output_lanes=3, load_kernels=3, stream_bytes=3, mask_bits_max=3
    ),
    "4x2 2 bits": replace(SMALL, input_lanes=4, load_kernels=4, mask_bits_max=2),
    "2x4 tables": replace(SMALL, output_lanes=4, stream_bytes=3, scalar_tables=True),
    "12x3 rows tables": replace(
        SMALL, input_lanes=12, output_lanes=3, load_kernels=3, stream_bytes=4, activation_bits=6,
        row_groups=True, scalar_tables=True,
    ),
}  # fmt: skip
GRAPHS = 14
"""Random graphs on each engine."""

GRAPHS_WITH_TABLES = 6
"""On engines that differ from others only in how weights are loaded."""

every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

pytestmark = pytest.mark.usefixtures("one_thread")


MANY = GraphKinds(
    shortcut=0.9, stride=0.25, pool_2x2=0.15, pool_3x3=0.2, kernel_1x1=0.3, other_source=0.4, shares=0.4
)
"""As many kinds of layers as possible."""


def schedules(network, config, size, rng, images=1):
    """The plan that would be taken, and two that go depth first: that of the least memory, and any one."""
    plan = make_plan(network, config, *size, images=images)
    yield plan
    first = (plan.records[0].out_height // images, plan.records[0].out_width)
    layers = plan_layers(network)
    found = depth_first_schedules(network.name, layers, config, *first, network.blocks, images)
    least = min(found, key=lambda one: sum(one.feature_words))
    for schedule in (least, found[int(rng.integers(len(found)))]):
        other = with_schedule(plan, schedule)
        if all(a <= b for a, b in zip(other.feature_words, config.feature_words, strict=True)):
            yield other


def random_pixels(network, size, rng, images=1):
    channels = IMAGE_CHANNELS if network.blocks else network.layers[0].shape.in_channels
    return rng.integers(0, 1 << PIXEL_BITS, (channels, images * size[0], size[1]), dtype=np.uint8)


def check_frame(config, network, plan, pixels, expected, workdir, pauses=None, seed=1):
    """Runs a frame; everything must be as ``expected`` and the cycle model say. Returns values compared."""
    check_plan(plan)
    build = build_native(engine_sources(config), TOP, HARNESS, optimise=1)
    run = run_frame(build, network, plan, pixels, workdir, pauses=pauses, seed=seed)
    results = compare_run(run, network, expected)
    what = [(layer.shape, layer.mask_bits) for layer in network.layers]
    what = f"{what}, blocks {network.blocks}, pixels {pixels.shape}, {plan.visits}, {pauses}, seed {seed}"
    assert all_equal(results), f"{'; '.join(map(str, results))}: {what}"
    model = frame_cycles(plan)
    counted = dict(zip((r.name for r in plan.records), run.record_cycles, strict=True))
    # Pauses of the streams change the cycles of input and output alone.
    for record in model.records if pauses is None else model.layers:
        assert counted[record.name] == record.cycles, f"{record.name}: {what}"
    if pauses is None:
        assert run.cycles == model.total, what
    return sum(result.values_compared for result in results)


def check(config, network, size, rng, workdir, pauses=None, images=1):
    """Runs a picture, or several at once, by several schedules. Returns the values compared."""
    pixels = random_pixels(network, size, rng, images)
    expected = reference_maps(network, pixels, images)
    return sum(
        check_frame(config, network, plan, pixels, expected, workdir, pauses, number + 1)
        for number, plan in enumerate(schedules(network, config, size, rng, images))
    )


def drawn_graph(config, rng, blocks, kinds, images=1):
    """A random graph and a size at which it leaves something of every map, of ``images`` images at once."""
    # Of single channels alone no network of several layers is lively.
    channels = (*lane_channels(config.input_lanes, config.output_lanes), 5, 8)
    while True:
        network = random_graph(
            rng, int(rng.integers(2, 9)), channels,
            mask_bits=config.mask_widths, activation_bits=int(rng.integers(4, config.activation_bits + 1)),
            blocks=blocks, kinds=kinds, shortcut_shift_max=config.shortcut_shift_max,
            tables=config.scalar_tables,
        )  # fmt: skip
        size = tuple(int(rng.integers(1, 28)) if rng.random() < 0.8 else 1 for _ in range(2))
        try:
            make_plan(network, config, *size, images=images)
        except InputError:
            continue
        return network, size


@every_config
def test_random_graphs(config, rng, tmp_path):
    compared = 0
    for number in range(GRAPHS_WITH_TABLES if config.scalar_tables else GRAPHS):
        kinds = (GraphKinds(), MANY)[number % 2]
        images = int(rng.integers(1, 5)) if config.batch else 1
        network, size = drawn_graph(config, rng, blocks=number % 3 == 2, kinds=kinds, images=images)
        pauses = None
        if number % 4 == 3:
            pauses = Pauses(seed=int(rng.integers(1 << 30)), share=float(rng.uniform(0.1, 0.8)))
        compared += check(config, network, size, rng, tmp_path, pauses, images)
    assert compared > 10_000


def every_kind(config, rng, blocks):
    """A network with every kind of layer and of shortcut: channels of whole groups and of parts of groups,
    shortcuts over one, two and three layers, from maps in the part that is read and in the one that is
    written, projections of both strides, layers that share their integers."""
    p, q = config.input_lanes, config.output_lanes
    many, odd = 2 * max(p, q), max(p, q) + 1
    shapes = [
        ConvShape("stem", BLOCK_CHANNELS if blocks else IMAGE_CHANNELS, many, pool=True, pool_size=3),
        ConvShape("over_one", many, many, pool=False, shortcut=Shortcut(0)),
        ConvShape("plain", many, many, pool=False),
        ConvShape("over_two", many, many, pool=False, shortcut=Shortcut(1)),
        ConvShape("down", many, odd, pool=False, stride=2),
        ConvShape("over_two_down", odd, odd, pool=False, shortcut=Shortcut(3, projection=True, stride=2)),
        ConvShape("again", odd, odd, pool=False, shares=5, shortcut=Shortcut(3, projection=True, stride=2)),
        ConvShape("wide", odd, many, pool=False, kernel=1),
        ConvShape("narrow", many, odd, pool=False, shortcut=Shortcut(6)),
        ConvShape("over_three", odd, odd, pool=True, pool_size=3, shortcut=Shortcut(6)),
        ConvShape("other_map", odd, p + q, pool=False, source=6, stride=2, kernel=1),
        ConvShape("last", p + q, 1, pool=True, shortcut=Shortcut(9, projection=True)),
    ]
    check_graph(shapes, blocks=blocks)
    widths = [config.mask_widths[n % len(config.mask_widths)] for n in range(len(shapes))]
    return random_network(
        rng, shapes, widths, activation_bits=config.activation_bits, blocks=blocks,
        shortcut_shift_max=config.shortcut_shift_max, tables=config.scalar_tables,
    )  # fmt: skip


@every_config
@pytest.mark.parametrize(("blocks", "size"), [(False, (17, 10)), (True, (33, 19))])
def test_every_kind_of_layer(config, blocks, size, rng, tmp_path):
    network = every_kind(config, rng, blocks)
    plan = make_plan(network, config, *size)
    shortcuts = [r for r in plan.records if r.shortcut_read is not None]
    assert {r.shortcut_read.part == r.written_part for r in shortcuts if r.shortcut_read} == {True, False}
    assert check(config, network, size, rng, tmp_path, images=1 + 2 * config.batch) > 0


def test_visits_to_an_image_in_blocks_are_not_alike(rng, tmp_path):
    """The first row of the image is written with what lies above it, which takes longer than its beats where
    words are short: two visits to as many rows take different times."""
    config = CONFIGS["1x1"]
    network = random_network(rng, [ConvShape("a", BLOCK_CHANNELS, 2, pool=False)], 1, blocks=True)
    size = 28, 14
    whole = make_plan(network, config, *size)
    visits = (Visit(0, 0, 7), Visit(1, 0, 6), Visit(0, 7, 7), Visit(1, 6, 8), whole.visits[-1])
    plan = replace(whole, visits=visits)
    check_plan(plan)
    starts = frame_cycles(plan).visit_starts
    assert starts[1] - starts[0] > starts[3] - starts[2]
    pixels = random_pixels(network, size, rng)
    check_frame(config, network, plan, pixels, reference_maps(network, pixels), tmp_path)


@pytest.mark.parametrize("kind", ["stride", "kernel", "blocks", "plain"])
def test_first_layers_that_run_in_row_groups_and_others(kind, rng, tmp_path):
    config = CONFIGS["12x3 rows, batch"]
    change = {"stride": {"stride": 2}, "kernel": {"kernel": 1}}.get(kind, {})
    blocks = kind == "blocks"
    first = ConvShape("a", BLOCK_CHANNELS if blocks else IMAGE_CHANNELS, 4, pool=False)
    shapes = [replace(first, **change), ConvShape("b", 4, 4, pool=False, shortcut=Shortcut(0))]
    network = random_network(rng, shapes, 3, activation_bits=6, blocks=blocks)
    for size in ((1, 5), (8, 7), (13, 10)):
        assert make_plan(network, config, *size).row_groups == (kind == "plain")
        assert check(config, network, size, rng, tmp_path) > 0


def test_images_in_blocks_do_not_run_in_row_groups_however_many_lanes_there_are(rng):
    """27 channels fit the 32 lanes of a group of 128."""
    config = NAMED["nano"].with_options(input_lanes=128, output_lanes=1, row_groups=True, residual=True)
    assert config.group_lanes >= BLOCK_CHANNELS
    network = random_network(rng, [ConvShape("a", BLOCK_CHANNELS, 2, pool=False)], 3, blocks=True)
    plan = make_plan(network, config, 8, 8)
    assert not plan.row_groups
    image = encode_weights(network, config)
    assert len(image.words) == plan.weight_words


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
