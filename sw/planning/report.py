"""A plan in figures: each layer's cycles and memory, and the whole frame compared with layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.model.network import parse_network
from kestrel.sw.planning.cycles import FrameCycles, frame_cycles, utilisation
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.memory import MemoryNeeds, memory_needs, region_bytes
from kestrel.sw.planning.plan import Plan, Record, plan_frame, shortcut_channels
from kestrel.sw.planning.visit_order import layer_by_layer

DEFAULT_MASK_BITS = "3"
"""Mask bits of a network of which only the name is known, unless others are given."""


@dataclass(frozen=True)
class PlannedShortcut:
    """What a layer adds to its sum: the output of the layer ``source``, as it is or through a ``projection``
    of step ``stride``. ``part`` of the feature memory holds it; ``waits``: its layer writes that part, so
    that in each output group the pipeline drains before the shortcut is read."""

    source: str
    projection: bool
    stride: int
    part: int
    waits: bool


@dataclass(frozen=True)
class PlannedLayer:
    """One layer of a plan.

    ``height`` and ``width`` are those of an image in the map that it works on. ``row_groups`` says that it
    works on three rows at once. ``strip_rows`` is the length of its longest visit. ``part``, ``base``,
    ``slots``, ``stride`` and ``bytes`` describe the region that it writes, in words of a bank and in bytes
    over all banks.
    ``cycles`` = ``streaming`` + ``waiting``; ``exposed`` of these cycles wait for weights alone. ``stride``
    is the region's; ``steps`` is the convolution's stride. ``reads`` is the layer whose output it reads, None
    for the image, ``shortcut`` what it adds besides.
    """

    name: str
    in_channels: int
    out_channels: int
    height: int
    width: int
    pool: bool
    row_groups: bool
    mask_bits: int
    strip_rows: int
    visits: int
    part: int
    base: int
    slots: int
    stride: int
    bytes: int
    weight_words: int
    cycles: int
    streaming: int
    waiting: int
    exposed: int
    utilisation: float
    reads: str | None
    steps: int
    kernel: int
    shortcut: PlannedShortcut | None


@dataclass(frozen=True)
class PlanReport:
    """The whole frame. ``cycles`` are those of the plan; ``whole_maps`` are those that the same frame would
    take with a feature memory that holds every map."""

    layers: tuple[PlannedLayer, ...]
    memory: MemoryNeeds
    image_bytes: int
    cycles: FrameCycles
    whole_maps: FrameCycles
    mac_utilisation: float

    @property
    def exposed(self) -> int:
        """Cycles in which the array waits for weights."""
        return sum(record.exposed for record in self.cycles.records)

    @property
    def ratio(self) -> float:
        """Cycles of all layers, relative to those of running layer by layer."""
        return self.cycles.compute / self.whole_maps.compute


def named_layers(name: str, mask_bits: str) -> tuple[PlanLayer, ...]:
    """The layers, as for planning, of a network of which only name and mask bits are known. Raises
    InputError.

    The first layer is assumed to have pad values, as it does whenever a mean is subtracted from the image.
    """
    shape = parse_network(name)
    bits = parse_mask_plan(mask_bits, shape)
    return tuple(
        PlanLayer(layer, b, shift=0, has_pad=n == 0, reads_image=n == 0 and not shape.blocks,
                  shortcut_channels=shortcut_channels(shape.layers, layer))
        for n, (layer, b) in enumerate(zip(shape.layers, bits, strict=True))
    )


def plan_named(name: str, mask_bits: str, config: EngineConfig, height: int, width: int,
               images: int = 1, inner: Sequence[int] = ()) -> tuple[tuple[PlanLayer, ...], Plan]:
    """The layers of ``named_layers``, and the plan of a frame of ``images`` images of ``height`` x ``width``
    pixels with as many activation bits as ``config`` has. ``inner`` is as for ``make_plan``. Raises
    InputError."""
    layers = named_layers(name, mask_bits)
    return layers, plan_frame(name, layers, config.activation_bits, config, height, width,
                              blocks=parse_network(name).blocks, images=images, inner=inner)


def _planned_shortcut(plan: Plan, record: Record) -> PlannedShortcut | None:
    if record.layer is None or record.layer.shape.shortcut is None or record.shortcut is None:
        return None
    assert record.shortcut_read is not None
    shortcut, part = record.layer.shape.shortcut, record.shortcut_read.part
    name = plan.records[record.shortcut].name
    return PlannedShortcut(name, shortcut.projection, shortcut.stride, part, part == record.written_part)


def report_plan(name: str, layers: Sequence[PlanLayer], plan: Plan) -> PlanReport:
    """The figures of ``plan``, which was made for ``layers`` of the network ``name``."""
    config = plan.config
    cycles = frame_cycles(plan)
    # The model needs only records and visits, so it does not matter that the maps would not fit.
    image = plan.records[0]
    first = image.out_height // plan.images, image.out_width
    visits = layer_by_layer(name, layers, config, *first, plan.blocks, plan.images, plan.inner).visits
    whole = frame_cycles(replace(plan, visits=visits))
    planned: list[PlannedLayer] = []
    for number, (record, counted) in enumerate(zip(plan.records, cycles.records, strict=True)):
        if record.layer is None:
            continue
        assert record.write is not None
        strips = [visit.rows for visit in plan.visits if visit.record == number]
        region = record.write
        planned.append(
            PlannedLayer(
                name=record.name,
                in_channels=record.layer.shape.in_channels, out_channels=record.channels,
                height=record.height // plan.images, width=record.width, pool=record.layer.shape.pool,
                row_groups=record.layer.in_row_groups(config),
                mask_bits=record.layer.mask_bits, strip_rows=max(strips), visits=len(strips),
                part=region.part, base=region.base, slots=region.slots, stride=region.stride,
                bytes=region_bytes(region, config), weight_words=record.weight_words,
                cycles=counted.cycles, streaming=counted.streaming, waiting=counted.waiting,
                exposed=counted.exposed, utilisation=utilisation(counted.macs, counted.cycles, config),
                reads=plan.records[record.source].name if record.source else None,
                steps=record.layer.shape.stride, kernel=record.layer.shape.kernel,
                shortcut=_planned_shortcut(plan, record),
            )
        )  # fmt: skip
    assert image.write is not None
    return PlanReport(
        layers=tuple(planned),
        memory=memory_needs(plan),
        image_bytes=region_bytes(image.write, config),
        cycles=cycles,
        whole_maps=whole,
        mac_utilisation=utilisation(sum(r.macs for r in cycles.layers), cycles.compute, config),
    )
