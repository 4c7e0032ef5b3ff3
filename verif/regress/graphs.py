"""Frames of random graphs, for engines for residual networks, and of batches, for engines that run them."""

from collections.abc import Callable
from dataclasses import replace

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import Plan, make_plan, plan_layers, with_schedule
from kestrel.sw.planning.visit_order import depth_first_schedules
from kestrel.verif.cases.random_graph import GraphKinds, lane_channels, random_graph
from kestrel.verif.regress.draw import DRAWS, Draw, Frame

_DENSE = GraphKinds(
    shortcut=0.9, stride=0.25, pool_2x2=0.15, pool_3x3=0.25, kernel_1x1=0.3, other_source=0.4, shares=0.4
)
"""As much as possible in one network."""

_PLAIN = GraphKinds(
    shortcut=0, stride=0, pool_2x2=0.3, pool_3x3=0, kernel_1x1=0, other_source=0, shares=0
)
"""What any engine runs."""

IMAGES_MAX = 5
"""The most images of a batch."""


def _graph(draw: Draw) -> Frame:
    """Any graph; one side of the image is often 1 or 2."""
    sides = [(1, 28), (1, 28), (1, 2)]
    network, plan = _drawn_graph(draw, sides[draw.number(0, 2)], sides[draw.number(0, 1)], blocks=False)
    return draw.frame(network, plan)


def _blocks(draw: Draw) -> Frame:
    """A graph on an image in blocks."""
    network, plan = _drawn_graph(draw, (1, 40), (1, 40), blocks=True)
    return draw.frame(network, _depth_first(draw, network, plan) if draw.rng.random() < 0.5 else plan)


def _strips(draw: Draw) -> Frame:
    """A graph that goes depth first, in any of the ways that the planner tries."""
    network, plan = _drawn_graph(draw, (8, 60), (3, 40), blocks=draw.rng.random() < 0.3)
    return draw.frame(network, _depth_first(draw, network, plan))


def _batch(draw: Draw) -> Frame:
    """Several images at once, of a graph if the engine runs them; whole maps, or strips that reach from image
    to image."""
    blocks = draw.config.residual and draw.rng.random() < 0.5
    network, plan = _drawn_graph(draw, (1, 24), (1, 24), blocks=blocks, images=draw.number(1, IMAGES_MAX))
    return draw.frame(network, _depth_first(draw, network, plan) if draw.rng.random() < 0.5 else plan)


BATCH_KINDS: dict[str, Callable[[Draw], Frame]] = {"batch": _batch}
"""The kind of frames of several images."""

GRAPH_KINDS: dict[str, Callable[[Draw], Frame]] = {"graph": _graph, "blocks": _blocks, "strips": _strips}
"""The kinds of frames of graphs."""


def _drawn_graph(
    draw: Draw, height: tuple[int, int], width: tuple[int, int], *, blocks: bool, images: int = 1
) -> tuple[CompressedNetwork, Plan]:
    """A random graph and its plan for a size at which it fits the engine and the budget. The draws become
    smaller the longer nothing fits."""
    config = draw.config
    # Of single channels alone no network of several layers is lively.
    channels = (*lane_channels(config.input_lanes, config.output_lanes), 5, 8)
    for attempt in range(DRAWS):
        kinds = GraphKinds() if draw.rng.random() < 0.6 else _DENSE
        if not config.residual:
            kinds = _PLAIN
        count = draw.number(1, max(2, 10 - attempt // 10))
        h, w = (draw.number(low, max(low, high - attempt // 5)) for low, high in (height, width))
        try:
            network = random_graph(
                draw.rng, count, channels, mask_bits=draw.mask_bits(count),
                activation_bits=draw.activation_bits(), blocks=blocks, kinds=kinds, name=draw.case.kind,
                shortcut_shift_max=config.shortcut_shift_max, tables=config.scalar_tables,
            )  # fmt: skip
            plan = make_plan(network, config, h, min(w, config.max_width), images)
        except (InputError, RuntimeError):  # a map is pooled to nothing, or nothing is lively, say
            continue
        if frame_cycles(plan).total <= draw.budget:
            return network, plan
    raise RuntimeError(f"{draw.case.key}: no graph within the budget of cycles in {DRAWS} draws")


def _depth_first(draw: Draw, network: CompressedNetwork, plan: Plan) -> Plan:
    """The frame by one of the depth-first schedules, most often by that of the least memory; the plan is made
    for a feature memory of its size."""
    size = plan.records[0].out_height // plan.images, plan.records[0].out_width
    layers = plan_layers(network)
    found = depth_first_schedules(
        network.name, layers, draw.config, *size, network.blocks, images=plan.images
    )
    while found:
        least = min(found, key=lambda schedule: sum(schedule.feature_words))
        chosen = least if draw.rng.random() < 0.5 else found[draw.number(0, len(found) - 1)]
        other = with_schedule(plan, chosen)
        fits = all(a <= b for a, b in zip(other.feature_words, draw.config.feature_words, strict=True))
        # Each visit loads all the weights of its layer, so few rows for each may cost many times the budget.
        if fits and frame_cycles(other).total <= 2 * draw.budget:
            first, second = other.feature_words
            words = max(2, first), max(2, second)
            return replace(other, config=draw.config.with_options(feature_words=words))
        found.remove(chosen)
    return plan
