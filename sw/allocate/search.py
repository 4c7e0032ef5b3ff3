"""The choice of mask widths, which is exact as far as the layers' distortions add up.

Every layer has a few widths, each with its bits, cycles and distortion. The distortions of layers are assumed
to add up (as small errors of independent sources do, in squares). The best plan for every size can then be
found at once. Of the plans for the first layers, any that is no better than another one in bits, cycles and
distortion can be dropped, whatever follows; what is left after the last layer is the whole front. Sizes are
integers and few of their sums differ, so the lists stay short. Unlike the Lagrangian relaxation (minimise
distortion + lambda * bits), this also finds points that lie inside the convex hull.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, product

from kestrel.sw.allocate.costs import Costs
from kestrel.sw.model.graph import owners
from kestrel.sw.model.network import ConvShape

Plan = tuple[int, ...]
"""The mask bits of each layer that has integers of its own."""

Distortions = Sequence[dict[int, float]]
"""For each layer, the distortion by mask bits when only this layer is compressed."""


@dataclass(frozen=True)
class Point:
    """A plan with its stored bits, its cycles, and the sum of its layers' distortions."""

    plan: Plan
    bits: int
    cycles: int
    distortion: float


def make_point(plan: Sequence[int], costs: Costs, distortions: Distortions) -> Point:
    total = sum(layer[width] for layer, width in zip(distortions, plan, strict=True))
    return Point(tuple(plan), costs.bits(plan), costs.plan_cycles(plan), total)


def best_points(costs: Costs, distortions: Distortions, cycles_max: int) -> tuple[Point, ...]:
    """All plans within ``cycles_max`` to which no other has fewer bits and at most the same distortion, by
    rising bits and strictly falling distortion. Empty if no plan is within ``cycles_max``."""
    points = [Point((), 0, 0, 0.0)]
    rest = sum(min(choice.cycles for choice in layer) for layer in costs.choices)
    for layer, distortion in zip(costs.choices, distortions, strict=True):
        rest -= min(choice.cycles for choice in layer)
        points = _undominated(
            Point((*p.plan, c.mask_bits), p.bits + c.bits, p.cycles + c.cycles,
                  p.distortion + distortion[c.mask_bits])
            for p in points for c in layer if p.cycles + c.cycles + rest <= cycles_max
        )  # fmt: skip
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bits, p.distortion)):  # fewer cycles no longer count
        if not front or point.distortion < front[-1].distortion:
            front.append(point)
    return tuple(front)


def _undominated(points: Iterator[Point]) -> list[Point]:
    """The points to which no other is at least as good in bits, cycles and distortion, by rising bits."""
    kept: list[Point] = []
    # The points so far, none of which has more bits: their cycles rise and their distortions fall.
    cycles: list[int] = []
    least: list[float] = []
    for point in sorted(points, key=lambda p: (p.bits, p.cycles, p.distortion, p.plan)):
        place = bisect_right(cycles, point.cycles)
        if place and least[place - 1] <= point.distortion:
            continue
        kept.append(point)
        first = bisect_left(cycles, point.cycles)
        last = first
        while last < len(least) and least[last] >= point.distortion:
            last += 1
        cycles[first:last], least[first:last] = [point.cycles], [point.distortion]
    return kept


def within_size(front: Sequence[Point], bits: int) -> Point | None:
    """The point of lowest distortion with at most ``bits``, or None."""
    place = bisect_right([point.bits for point in front], bits)
    return front[place - 1] if place else None


def within_distortion(front: Sequence[Point], distortion: float) -> Point:
    """The smallest point with at most ``distortion``, or else the one of lowest distortion."""
    return next((point for point in front if point.distortion <= distortion), front[-1])


def neighbours(plan: Plan, costs: Costs, layers: int) -> Iterator[Plan]:
    """Every plan that differs from ``plan`` in one up to ``layers`` layers."""
    others = [[choice.mask_bits for choice in layer if choice.mask_bits != width]
              for layer, width in zip(costs.choices, plan, strict=True)]
    for count in range(1, layers + 1):
        for places in combinations(range(len(plan)), count):
            for widths in product(*(others[n] for n in places)):
                changes = dict(zip(places, widths, strict=True))
                yield tuple(changes.get(n, width) for n, width in enumerate(plan))


def for_every_layer(plan: Plan, layers: Sequence[ConvShape]) -> tuple[int, ...]:
    """The mask bits of all layers, those that share another's integers included."""
    widths = dict(zip(owners(layers), plan, strict=True))
    return tuple(widths[n if layer.shares is None else layer.shares] for n, layer in enumerate(layers))


def plan_text(plan: Plan) -> str:
    """A plan in the form that ``kestrel compress --mask-bits`` takes: 3*7,1*6."""
    return ",".join(f"{width}*{len(list(run))}" for width, run in groupby(plan))
