"""The nightly set of frames, and how each is drawn from its name and seed.

A case is a configuration, a kind and a seed. Everything follows from these three: network, mask bits,
activation bits, size, pixels, order of visits and pauses. Frames are limited to a budget of cycles, such that
thousands run in a night and every one of them still goes through whole layers.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.masks import PASSES, mask_values
from kestrel.hw.spec.widths import ACTIVATION_BITS_MIN, BIAS_MAX, BIAS_MIN, SCALAR_MAX, SHIFT_MAX, SHIFT_MIN
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
from kestrel.verif.cases.random_network import constant_network, random_network, stack
from kestrel.verif.simulate.frame import Pauses

# Together these have: rows longer than half the partial sums; more input than output lanes and the reverse;
# numbers of lanes that are no power of two; fewer activation bits than a byte; beats that do not divide a
# word; a single lane; three rows at once with and without spare lanes; engines for narrow masks only.
_ODD = replace(NAMED["nano"], feature_words=(6000, 6000), weight_words=32768, max_width=40, partial_depth=90)
ODD: dict[str, EngineConfig] = {
    "4x2": replace(_ODD, input_lanes=4, load_kernels=2, stream_bytes=2),
    "2x4": replace(_ODD, output_lanes=4, stream_bytes=3, partial_depth=70),
    "3x3": replace(_ODD, input_lanes=3, output_lanes=3, load_kernels=3, stream_bytes=3),
    "6x2": replace(_ODD, input_lanes=6, load_kernels=2, activation_bits=5, stream_bytes=4),
    "1x1": replace(_ODD, input_lanes=1, output_lanes=1),
    "4x4-rows": replace(_ODD, input_lanes=4, output_lanes=4, load_kernels=2, stream_bytes=2, row_groups=True),
    "12x3-rows": replace(
        _ODD,
        input_lanes=12,
        output_lanes=3,
        load_kernels=3,
        activation_bits=6,
        stream_bytes=4,
        row_groups=True,
    ),
    "2x2b3": replace(_ODD, mask_bits_max=3),
    "4x2b2": replace(_ODD, input_lanes=4, load_kernels=4, mask_bits_max=2),
    "3x3b1": replace(_ODD, input_lanes=3, output_lanes=3, activation_bits=6, mask_bits_max=1),
}
TARGETS: dict[str, EngineConfig] = {
    "nano": NAMED["nano"],
    **{name: replace(config, name=name) for name, config in ODD.items()},
    "edge": NAMED["edge"],
    "asic": NAMED["asic"],
}
"""The configurations, with those that build fast first."""

PIXEL_VALUES = 256
CYCLES = 80_000
"""Approximate cycles of a frame on small engines; large engines are slower to simulate and get fewer."""

CYCLES_LARGE = 20_000
LARGE = 256
"""The number of kernel units from which an engine counts as large."""

DRAWS = 200


@dataclass(frozen=True)
class Case:
    """One frame of the set. Its ``name`` and ``seed`` reproduce it anywhere."""

    config: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.config}/{self.kind}"

    @property
    def key(self) -> str:
        return f"{self.name}@{self.seed}"


@dataclass(frozen=True)
class Frame:
    """A case after drawing: what enters the engine. ``plan`` may be made for a smaller feature memory than
    the engine's."""

    network: CompressedNetwork
    plan: Plan
    pixels: np.ndarray
    pauses: Pauses | None
    power_up: int

    def __str__(self) -> str:
        net, plan = self.network, self.plan
        shapes = [layer.shape for layer in net.layers]
        channels = [shapes[0].in_channels, *(shape.out_channels for shape in shapes)]
        pools = [number for number, shape in enumerate(shapes) if shape.pool]
        return (
            f"{net.name}: channels {channels}, pools after {pools}, "
            f"mask bits {[layer.mask_bits for layer in net.layers]}, {net.activation_bits} activation bits, "
            f"{plan.height} x {plan.width}, {len(plan.visits)} visits, "
            f"feature words {plan.config.feature_words}, {self.pauses}, power-up {self.power_up}"
        )


def make_frame(case: Case) -> Frame:
    """Draws a case. Raises InputError if the planner refuses it, which is a defect, since all draws fit."""
    rng = np.random.default_rng([case.seed, zlib.crc32(case.name.encode())])
    return KINDS[case.kind](_Draw(case, TARGETS[case.config], rng))


@dataclass(frozen=True)
class _Draw:
    """A case that is being drawn."""

    case: Case
    config: EngineConfig
    rng: np.random.Generator

    def number(self, low: int, high: int) -> int:
        """A number drawn uniformly from low..high."""
        return int(self.rng.integers(low, high + 1))

    def one_of(self, choices: Sequence[int]) -> int:
        return int(self.rng.choice(choices))

    def activation_bits(self) -> int:
        return self.number(ACTIVATION_BITS_MIN, self.config.activation_bits)

    def mask_bits(self, layers: int) -> list[int]:
        """All layers have the same width, or each its own, or one width up to some layer and another from
        there on. The seed decides which, so that a few seeds cover all three patterns and all widths."""
        style, widths = self.case.seed % 3, self.config.mask_widths
        if style == 0:
            return [widths[self.case.seed // 3 % len(widths)]] * layers
        if style == 1:
            return [self.one_of(widths) for _ in range(layers)]
        change, before, after = self.number(0, layers), self.one_of(widths), self.one_of(widths)
        return [before] * change + [after] * (layers - change)

    def pixels(self, channels: int, height: int, width: int) -> np.ndarray:
        """Random pixels; sometimes only the two extreme values, sometimes all the same."""
        size = channels, height, width
        style = self.rng.random()
        if style < 0.8:
            return self.rng.integers(0, PIXEL_VALUES, size=size, dtype=np.uint8)
        if style < 0.9:
            return self.rng.choice(np.array([0, PIXEL_VALUES - 1], dtype=np.uint8), size=size)
        return np.full(size, self.one_of([0, PIXEL_VALUES - 1]), dtype=np.uint8)

    def frame(self, network: CompressedNetwork, plan: Plan) -> Frame:
        pauses = None
        if self.rng.random() < 0.3:
            pauses = Pauses(self.case.seed, float(self.rng.uniform(0.05, 0.9)))
        pixels = self.pixels(network.layers[0].shape.in_channels, plan.height, plan.width)
        return Frame(network, plan, pixels, pauses, power_up=self.number(1, 1 << 30))

    def network(self, shapes: Sequence[ConvShape], bits: Sequence[int], name: str) -> CompressedNetwork:
        zeros = [0] * shapes[0].in_channels
        pad = zeros if self.rng.random() < 0.3 else None
        return random_network(
            self.rng, shapes, bits, activation_bits=self.activation_bits(), pad=pad, name=name
        )


def _fits(shapes: Sequence[ConvShape], bits: Sequence[int], config: EngineConfig, h: int, w: int) -> bool:
    """Whether a frame certainly fits the configuration, with all maps whole and separate, and the budget."""
    large = config.input_lanes * config.output_lanes >= LARGE
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
        cycles <= (CYCLES_LARGE if large else CYCLES)
        and words <= config.weight_words
        and features[0] <= config.feature_words[0]
        and features[1] <= config.feature_words[1]
    )


def _vgg(draw: _Draw) -> Frame:
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
        fitting = [n for n in names if _fits(parse_network(n).layers, bits, draw.config, height, width)]
        if fitting:
            name = fitting[min(draw.number(0, 2), len(fitting) - 1)]
            network = draw.network(parse_network(name).layers, bits, name)
            return draw.frame(network, make_plan(network, draw.config, height, width))
    raise RuntimeError(f"{draw.case.key}: {family}:{cut} does not fit the budget of cycles at any width")


def _channels(draw: _Draw, count: int) -> list[int]:
    """Channel counts around the multiples of the lanes, where groups begin and end."""
    lanes = draw.config.word_lanes
    near = [1, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, 3 * lanes + 1]
    return [
        max(1, draw.one_of(near)) if draw.rng.random() < 0.6 else draw.number(1, 2 * lanes + 3)
        for _ in range(count)
    ]


def _drawn_stack(
    draw: _Draw, depth: tuple[int, int], height: tuple[int, int], width: tuple[int, int]
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
        if _fits(shapes, bits, draw.config, h, w):
            return draw.network(shapes, bits, draw.case.kind), h, w
    raise RuntimeError(f"{draw.case.key}: no stack within the budget of cycles in {DRAWS} draws")


def _stack(draw: _Draw) -> Frame:
    """Any stack of one to five layers; one side of the image is often 1 or 2."""
    side = [(1, 16), (1, 24), (1, 2)]
    network, height, width = _drawn_stack(draw, (1, 5), side[draw.number(0, 2)], side[draw.number(0, 1)])
    return draw.frame(network, make_plan(network, draw.config, height, width))


def _rows(draw: _Draw) -> Frame:
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
        if _fits(shapes, bits, draw.config, height, width):
            network = draw.network(shapes, bits, draw.case.kind)
            plan = make_plan(network, draw.config, height, width)
            if draw.rng.random() < 0.5:
                plan = depth_first_plan(network, draw.config, height, width, draw.number(1, 9))
                plan = replace(plan, visits=_without_dropped_rows(plan))
            return draw.frame(network, plan)
    raise RuntimeError(f"{draw.case.key}: no stack within the budget of cycles in {DRAWS} draws")


def _deep(draw: _Draw) -> Frame:
    """A feature memory so small that the planner must go depth first. The plan is made for the small memory
    but run on the engine with the large one; only the plan differs."""
    network, height, width = _drawn_stack(draw, (2, 6), (8, 60), (3, min(40, draw.config.max_width)))
    found = depth_first_schedules(draw.case.key, plan_layers(network), draw.config, height, width)
    least = min(found, key=lambda schedule: sum(schedule.feature_words))
    chosen = least if draw.rng.random() < 0.5 else found[draw.number(0, len(found) - 1)]
    first, second = chosen.feature_words
    small = draw.config.with_options(feature_words=(max(2, first), max(2, second)))
    return draw.frame(network, make_plan(network, small, height, width))


def _chunks(draw: _Draw) -> Frame:
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


def _wide(draw: _Draw) -> Frame:
    """Rows of the greatest length or one less: strips of a row or two, weights that arrive late."""
    most = draw.config.max_width
    network, height, width = _drawn_stack(draw, (1, 3), (1, 12), (most - 1, most))
    return draw.frame(network, make_plan(network, draw.config, height, width))


def _extreme(draw: _Draw) -> Frame:
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


KINDS: dict[str, Callable[[_Draw], Frame]] = {
    **dict.fromkeys(VGG_BLOCKS, _vgg),
    "stack": _stack,
    "rows": _rows,
    "deep": _deep,
    "chunks": _chunks,
    "wide": _wide,
    "extreme": _extreme,
}
"""The kinds of frames: the VGG networks, and the purposes for which random stacks are drawn."""


def all_cases(seeds: range) -> list[Case]:
    """The whole set: every kind on every configuration, for each seed."""
    return [Case(config, kind, seed) for config in TARGETS for seed in seeds for kind in KINDS]
