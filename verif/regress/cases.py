"""The nightly set of frames, and how each is drawn from its name and seed.

A case is a configuration, a kind and a seed. Everything follows from these three: network, mask bits,
activation bits, size, pixels, order of visits and pauses. Frames are limited to a budget of cycles, such that
thousands run in a night and every one of them still goes through whole layers.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.masks import PASSES, mask_values
from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN, SCALAR_MAX, SHIFT_MAX, SHIFT_MIN
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import VGG_BLOCKS, VGG_CHANNELS, ConvShape, parse_network
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import (
    PlanLayer,
    Tile,
    Visit,
    group_count,
    longest_load,
    tile_count,
    tile_words,
)
from kestrel.sw.planning.plan import Plan, make_plan, plan_layers
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.cases.depth_first import depth_first_plan
from kestrel.verif.cases.random_network import constant_network, stack
from kestrel.verif.regress.draw import CYCLES, DRAWS, TARGETS, Case, Draw, Frame
from kestrel.verif.regress.graphs import BATCH_KINDS, GRAPH_KINDS


def make_frame(case: Case) -> Frame:
    """Draws a case. Raises InputError if the planner refuses it, which is a defect, since all draws fit."""
    return draw_frame(case, TARGETS[case.config])


def draw_frame(case: Case, config: EngineConfig) -> Frame:
    """The same for ``config``, which the case calls by any name. Raises InputError like ``make_frame``."""
    return KINDS[case.kind](drawing(case, config))


def drawing(case: Case, config: EngineConfig) -> Draw:
    """The case with its random numbers, which follow from its name and seed alone."""
    return Draw(case, config, np.random.default_rng([case.seed, zlib.crc32(case.name.encode())]))


def _fits(shapes: Sequence[ConvShape], bits: Sequence[int], draw: Draw, h: int, w: int) -> bool:
    """Whether a frame certainly fits the configuration, with all maps whole and separate, and the budget."""
    config = draw.config
    cycles = h * w * group_count(shapes[0].in_channels, config.stream_bytes)
    words, features = 0, [0, 0]
    if w > config.max_width:
        return False
    for number, (shape, mask_bits) in enumerate(zip(shapes, bits, strict=True)):
        layer = PlanLayer(shape, mask_bits, 0, has_pad=number == 0, reads_image=number == 0)
        step = 2 if shape.pool else 1
        if min(h, w) < step or step * w > config.partial_depth:
            return False
        slots = group_count(h + layer.in_row_groups(config), BANKS)
        features[number % 2] += slots * w * group_count(shape.in_channels, config.word_lanes)
        whole = Tile(config.input_lanes, config.output_lanes, last_in=True, last_out=False)
        words += tile_count(layer, config) * tile_words(whole, layer, config)
        pixels = max(h * w, longest_load(layer, config))
        cycles += PASSES[mask_bits] * tile_count(layer, config) * pixels
        h, w = h // step, w // step
    last = group_count(shapes[-1].out_channels, config.word_lanes)
    features[len(shapes) % 2] += group_count(h, BANKS) * w * last
    return (
        cycles <= draw.budget
        and words <= config.weight_words
        and features[0] <= config.feature_words[0]
        and features[1] <= config.feature_words[1]
    )


def _vgg(draw: Draw) -> Frame:
    """A VGG network cut at any layer, about as wide as the budget allows."""
    family = draw.case.kind
    layers = parse_network(family).layers
    cuts = [layer.name for layer in layers] + [f"pool{block + 1}" for block in range(len(VGG_BLOCKS[family]))]
    cut = cuts[draw.number(0, len(cuts) - 1)]
    least = 1 << sum(layer.pool for layer in parse_network(f"{family}:{cut}").layers)
    bits = draw.mask_bits(len(parse_network(f"{family}:{cut}").layers))
    divisors = [1 << power for power in range(VGG_CHANNELS[-1].bit_length())]
    for margin in (least + 6, least // 2 + 2, 0):
        height, width = draw.number(least, least + margin), draw.number(least, least + margin)
        names = [f"{family}/{divisor}:{cut}" for divisor in divisors]
        fitting = [n for n in names if _fits(parse_network(n).layers, bits, draw, height, width)]
        if fitting:
            name = fitting[min(draw.number(0, 2), len(fitting) - 1)]
            network = draw.network(parse_network(name).layers, bits, name)
            return draw.frame(network, make_plan(network, draw.config, height, width))
    raise RuntimeError(f"{draw.case.key}: {family}:{cut} does not fit the budget of cycles at any width")


def _channels(draw: Draw, count: int) -> list[int]:
    """Channel counts around the multiples of the lanes, where groups begin and end."""
    lanes = draw.config.word_lanes
    near = [1, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, 3 * lanes + 1]
    return [
        max(1, draw.one_of(near)) if draw.rng.random() < 0.6 else draw.number(1, 2 * lanes + 3)
        for _ in range(count)
    ]


def _drawn_stack(
    draw: Draw, depth: tuple[int, int], height: tuple[int, int], width: tuple[int, int]
) -> tuple[CompressedNetwork, int, int]:
    """A random stack and a size that fit. A third of the layers pool if that leaves something of the map. The
    draws become smaller the longer nothing fits."""
    for attempt in range(DRAWS):
        layers = draw.number(depth[0], max(depth[0], depth[1] - attempt // 20))
        h, w = draw.number(height[0], max(height[0], height[1] - attempt // 10)), draw.number(*width)
        pools, least = [], 2
        for number in range(layers):
            if min(h, w) >= least and draw.rng.random() < 0.35:
                pools.append(number)
                least *= 2
        shapes, bits = stack(_channels(draw, layers + 1), pools), draw.mask_bits(layers)
        if _fits(shapes, bits, draw, h, w):
            return draw.network(shapes, bits, draw.case.kind), h, w
    raise RuntimeError(f"{draw.case.key}: no stack within the budget of cycles in {DRAWS} draws")


def _stack(draw: Draw) -> Frame:
    """Any stack of one to five layers; one side of the image is often 1 or 2."""
    side = [(1, 16), (1, 24), (1, 2)]
    network, height, width = _drawn_stack(draw, (1, 5), side[draw.number(0, 2)], side[draw.number(0, 1)])
    return draw.frame(network, make_plan(network, draw.config, height, width))


def _rows(draw: Draw) -> Frame:
    """A first layer that runs in row groups if the engine can: few channels, no pooling, one pass. The maps
    are whole, or the order of visits is arbitrary."""
    for _ in range(DRAWS):
        height, width = draw.number(1, 24), draw.number(1, min(24, draw.config.max_width))
        channels = [draw.number(1, max(1, draw.config.group_lanes)), *_channels(draw, draw.number(1, 3))]
        layers = len(channels) - 1
        pools = [n for n in range(1, layers) if min(height, width) > 3 and draw.rng.random() < 0.3][:1]
        shapes = stack(channels, pools)
        widths = draw.config.mask_widths
        single = [bits for bits in widths if PASSES[bits] == 1]
        bits = [draw.one_of(single), *(draw.one_of(widths) for _ in range(layers - 1))]
        if _fits(shapes, bits, draw, height, width):
            network = draw.network(shapes, bits, draw.case.kind)
            plan = make_plan(network, draw.config, height, width)
            if draw.rng.random() < 0.5:
                plan = depth_first_plan(network, draw.config, height, width, draw.number(1, 9))
                plan = replace(plan, visits=_without_dropped_rows(plan))
            return draw.frame(network, plan)
    raise RuntimeError(f"{draw.case.key}: no stack within the budget of cycles in {DRAWS} draws")


def _deep(draw: Draw) -> Frame:
    """A feature memory so small that the planner must go depth first. The plan is made for the small memory
    but run on the engine with the large one; only the plan differs."""
    network, height, width = _drawn_stack(draw, (2, 6), (8, 60), (3, min(40, draw.config.max_width)))
    found = depth_first_schedules(draw.case.key, plan_layers(network), draw.config, height, width)
    least = min(found, key=lambda schedule: sum(schedule.feature_words))
    chosen = least if draw.rng.random() < 0.5 else found[draw.number(0, len(found) - 1)]
    first, second = chosen.feature_words
    small = draw.config.with_options(feature_words=(max(2, first), max(2, second)))
    return draw.frame(network, make_plan(network, small, height, width))


def _chunks(draw: Draw) -> Frame:
    """Every layer does what it can after each few rows of the image; no planner would, the engine must."""
    network, height, width = _drawn_stack(draw, (1, 5), (4, 40), (1, min(30, draw.config.max_width)))
    chunk = draw.number(1, 9)
    while True:
        plan = depth_first_plan(network, draw.config, height, width, chunk)
        plan = replace(plan, visits=_without_dropped_rows(plan))
        # Each visit loads all the weights, so few rows for each visit may cost many times the budget.
        if chunk >= height or frame_cycles(plan).total <= 2 * CYCLES:
            return draw.frame(network, plan)
        chunk *= 2


def _without_dropped_rows(plan: Plan) -> tuple[Visit, ...]:
    """The visits without an odd last row that the pooling drops, because a plan must not compute it."""
    rows = [min(visit.rows, plan.records[visit.record].rows - visit.first_row) for visit in plan.visits]
    return tuple(replace(visit, rows=n) for visit, n in zip(plan.visits, rows, strict=True) if n > 0)


def _wide(draw: Draw) -> Frame:
    """Rows of the greatest length or one less: strips of a row or two, weights that arrive late."""
    most = draw.config.max_width
    network, height, width = _drawn_stack(draw, (1, 3), (1, 12), (most - 1, most))
    return draw.frame(network, make_plan(network, draw.config, height, width))


def _extreme(draw: Draw) -> Frame:
    """Every number of the network is the same and at an end of its range."""
    network, height, width = _drawn_stack(draw, (1, 3), (1, 8), (1, 8))
    bits = draw.one_of(draw.config.mask_widths)
    values = mask_values(bits)
    activation_bits = draw.activation_bits()
    constant = constant_network(
        [layer.shape for layer in network.layers],
        bits,
        alpha=draw.one_of([0, 1, SCALAR_MAX, SCALAR_MAX]),
        tap=draw.one_of([values[0], values[-1], values[len(values) // 2]]),
        bias=draw.one_of([BIAS_MIN, -1, 0, BIAS_MAX]),
        shift=draw.one_of([SHIFT_MIN, SHIFT_MIN + 1, SHIFT_MAX, SHIFT_MAX]),
        activation_bits=activation_bits,
        pad=draw.one_of([0, (1 << activation_bits) - 1]),
        name=draw.case.kind,
    )
    return draw.frame(constant, make_plan(constant, draw.config, height, width))


KINDS: dict[str, Callable[[Draw], Frame]] = {
    **dict.fromkeys(VGG_BLOCKS, _vgg),
    "stack": _stack,
    "rows": _rows,
    "deep": _deep,
    "chunks": _chunks,
    "wide": _wide,
    "extreme": _extreme,
    **GRAPH_KINDS,
    **BATCH_KINDS,
}
"""The kinds of frames: the VGG networks, and the purposes for which random stacks and graphs are drawn."""


def kinds_of(config: EngineConfig) -> list[str]:
    """The kinds that run on an engine: graphs only on one for residual networks, batches on one for them."""
    return [
        kind for kind in KINDS
        if (config.residual or kind not in GRAPH_KINDS) and (config.batch or kind not in BATCH_KINDS)
    ]  # fmt: skip


def all_cases(seeds: range) -> list[Case]:
    """The whole set: every kind on every configuration that runs it, for each seed."""
    return [
        Case(name, kind, seed) for name, config in TARGETS.items() for seed in seeds
        for kind in kinds_of(config)
    ]  # fmt: skip
