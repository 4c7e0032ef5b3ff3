"""Closed-form model of the engine's cycles. It equals the cycles counted in the Verilog.

A pass over a strip of n pixels takes n cycles, and the next pass begins in the very next cycle if its tile of
weights has been loaded by then:

    T(pass) = max(n, load(next tile))        load = FILL_CYCLES + beats, + visit_fetch at a new visit
    T(pass) = max(n + drain, load) + 1       when the next pass belongs to another layer
    T(pass) = max(n + drain, load)           when the next pass reads a shortcut's map from the part of the
                                             feature memory that this one has written

where drain is the length of the pipeline. Unless a strip is shorter than a weight load, a layer therefore
takes passes(b) * ceil(C_in / P_i) * ceil(C_out / P_o) * H * W cycles, plus drain + 1 at each change of layer.
(H excludes an odd last row that the pooling would drop, because that row is not computed. In row groups,
ceil(H / 3) replaces H.)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.hw.spec.timing import (
    FILL_CYCLES,
    INPUT_LATENCY,
    OUTPUT_LATENCY,
    bias_hold_cycles,
    block_input_cycles,
    drain_cycles,
    layer_fetch,
    start_cycles,
    visit_fetch,
)
from kestrel.sw.model.network import IMAGE_CHANNELS
from kestrel.sw.planning.geometry import (
    Tile,
    Visit,
    bias_beats,
    group_count,
    last_lanes,
    tile_kinds,
    tile_passes,
    tiles,
    weight_beats,
)
from kestrel.sw.planning.plan import Plan, Record


@dataclass(frozen=True)
class RecordCycles:
    """Cycles of one record of the plan (input, a layer, output), from its hand-over to the next record's.

    ``streaming`` counts the cycles in which a pass (or the stream) moves. ``exposed`` counts those in which
    only the load of the next weights keeps the next pass from starting. The rest is spent on draining and on
    fetching table records. ``macs`` is the number of multiply-accumulates that the layer needs.
    """

    name: str
    kind: int
    cycles: int
    streaming: int
    exposed: int
    macs: int

    @property
    def waiting(self) -> int:
        """Cycles in which nothing moves."""
        return self.cycles - self.streaming


@dataclass(frozen=True)
class FrameCycles:
    """Cycles of a frame, provided that the streams never wait."""

    records: tuple[RecordCycles, ...]
    total: int
    """Cycles in which the engine is busy: start-up, input, layers, output."""
    visit_starts: tuple[int, ...]
    """For each visit of the plan, the cycle of its first hand-over."""

    @property
    def layers(self) -> tuple[RecordCycles, ...]:
        return tuple(r for r in self.records if r.kind == KIND_CONV)

    @property
    def compute(self) -> int:
        """Cycles of the layers alone."""
        return sum(r.cycles for r in self.layers)


STEM_TAPS = 49
"""Taps of the 7x7 kernels that a first layer on blocks computes."""


def utilisation(macs: int, cycles: int, config: EngineConfig) -> float:
    """Share of the array's peak throughput that goes into useful multiply-accumulates."""
    return macs / (cycles * config.macs_per_cycle)


@dataclass(frozen=True)
class _Pass:
    """One hand-over: what is streamed, and what must be ready before the pass can start."""

    streaming: int
    emit: bool
    beats: int  # for pad values and kernels; 0 without weights
    bias_beats: int
    waits: bool = False  # it reads the part that is written: after a pass that emits, the pipeline drains


@dataclass(frozen=True)
class _VisitPasses:
    """The passes of a visit: the first, the last, and ``inner``, the cycles from the first pass's hand-over
    to the last pass's; in ``exposed`` of these the engine waits for weights."""

    first: _Pass
    last: _Pass
    inner: int
    exposed: int
    streaming: int


def frame_cycles(plan: Plan, describing: Sequence[int] = ()) -> FrameCycles:
    """Counts the cycles of a frame pass by pass. ``describing``: for each output, in order, the cycles that a
    descriptor unit takes in its place.

    Of the cycles between two hand-overs, those that exceed the stream (and, before another layer, the drained
    pipeline) count as exposed if the waiting pass has weights to load.
    """
    config = plan.config
    spent = [0] * len(plan.records)
    streaming = [0] * len(plan.records)
    exposed = [0] * len(plan.records)
    starts: list[int] = []
    now = start_cycles(config)  # cycle of the current hand-over
    # Visits to as many rows of a layer are alike, and layers have thousands of tiles. Those to an image in
    # blocks are not: its first row is written with what lies above it.
    known: dict[tuple[int, int, int], _VisitPasses] = {}
    previous: tuple[int, _Pass] | None = None
    for visit in plan.visits:
        key = (visit.record, visit.rows, visit.first_row if plan.blocks and visit.record == 0 else 0)
        if key not in known:
            known[key] = _visit_passes(plan, visit, describing)
        passes = known[key]
        if previous is not None:
            before, last = previous
            taken, waited = _interval(last, passes.first, config, True, visit.record != before)
            spent[before] += taken
            exposed[before] += waited
            now += taken
        starts.append(now)
        now += passes.inner
        spent[visit.record] += passes.inner
        exposed[visit.record] += passes.exposed
        streaming[visit.record] += passes.streaming
        previous = visit.record, passes.last
    assert previous is not None
    ending = max(previous[1].streaming, visit_fetch(config) + 1)
    spent[previous[0]] += ending
    return FrameCycles(
        tuple(
            RecordCycles(record.name, record.kind, spent[n], streaming[n], exposed[n], _macs(plan, n))
            for n, record in enumerate(plan.records)
        ),
        now + ending,
        tuple(starts),
    )


def _interval(
    current: _Pass, following: _Pass, config: EngineConfig, new_visit: bool, new_layer: bool
) -> tuple[int, int]:
    """Cycles from one pass's hand-over to the next one's, and those in which only weights are waited for."""
    fetch = visit_fetch(config) * new_visit + layer_fetch(config) * new_layer
    if following.beats:
        loaded = fetch + FILL_CYCLES + following.beats
        if following.bias_beats:
            loaded = max(loaded, bias_hold_cycles(config.input_lanes) * current.emit) + following.bias_beats
    else:
        loaded = fetch + 1
    moving = current.streaming + drain_cycles(config) * (new_layer or (following.waits and current.emit))
    return max(moving, loaded) + new_layer, max(0, loaded - moving) * (following.beats > 0)


def _visit_passes(plan: Plan, visit: Visit, describing: Sequence[int]) -> _VisitPasses:
    config = plan.config
    record = plan.records[visit.record]
    if describing and record.kind == KIND_OUTPUT:
        only = _Pass(describing[visit.record - len(plan.records)], False, 0, 0)
        return _VisitPasses(only, only, 0, 0, only.streaming)
    if record.layer is None:
        if plan.blocks and record.kind == KIND_INPUT:
            first_row = visit.first_row % (record.out_height // plan.images)
            cycles = block_input_cycles(config, plan.height, plan.width, first_row, visit.rows)
            only = _Pass(cycles, False, 0, 0)
            return _VisitPasses(only, only, 0, 0, only.streaming)
        pixels = visit.rows * record.width
        extra = INPUT_LATENCY if record.kind == KIND_INPUT else OUTPUT_LATENCY
        only = _Pass(pixels * _beats_per_pixel(record, config) + extra, False, 0, 0)
        return _VisitPasses(only, only, 0, 0, only.streaming)
    rows = group_count(visit.rows, record.layer.rows_at_once(config))
    waits = record.shortcut_read is not None and record.shortcut_read.part == record.written_part
    kinds: list[_Pass] = []
    numbers: dict[Tile, list[int]] = {}  # the positions of a tile's passes in ``kinds``
    for tile in tile_kinds(record.layer, config):
        beats, biases = weight_beats(tile, record.layer, config), bias_beats(tile, config)
        passes = tile_passes(tile, record.layer)
        pixels = rows * record.layer.pass_columns(tile, record.width)
        numbers[tile] = list(range(len(kinds), len(kinds) + passes))
        kinds += [
            _Pass(pixels, tile.last_in and n == passes - 1, beats, biases, tile.shortcut and waits)
            for n in range(passes)
        ]
    order = [number for tile in tiles(record.layer, config) for number in numbers[tile]]
    intervals = [
        (count, *_interval(kinds[a], kinds[b], config, False, False))
        for (a, b), count in Counter(pairwise(order)).items()
    ]
    return _VisitPasses(
        kinds[order[0]],
        kinds[order[-1]],
        inner=sum(count * taken for count, taken, _ in intervals),
        exposed=sum(count * waited for count, _, waited in intervals),
        streaming=sum(kinds[number].streaming for number in order),
    )


def _beats_per_pixel(record: Record, config: EngineConfig) -> int:
    """Beats of the image stream, or words of the feature stream, for each pixel."""
    words = group_count(record.channels, config.word_lanes)
    if record.kind != KIND_INPUT:
        return words
    full = group_count(config.word_lanes, config.stream_bytes)
    return (words - 1) * full + group_count(
        last_lanes(record.channels, config.word_lanes), config.stream_bytes
    )


def _macs(plan: Plan, number: int) -> int:
    record = plan.records[number]
    if record.layer is None:
        return 0
    shape = record.layer.shape
    inputs = shape.kernel**2 * shape.in_channels
    if plan.blocks and number == 1:  # the taps of the 7x7 kernels, not those by which blocks cover them
        inputs = STEM_TAPS * IMAGE_CHANNELS
    if shape.shortcut is not None and shape.shortcut.projection:
        inputs += record.layer.shortcut_channels
    return inputs * shape.out_channels * record.rows * record.conv_width
