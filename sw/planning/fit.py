"""The smallest memories with which an engine computes a network at an image size, and no slower.

Feature memory and partial sums trade words for cycles: with fewer words strips are shorter, or the engine
goes depth first. What a configuration has of them is therefore the most that a fitted one may have, and the
cycles that a frame takes on it the most that it may take. ROMs and the widest row are what the network asks
for, be that less or more than the configuration has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from kestrel.hw.spec.configurations import config_text
from kestrel.hw.spec.engine_config import (
    FEATURE_WORDS_MIN,
    MAX_WIDTH_MIN,
    PARTIAL_DEPTH_MIN,
    TABLE_WORDS_MAX,
    TABLE_WORDS_MIN,
    WEIGHT_WORDS_MAX,
    WEIGHT_WORDS_MIN,
    EngineConfig,
)
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import first_size, map_sizes
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import PlanLayer, line_words
from kestrel.sw.planning.memory import table_words
from kestrel.sw.planning.plan import Plan, make_plan, plan_frame, plan_layers
from kestrel.sw.planning.remedies import setting_text

FITTED = "-fitted"
"""What the name of a fitted configuration ends in."""

PATIENCE = 12
"""Depths in a row that are tried in vain before the search for a smaller ``partial_depth`` ends."""


def fitted_name(base: EngineConfig) -> str:
    """The name of a configuration that is ``base`` fitted to a network."""
    return f"{base.name.removesuffix(FITTED)}{FITTED}"


@dataclass(frozen=True)
class FittedConfig:
    """``config``, made of ``base`` for a network, by name, and the size of its images."""

    config: EngineConfig
    base: EngineConfig
    network: str
    height: int
    width: int

    @property
    def settings(self) -> tuple[str, ...]:
        """NAME=VALUE of every field that is not as in ``base``, as the option --set takes it."""
        names = (f.name for f in fields(EngineConfig) if f.name != "name")
        changed = ((name, getattr(self.config, name)) for name in names
                   if getattr(self.config, name) != getattr(self.base, name))
        return tuple(f"{name}={setting_text(value)}" for name, value in changed)

    @property
    def text(self) -> str:
        """The contents of a configuration file (.toml), from which ``load_config`` reads ``config``."""
        what = " ".join(f"for {self.network} at {self.height} x {self.width} pixels".split())
        return (f"# {self.base.name}, its memories as large as they must be {what}.\n"
                "# Give this file to plan, export and simulate as well: --config FILE\n"
                f"{config_text(self.config)}")  # fmt: skip


def fit_memories(
    network: CompressedNetwork, config: EngineConfig, height: int, width: int, *, inner: Sequence[int] = ()
) -> EngineConfig:
    """``config`` with the smallest memories with which a frame of ``height`` x ``width`` pixels takes no more
    cycles: with one word less in any of them the network is refused, or slower. A network that is not a stack
    of plain layers gets ``residual``, whether ``config`` has it or not, and one whose scalars come from
    tables ``scalar_tables``. ``inner``: layers whose maps are output too. Raises InputError where it does not
    fit ``config``, larger ROMs and wider rows aside.
    """
    if not network.is_plain:
        config = config.with_options(residual=True)
    if network.has_tables:
        config = config.with_options(scalar_tables=True)
    layers = plan_layers(network)
    frame = _Frame(network.name, layers, height, width, network.blocks, tuple(inner))
    make_plan(network, _roomy(frame, config), height, width)  # what of the network does not suit the engine
    return _fit(frame, config)


def fit_layers(
    name: str, layers: Sequence[PlanLayer], config: EngineConfig, height: int, width: int, *,
    blocks: bool = False,
) -> EngineConfig:
    """Like ``fit_memories``, for layers of which only the shapes are known, and that ``config`` has what they
    take. ``blocks``: the first one reads the image in 2x2 blocks."""
    return _fit(_Frame(name, tuple(layers), height, width, blocks), config)


def _fit(frame: "_Frame", config: EngineConfig) -> EngineConfig:
    roomy = _roomy(frame, config)
    cycles = frame_cycles(frame.plan(roomy)).total
    fitted = _least_partial_sums(frame, roomy.with_options(max_width=frame.widest(config)), cycles)
    fitted = _least_features(frame, fitted, cycles)
    # Now that it has less to choose from, the planner might get by with still less.
    for depth in reversed(_depths(frame, fitted)[:-1]):
        smaller = fitted.with_options(partial_depth=depth)
        if not frame.runs(smaller, cycles):
            break
        fitted = _least_features(frame, smaller, cycles)
    plan = frame.plan(fitted)
    return fitted.with_options(
        weight_words=max(WEIGHT_WORDS_MIN, plan.weight_words),
        table_words=max(TABLE_WORDS_MIN, table_words(plan)),
    )


@dataclass(frozen=True)
class _Frame:
    """What is to be computed; activation bits do not decide how."""

    name: str
    layers: tuple[PlanLayer, ...]
    height: int
    width: int
    blocks: bool
    inner: tuple[int, ...] = ()

    def plan(self, config: EngineConfig) -> Plan:
        return plan_frame(
            self.name, self.layers, config.activation_bits, config, self.height, self.width,
            blocks=self.blocks, inner=self.inner,
        )  # fmt: skip

    def widest(self, config: EngineConfig) -> int:
        """The ``max_width`` that it needs: for the image's rows, and for the line memory of a 3x3 pooling,
        which has half as many words."""
        shapes = [layer.shape for layer in self.layers]
        first = first_size(self.height, self.width, blocks=self.blocks)
        words = (
            line_words(shape, columns, config)
            for shape, (_, columns) in zip(shapes, map_sizes(shapes, *first), strict=True)
        )
        return max(MAX_WIDTH_MIN, self.width, 2 * max(words))

    def runs(self, config: EngineConfig, cycles: int) -> bool:
        """Whether ``config`` takes the frame and needs no more than ``cycles``."""
        try:
            plan = self.plan(config)
        except InputError:
            return False
        return frame_cycles(plan).total <= cycles


def _roomy(frame: _Frame, config: EngineConfig) -> EngineConfig:
    """With ROMs as large as can be, and rows as wide as wanted if a strip may be as wide."""
    wanted = frame.widest(config)
    widest = max(config.max_width, wanted) if wanted <= config.partial_depth else config.max_width
    return config.with_options(max_width=widest, weight_words=WEIGHT_WORDS_MAX, table_words=TABLE_WORDS_MAX)


def _depths(frame: _Frame, config: EngineConfig) -> list[int]:
    """Every ``partial_depth`` up to the configuration's that may make a difference, ascending: a strip has
    whole rows, so it takes another row of some map to make one."""
    least = max(PARTIAL_DEPTH_MIN, config.max_width)
    widths = {record.width for record in frame.plan(config).records}
    rows = {depth for width in widths for depth in range(width, config.partial_depth, width)}
    return sorted({least, config.partial_depth} | {depth for depth in rows if depth > least})


def _least_partial_sums(frame: _Frame, config: EngineConfig, cycles: int) -> EngineConfig:
    """The smallest ``partial_depth`` that will do. Less may do where more does not: a map may be cut into
    strips of like size, or leave a short one over that does not hide its weight load. So the search goes on
    for PATIENCE depths that will not do."""
    depths = _depths(frame, config)
    best = config
    failed = 0
    while depths and failed < PATIENCE:
        failed += 1
        candidate = config.with_options(partial_depth=depths.pop())
        try:
            plan = frame.plan(candidate)
        except InputError:
            continue
        if frame_cycles(plan).total <= cycles:
            best, failed = candidate, 0
        # No strip is longer than the longest, so down to its length the plan stays the same.
        visited = [(plan.records[visit.record], visit.rows) for visit in plan.visits]
        longest = max(rows * record.width for record, rows in visited if record.layer is not None)
        depths = [depth for depth in depths if depth <= longest]
    return best


def _least_features(frame: _Frame, config: EngineConfig, cycles: int) -> EngineConfig:
    """``feature_words`` of which neither can be smaller."""

    def used(candidate: EngineConfig) -> EngineConfig:
        first, second = frame.plan(candidate).feature_words
        words = max(FEATURE_WORDS_MIN, first), max(FEATURE_WORDS_MIN, second)
        return candidate.with_options(feature_words=words)

    config = used(config)
    while True:
        first, second = config.feature_words
        fewer = [
            config.with_options(feature_words=words)
            for words in ((first - 1, second), (first, second - 1))
            if min(words) >= FEATURE_WORDS_MIN
        ]
        better = next((candidate for candidate in fewer if frame.runs(candidate, cycles)), None)
        if better is None:
            return config
        config = used(better)
