"""Frames of the soak: every kind of the nightly set, and large ones, which compare many values a second."""

from collections.abc import Sequence

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import PASSES
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.random_network import stack
from kestrel.verif.regress.cases import draw_frame, drawing, kinds_of
from kestrel.verif.regress.draw import DRAWS, Case, Draw, Frame

LARGE = "large"
"""The kind of frames of large maps, of which the nightly set has none."""

LARGE_FOR_EACH = 9
"""Large frames for each one of another kind."""

LARGE_CYCLES = 600_000
"""Cycles that a large frame may take."""

LARGE_MAP = 400
"""Rows of a large frame, at most."""


def frame_case(config: EngineConfig, number: int) -> Case:
    """Frame ``number`` on a configuration: its kind goes round, its seed is the number."""
    kinds: Sequence[str] = kinds_of(config)
    turn, place = divmod(number, LARGE_FOR_EACH + 1)
    return Case(config.name, LARGE if place else kinds[turn % len(kinds)], number)


def make_soak_frame(case: Case, config: EngineConfig) -> Frame:
    """Draws the case. Raises InputError if the planner refuses it, which is a defect, since all draws fit."""
    return _large(drawing(case, config)) if case.kind == LARGE else draw_frame(case, config)


def _large(draw: Draw) -> Frame:
    """A stack of one to four layers, most of them of as many channels as there are lanes and of one pass, on
    a map of up to LARGE_MAP rows of any width. The draws become smaller the longer nothing fits."""
    config = draw.config
    lanes = config.word_lanes
    single = [bits for bits in config.mask_widths if PASSES[bits] == 1]
    for attempt in range(DRAWS):
        layers = draw.one_of([1, 1, 1, 1, 2, 3])
        first = draw.one_of([1, config.input_lanes, max(1, config.group_lanes)])
        near = [lanes, lanes, lanes, lanes - 1 or 1, lanes + 1]
        channels = [first, *(draw.one_of(near) for _ in range(layers))]
        pools = [number for number in range(1, layers) if draw.rng.random() < 0.2]
        choices = single if draw.rng.random() < 0.8 else config.mask_widths
        widths = [draw.one_of(choices) for _ in range(layers)]
        most = max(8, LARGE_MAP - attempt)
        height, width = draw.number(most // 2, most), draw.number(config.max_width // 2, config.max_width)
        shapes = stack(channels, pools)
        network = draw.network(shapes, widths, draw.case.kind)
        try:
            plan = make_plan(network, config, height, width)
        except InputError:  # the maps do not fit the memory
            continue
        if frame_cycles(plan).total <= LARGE_CYCLES:
            return draw.frame(network, plan)
    raise RuntimeError(f"{draw.case.key}: no large frame within the budget of cycles in {DRAWS} draws")
