"""Finds the mask bits of every layer from a float network and a target.

Measured sensitivities and an exact search (``search``) give a plan. The sum of the layers' sensitivities does
not capture how layers affect each other. The sensitivities are therefore measured again around that plan and
the search is repeated, until the plan no longer changes. Then plans near the best one are tried, the most
promising first. Plans are compared by the network's descriptors with all their masks at once, in floating
point; the resulting plan is compressed and its integers are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.allocate.batches import BatchesHere
from kestrel.sw.allocate.costs import POINT_BITS, layer_costs
from kestrel.sw.allocate.measure import Distortion, PlanMeasure
from kestrel.sw.allocate.pieces import Spread, identity_of
from kestrel.sw.allocate.search import (
    Plan,
    Point,
    best_points,
    make_point,
    neighbours,
    within_distortion,
    within_size,
)
from kestrel.sw.allocate.sensitivity import Disturbance, Sensitivity
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE, CalibrationPictures, Progress, silent
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.model.graph import owners
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.model.preprocessing import check_activation_bits, find_preprocessing
from kestrel.sw.model.weights import FloatNetwork

DEFAULT_WIDTHS = (1, 2, 3)
"""The mask bits that take one pass of the array."""

DEFAULT_ROUNDS = 3
"""The largest number of times that sensitivities are measured again."""

DEFAULT_TRIALS = 16
"""The largest number of plans near the best one that are tried."""

CORRECTIONS = 4
"""The most searches for a cosine, each corrected by what the integers of the one before lacked."""


@dataclass(frozen=True)
class Target:
    """Either ``bits``, the most that masks and scalars may take, or ``cosine``, the lowest mean cosine of the
    descriptors. ``cycles`` is the most cycles, relative to one pass for each layer. Raises InputError."""

    bits: int | None = None
    cosine: float | None = None
    cycles: float = 1.0

    def __post_init__(self) -> None:
        assert (self.bits is None) != (self.cosine is None)
        if self.cosine is not None and not 0 < self.cosine < 1:
            raise InputError(f"cosine {self.cosine:g}; allowed: between 0 and 1")
        if not self.cycles >= 1:
            raise InputError(f"cycles {self.cycles:g}; allowed: 1 (one pass a layer) or more")


@dataclass(frozen=True)
class MeasuredPlan:
    """A plan with its size, its relative cycles, and its distortion: predicted as the sum of sensitivities,
    measured in floating point with all masks, and measured in integers on the calibration pictures."""

    plan: Plan
    bits: int
    cycles: float
    predicted: float
    masks_only: float
    distortion: Distortion


@dataclass(frozen=True)
class Allocation:
    """``found`` is the plan, ``first`` the one that the search gave before anything was measured again.
    ``front`` holds the best plans of all sizes by the sum of sensitivities. ``tried`` is the number of plans
    that were measured, most of them in floating point."""

    target: Target
    front: tuple[Point, ...]
    first: MeasuredPlan
    found: MeasuredPlan
    tried: int


class Allocator:
    """Measures the sensitivities of ``network`` once; ``find`` then gives a plan for any target.

    ``widths`` are the mask bits to choose from; scalars have ``scalar_bits`` in every layer. ``spread`` says
    where masks are measured (None: here); integers always are here. Raises InputError for options outside
    their range.
    """

    def __init__(self, network: FloatNetwork, pictures: CalibrationPictures, *, preprocessing: str,
                 widths: Sequence[int] = DEFAULT_WIDTHS, fit: str = "least-squares", activation_bits: int = 8,
                 percentile: float = DEFAULT_PERCENTILE, progress: Progress = silent,
                 scalar_bits: int = SCALAR_BITS, spread: Spread | None = None) -> None:
        prepared = find_preprocessing(preprocessing)
        check_activation_bits(activation_bits)
        self.network = network
        self.costs = layer_costs(network.shape, widths, pictures.height, pictures.width, scalar_bits)
        fits = LayerFits(network, prepared, pictures, fit, progress)
        self.integers = PlanMeasure(fits, pictures, preprocessing, activation_bits, percentile,
                                    scalar_bits)
        self._widths = tuple(sorted(widths))
        self._progress = progress
        here = BatchesHere(fits, pictures, prepared, scalar_bits)
        self._disturbance = Disturbance(here if spread is None else spread(here, identity_of(
            network, pictures, preprocessing, fit, scalar_bits)))
        self._known: dict[Plan, float] = {}
        self._tables: dict[Plan | None, Sensitivity] = {}
        self.sensitivity = self._around(None)

    def find(self, target: Target, rounds: int = DEFAULT_ROUNDS, trials: int = DEFAULT_TRIALS) -> Allocation:
        """The plan for a target. Raises InputError if no plan meets it, or for negative numbers."""
        for name, value in (("rounds", rounds), ("trials", trials)):
            if value < 0:
                raise InputError(f"{name} {value}; allowed: 0 or more")
        before = len(self._known)
        front = self._front(self.sensitivity, target)
        if target.bits is not None:
            first = self._choose(front, target)
            found = self._search(first, target, rounds, trials)
        else:
            first, found = self._search_cosine(front, target, rounds, trials)
        return Allocation(target, front, self.measured(first), self.measured(found),
                          len(self._known) - before)

    def measured(self, plan: Plan) -> MeasuredPlan:
        """Compresses and measures any plan."""
        point = make_point(plan, self.costs, self.sensitivity.summands())
        return MeasuredPlan(plan, point.bits, point.cycles / self.costs.cycles, point.distortion,
                            self._masks_only(plan), self.integers(plan))

    def _front(self, sensitivity: Sensitivity, target: Target) -> tuple[Point, ...]:
        front = best_points(self.costs, sensitivity.summands(), int(target.cycles * self.costs.cycles))
        if not front:
            raise InputError(f"mask widths {', '.join(map(str, self._widths))} with at most "
                             f"{target.cycles:g} times the cycles of one pass; allowed: 1..3, or more cycles")
        return front

    def _choose(self, front: Sequence[Point], target: Target) -> Plan:
        """The front's plan for the target, or the one nearest to it. Raises InputError if the target size is
        too small."""
        if target.bits is None:
            assert target.cosine is not None
            return within_distortion(front, 1 - target.cosine).plan
        point = within_size(front, target.bits)
        if point is None:
            smallest = self.costs.smallest
            raise InputError(f"target size {target.bits:,} bits; allowed: at least {smallest:,} "
                             f"({smallest / self.costs.weights:.3f} a weight, every layer at its narrowest)")
        return point.plan

    def _search_cosine(self, front: Sequence[Point], target: Target, rounds: int,
                       trials: int) -> tuple[Plan, Plan]:
        """Searches for plans whose masks alone reach a cosine, which is raised until the integers reach the
        target too."""
        assert target.cosine is not None
        widest = front[-1].plan
        if self.integers(widest).cosine < target.cosine:
            raise InputError(f"cosine {target.cosine:g}; allowed: up to {self.integers(widest).cosine:.6f}, "
                             "which the widest masks reach")
        first = self._choose(front, target)
        aim, found = target.cosine, widest
        for _ in range(CORRECTIONS):
            if not aim < 1 - self._masks_only(widest):
                return first, widest
            found = self._search(self._choose(front, replace(target, cosine=aim)),
                                 replace(target, cosine=aim), rounds, trials)
            lacking = target.cosine - self.integers(found).cosine
            if lacking <= 0:
                return first, found
            aim += 1.1 * lacking
        return first, widest

    def _search(self, start: Plan, target: Target, rounds: int, trials: int) -> Plan:
        """The best plan by its masks alone. Repeats: measure the sensitivities around a plan, and take the
        best plan according to them as the next one. Then tries plans near the best."""
        plan = start
        best = min([start, *self._usual(target)], key=lambda p: self._rank(p, target))
        visited: set[Plan] = set()
        for _ in range(rounds):
            visited.add(plan)
            following = self._choose(self._front(self._around(plan), target), target)
            near = [p for p in neighbours(plan, self.costs, 1) if self._affordable(p, target)]
            best = min([best, plan, following, *near], key=lambda p: self._rank(p, target))
            plan = best if following in visited else following
            if plan in visited:
                break
        return self._try_near(best, target, trials)

    def _usual(self, target: Target) -> list[Plan]:
        """The plans that one would take without measuring: for any two widths, the wider one in as many of
        the first layers as the target allows."""
        plans: list[Plan] = []
        for narrow, wide in combinations(self._widths, 2):
            loaded = [front_loaded(self.network.shape, wide, narrow, count)
                      for count in range(len(self.costs.choices) + 1)]
            plans += [plan for plan in loaded if self._affordable(plan, target)][-1:]
        return plans

    def _try_near(self, best: Plan, target: Target, trials: int) -> Plan:
        with self._progress("trials", trials) as advance:
            while trials > 0:
                table = self._tables.get(best) or self._nearest_table(best)
                points = [make_point(plan, self.costs, table.summands())
                          for plan in neighbours(best, self.costs, 2)
                          if plan not in self._known and self._affordable(plan, target)]
                for point in sorted(points, key=lambda p: self._score(p.bits, p.distortion, target)):
                    trials -= 1
                    advance(1)
                    if self._rank(point.plan, target) < self._rank(best, target):
                        best = point.plan
                        break
                    if trials == 0:
                        return best
                else:
                    return best
        return best

    def _nearest_table(self, plan: Plan) -> Sensitivity:
        """The sensitivities around the plan that differs from ``plan`` in the fewest layers."""
        def different(base: Plan | None) -> int:
            return len(plan) if base is None else sum(a != b for a, b in zip(plan, base, strict=True))

        return self._tables[min(self._tables, key=different)]

    def _affordable(self, plan: Plan, target: Target) -> bool:
        if self.costs.plan_cycles(plan) > target.cycles * self.costs.cycles:
            return False
        return target.bits is None or self.costs.bits(plan) <= target.bits

    def _rank(self, plan: Plan, target: Target) -> tuple[float, float, float]:
        return self._score(self.costs.bits(plan), self._masks_only(plan), target)

    def _score(self, bits: int, distortion: float, target: Target) -> tuple[float, float, float]:
        """Less is better. For a target size this is the distortion; for a target cosine, once it is reached,
        the size."""
        if target.cosine is None:
            return 0, distortion, bits
        if distortion <= 1 - target.cosine:
            return 0, bits, distortion
        return 1, distortion, bits

    def _masks_only(self, plan: Plan) -> float:
        if plan not in self._known:
            self._known[plan] = self._disturbance.measure(plan)
        return self._known[plan]

    def _around(self, base: Plan | None) -> Sensitivity:
        """The sensitivities around ``base``, measured once. If ``base`` is a plan, they also measure all
        plans that differ from it in one layer."""
        if base not in self._tables:
            table = self._disturbance.around(
                base, [[choice.mask_bits for choice in layer] for layer in self.costs.choices],
                self._progress)
            self._tables[base] = table
            if base is not None:
                self._known[base] = table.at_base
                for position, layer in enumerate(table.descriptor):
                    for width, value in layer.items():
                        self._known[(*base[:position], width, *base[position + 1 :])] = value
        return self._tables[base]


def front_loaded(shape: NetworkShape, wide: int, narrow: int, count: int) -> Plan:
    """The source paper's choice: ``wide`` masks in the first ``count`` layers that have integers of their
    own, ``narrow`` in the others; 1x1 kernels as they must be."""
    kernels = (shape.layers[number].kernel for number in owners(shape.layers))
    return tuple(POINT_BITS if kernel == 1 else wide if n < count else narrow
                 for n, kernel in enumerate(kernels))
