"""Functional coverage of the engine: which combinations of what a visit may be the drawn frames contain.

The collector is our own and not ``cocotb-coverage``: that one samples inside a running cocotb bench, and the
frames of the nightly set run in a harness without Python. What is crossed here follows from network, plan
and pauses alone, before anything is simulated. All values of ten axes together would be thousands of bins, of
which most differ in nothing that the engine could notice; so the bins are the values of each axis and the
pairs of values of each two axes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import combinations

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.table import KIND_CONV
from kestrel.sw.planning.geometry import Visit, longest_load
from kestrel.sw.planning.plan import Plan, Record

SMALL = 64
"""Pixels of a layer's map up to which it counts as small: the pipeline drains about as long as it works."""

Bin = tuple[tuple[str, str], ...]
"""One or two values, each with the name of its axis."""


@dataclass(frozen=True)
class Sample:
    """A visit of a layer, as values of the axes.

    in_lanes, out_lanes: whether the last group of channels fills the lanes; strip: whether a tile's work in
    this visit takes less or more cycles than the longest load of weights, behind which it hides; stalls:
    whether the streams pause; size: of the layer's map; edge: the map's least side, as far as windows at its
    borders differ by it.
    """

    mask_bits: str
    passes: str
    pooling: str
    row_groups: str
    in_lanes: str
    out_lanes: str
    strip: str
    stalls: str
    size: str
    edge: str


AXES = tuple(field.name for field in fields(Sample))


@dataclass(frozen=True)
class Crosses:
    """``hits`` are the possible bins with how many visits were in each, 0 for those that none was in."""

    hits: dict[Bin, int]

    @property
    def covered(self) -> int:
        return sum(count > 0 for count in self.hits.values())

    @property
    def never(self) -> tuple[Bin, ...]:
        """Bins that no visit was in."""
        return tuple(found for found, count in self.hits.items() if not count)


def samples(plan: Plan, *, pauses: bool) -> Iterator[Sample]:
    """The visits of layers in a frame."""
    for visit in plan.visits:
        record = plan.records[visit.record]
        if record.kind == KIND_CONV:
            yield _sample(plan, record, visit, pauses)


def cross(found: Iterable[Sample], configs: Iterable[EngineConfig]) -> Crosses:
    """Counts the visits in each bin that any of the engines may reach."""
    configs = list(configs)
    hits: Counter[Bin] = Counter(dict.fromkeys(possible_bins(configs), 0))
    for sample in found:
        values = [(axis, getattr(sample, axis)) for axis in AXES]
        for value in values:
            hits[value,] += 1
        for pair in combinations(values, 2):
            hits[pair] += 1
    return Crosses(dict(hits))


def possible_bins(configs: Iterable[EngineConfig]) -> list[Bin]:
    """The values that at least one of the engines has, and the pairs of them that are not excluded."""
    found: dict[Bin, None] = {}
    for config in configs:
        values = _values(config)
        found |= dict.fromkeys(((axis, value),) for axis in AXES for value in values[axis])
        for a, b in combinations(AXES, 2):
            for first in values[a]:
                for second in values[b]:
                    pair = (a, first), (b, second)
                    if not _excluded(dict(pair), config):
                        found[pair] = None
    return list(found)


def _values(config: EngineConfig) -> dict[str, list[str]]:
    fill = ["full", "partial"]
    return {
        "mask_bits": [str(bits) for bits in config.mask_widths],
        "passes": sorted({str(PASSES[bits]) for bits in config.mask_widths}),
        "pooling": ["none", "2x2", *(["3x3"] if config.residual else [])],
        "row_groups": ["no", *(["yes"] if config.row_groups else [])],
        "in_lanes": fill if config.input_lanes > 1 else ["full"],
        "out_lanes": fill if config.output_lanes > 1 else ["full"],
        "strip": ["shorter", "longer"],
        "stalls": ["none", "some"],
        "size": ["one pixel", "small", "large"],
        "edge": ["1", "2", "more"],
    }


def _excluded(pair: dict[str, str], config: EngineConfig) -> bool:
    """Pairs that cannot be, by definition."""
    bits, passes = pair.get("mask_bits"), pair.get("passes")
    if bits and passes and str(PASSES[int(bits)]) != passes:
        return True
    # Row groups are for layers of one pass without pooling, on the image, whose channels leave lanes free.
    if pair.get("row_groups") == "yes" and (
        (bits and PASSES[int(bits)] > 1) or passes not in (None, "1") or pair.get("pooling", "none") != "none"
    ):
        return True
    if pair.get("row_groups") == "yes" and pair.get("in_lanes") == "partial" and config.group_lanes == 1:
        return True
    size, edge = pair.get("size"), pair.get("edge")
    if size == "one pixel" and edge not in (None, "1"):
        return True
    # A window of the pooling needs two rows and two columns.
    pooled = pair.get("pooling", "none") == "2x2"
    return pooled and (size == "one pixel" or edge == "1")


def _sample(plan: Plan, record: Record, visit: Visit, pauses: bool) -> Sample:
    layer, config = record.layer, plan.config
    assert layer is not None
    shape = layer.shape
    rows_at_once = layer.rows_at_once(config)
    passes = PASSES[layer.mask_bits]
    work = passes * -(-visit.rows // rows_at_once) * record.conv_width
    height, width = record.height // plan.images, record.width
    pixels, least = height * width, min(height, width)
    in_lanes = config.group_lanes if rows_at_once > 1 else config.input_lanes
    return Sample(
        mask_bits=str(layer.mask_bits),
        passes=str(passes),
        pooling=f"{shape.pool_size}x{shape.pool_size}" if shape.pool else "none",
        row_groups="yes" if rows_at_once > 1 else "no",
        in_lanes="partial" if shape.in_channels % in_lanes else "full",
        out_lanes="partial" if shape.out_channels % config.output_lanes else "full",
        strip="longer" if work >= longest_load(layer, config) else "shorter",
        stalls="some" if pauses else "none",
        size="one pixel" if pixels == 1 else "small" if pixels <= SMALL else "large",
        edge=str(least) if least <= 2 else "more",
    )
