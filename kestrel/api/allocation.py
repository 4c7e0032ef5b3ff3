"""Choosing the mask bits of every layer for a target size or distortion."""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.api.networks import MaskBits, mask_plan
from kestrel.api.pictures import Pictures, calibration_pictures
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.sw.allocate.allocate import (
    DEFAULT_ROUNDS,
    DEFAULT_TRIALS,
    DEFAULT_WIDTHS,
    Allocation,
    Allocator,
    MeasuredPlan,
    Target,
    front_loaded,
)
from kestrel.sw.allocate.costs import Costs
from kestrel.sw.allocate.measure import Distortion, Gauge, in_memory
from kestrel.sw.allocate.pieces import Spread, remove_parts, spread_over
from kestrel.sw.allocate.search import Plan
from kestrel.sw.allocate.sensitivity import Sensitivity
from kestrel.sw.cluster.runner import Cluster, open_runner
from kestrel.sw.common.store import Place
from kestrel.sw.common.threads import one_thread
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE, CalibrationPictures, Progress, silent
from kestrel.sw.model.graph import owners
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.sizes import Size

PICTURES_MAX = 1024
LARGEST_TARGET = 1 << 40


@dataclass(frozen=True)
class AllocationTarget:
    """The target of an allocation, which is exactly one of the first four fields; the others stay None.

    ``bits_per_weight`` is the most stored bits for each weight, scalars included. ``size_bytes`` is the most
    bytes of masks and scalars. ``size_of`` asks for a size no larger than that of these mask bits. ``cosine``
    is the lowest mean cosine of the descriptors with the float network's. In addition, ``max_cycles`` is the
    most cycles, relative to one pass for each layer (4 and 5 bits take 2 and 3 passes). Raises InputError.
    """

    bits_per_weight: float | None = None
    size_bytes: int | None = None
    size_of: MaskBits | None = None
    cosine: float | None = None
    max_cycles: float = 1.0

    def __post_init__(self) -> None:
        targets = {"--bits-per-weight": self.bits_per_weight, "--bytes": self.size_bytes,
                   "--size-of": self.size_of, "--cosine": self.cosine}
        given = [name for name, value in targets.items() if value is not None]
        if len(given) != 1:
            raise InputError(f"targets given: {', '.join(given) or 'none'}; "
                             f"allowed: one of {', '.join(targets)}")
        for name in given:
            value = targets[name]
            if name != "--size-of" and isinstance(value, int | float) and not 0 < value < LARGEST_TARGET:
                raise InputError(f"{name} {value:g}; allowed: above 0")


@dataclass(frozen=True)
class AllocationSettings:
    """How sensitivities are measured and plans are searched. Raises InputError.

    ``widths`` are the mask bits to choose from (None: 1, 2 and 3, or all of them if more cycles are allowed).
    ``scalar_bits``, of 8, 4, 3 and 2, are those of every layer.
    ``fit``, ``activation_bits``, ``preprocessing``, ``size`` and ``percentile`` are as for ``compress``.
    ``pictures`` is the number of pictures used of those given, spread evenly. ``rounds`` is the largest
    number of times that sensitivities are measured again. ``trials`` is the largest number of plans near the
    best one that are tried.
    """

    widths: tuple[int, ...] | None = None
    fit: str = "least-squares"
    activation_bits: int = 8
    preprocessing: str = "torchvision"
    size: Size = 112
    pictures: int = 16
    percentile: float = DEFAULT_PERCENTILE
    rounds: int = DEFAULT_ROUNDS
    trials: int = DEFAULT_TRIALS
    scalar_bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.pictures <= PICTURES_MAX:
            raise InputError(f"pictures {self.pictures}; allowed: 1..{PICTURES_MAX}")


@dataclass(frozen=True)
class AllocationRun:
    """How an allocation is measured in pieces.

    ``parts`` is a folder for finished parts, or a URL of fsspec's, from which a stopped run continues; all
    workers share it. ``cluster`` is where the pieces run (None: in this process, one after another).
    """

    parts: Place
    cluster: Cluster | None = None


@dataclass(frozen=True)
class AllocationStudy:
    """The result of an allocation.

    ``allocation`` is the plan and how it was found. ``compared`` are other plans, measured in the same way.
    ``held_out`` holds, by plan, the distortion measured on other pictures. ``costs`` and ``sensitivity`` are
    those of every layer and width. ``pictures`` and ``held_out_pictures`` are the numbers of pictures on
    which was measured. Plans, costs and sensitivities have an entry for each layer that has integers of its
    own.
    """

    allocation: Allocation
    compared: tuple[MeasuredPlan, ...]
    held_out: dict[Plan, Distortion]
    costs: Costs
    sensitivity: Sensitivity
    shape: NetworkShape
    pictures: int
    held_out_pictures: int

    @property
    def mask_bits(self) -> Plan:
        """The mask bits found, one number for each layer that has integers of its own, as ``compress`` takes
        them."""
        return self.allocation.found.plan


def allocate(
    weights: FloatNetwork, pictures: Pictures, target: AllocationTarget,
    settings: AllocationSettings | None = None, *, compare: Sequence[MaskBits] = (),
    held_out: Pictures | None = None, run: AllocationRun | None = None, progress: Progress | None = None,
) -> AllocationStudy:
    """Chooses mask bits layer by layer, from measured sensitivities.

    The result is compared with the largest plan of no greater size that gives 3 bits to the first layers and
    1 bit to the others, with ``target.size_of``, and with the plans of ``compare``.

    Sensitivities are measured on ``pictures``. ``held_out`` are other pictures, on which the plans are
    measured again. ``run`` measures in pieces, in one thread each (None: here, in all threads); the result is
    the same for any number of workers. Raises InputError, also if no plan meets the target.
    """
    if run is None:
        return _allocate(weights, pictures, target, settings, compare, held_out, None, progress)
    with one_thread(), open_runner(run.cluster or Cluster()) as runner:
        found = _allocate(weights, pictures, target, settings, compare, held_out,
                          spread_over(runner, run.parts), progress)
    remove_parts(run.parts)
    return found


def _allocate(weights: FloatNetwork, pictures: Pictures, target: AllocationTarget,
              settings: AllocationSettings | None, compare: Sequence[MaskBits], held_out: Pictures | None,
              spread: Spread | None, progress: Progress | None) -> AllocationStudy:
    settings, progress, shape = settings or AllocationSettings(), progress or silent, weights.shape
    widths = settings.widths or (tuple(MASK_BITS) if target.max_cycles > 1 else DEFAULT_WIDTHS)
    plans = [_plan(bits, shape, widths) for bits in compare]
    like = None if target.size_of is None else _plan(target.size_of, shape, widths)
    chosen = in_memory(calibration_pictures(pictures, settings.size), settings.pictures)
    others = None
    if held_out is not None:
        others = in_memory(calibration_pictures(held_out, settings.size), settings.pictures)
    allocator = Allocator(
        weights, chosen, preprocessing=settings.preprocessing, widths=widths, fit=settings.fit,
        activation_bits=settings.activation_bits, percentile=settings.percentile, progress=progress,
        scalar_bits=settings.scalar_bits, spread=spread,
    )  # fmt: skip
    costs = allocator.costs
    bits = (int(target.bits_per_weight * costs.weights) if target.bits_per_weight is not None
            else target.size_bytes * 8 if target.size_bytes is not None
            else costs.bits(like) if like is not None else None)
    allocation = allocator.find(Target(bits, target.cosine, target.max_cycles), settings.rounds,
                                settings.trials)
    found = allocation.found
    paper = _paper(shape, costs, found.bits if bits is None else bits)
    wanted = dict.fromkeys(plan for plan in (paper, like, *plans) if plan is not None and plan != found.plan)
    with progress("comparing", len(wanted) + 1) as advance:
        compared: list[MeasuredPlan] = []
        for plan in wanted:
            compared.append(allocator.measured(plan))
            advance(1)
        seen = _measure(allocator, [found, *compared], settings.preprocessing, others)
        advance(1)
    return AllocationStudy(allocation, tuple(compared), seen, costs, allocator.sensitivity, shape,
                           len(chosen.names), 0 if others is None else len(others.names))


def _plan(bits: MaskBits, shape: NetworkShape, widths: Sequence[int]) -> Plan:
    every = mask_plan(bits, shape)
    plan = tuple(every[number] for number in owners(shape.layers))
    free = {width for width, layer in zip(every, shape.layers, strict=True) if layer.kernel == 3}
    if not free <= set(widths):
        raise InputError(f"mask bits {bits!r}; allowed here: {', '.join(map(str, sorted(widths)))}, "
                         "the widths to choose from")
    return plan


def _paper(shape: NetworkShape, costs: Costs, bits: int) -> Plan | None:
    """The largest plan of at most ``bits`` that gives 3 bits to the first layers and 1 bit to the others."""
    widths = {choice.mask_bits for layer in costs.choices for choice in layer}
    if not {1, 3} <= widths:
        return None
    plans = [front_loaded(shape, 3, 1, count) for count in range(len(costs.choices) + 1)]
    return max((plan for plan in plans if costs.bits(plan) <= bits), key=costs.bits, default=None)


def _measure(allocator: Allocator, plans: Sequence[MeasuredPlan], preprocessing: str,
             others: CalibrationPictures | None) -> dict[Plan, Distortion]:
    if others is None:
        return {}
    gauge = Gauge(allocator.network, preprocessing, others)
    return {m.plan: gauge.measure(allocator.integers.compress(m.plan)) for m in plans}
