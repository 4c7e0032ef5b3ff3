"""Closed-form model of the engine's cycles; the counted cycles of the Verilog equal it.

A pass over a strip of n pixels takes n cycles, and the next one begins in the very next cycle if its tile
of weights is loaded by then:

    T(pass) = max(n, load(next tile))        load = FILL_CYCLES + beats, + VISIT_FETCH at a new visit
    T(pass) = max(n + drain, load) + 1       when the next pass belongs to another layer

with drain the length of the pipeline. Per layer that is passes(b) * ceil(C_in / P_i) * ceil(C_out / P_o) *
H * W, plus drain + 1 at each change of layer, unless a strip is shorter than a weight load. (H without an
odd last row that the pooling would drop: it is not computed.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec import (
    FILL_CYCLES,
    KIND_CONV,
    KIND_INPUT,
    LAYER_FETCH,
    OUTPUT_LATENCY,
    PASSES,
    START_CYCLES,
    TAPS,
    VISIT_FETCH,
    EngineConfig,
    bias_hold_cycles,
    drain_cycles,
)
from sw.geometry import bias_beats, group_count, last_lanes, tiles, weight_beats
from sw.plan import Plan, Record


@dataclass(frozen=True)
class RecordCycles:
    """Cycles of one record of the plan (input, a layer, output), from its hand-over to the next one's.

    ``streaming`` are those in which a pass (or the stream) moves, ``exposed`` those in which only the load of
    the next weights keeps the next pass from starting; the rest is draining and fetching of table records.
    ``macs`` are the multiply-accumulates the layer needs.
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
    """Cycles of a frame, if the streams never wait."""

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


def utilisation(macs: int, cycles: int, config: EngineConfig) -> float:
    """Share of the array's peak that does useful multiply-accumulates."""
    return macs / (cycles * config.macs_per_cycle)


@dataclass(frozen=True)
class _Pass:
    """One hand-over: what streams, and what must be ready before it can start."""

    record: int
    streaming: int
    new_visit: bool
    new_layer: bool
    emit: bool
    beats: int  # pad values and kernels; 0 without weights
    bias_beats: int


def frame_cycles(plan: Plan) -> FrameCycles:
    """Count a frame pass by pass.

    Of the cycles between two hand-overs, those beyond the stream (and, before another layer, beyond the
    drained pipeline) count as exposed if the pass that waits has weights to load.
    """
    config = plan.config
    drain = drain_cycles(config)
    hold = bias_hold_cycles(config.input_lanes)
    spent = [0] * len(plan.records)
    streaming = [0] * len(plan.records)
    exposed = [0] * len(plan.records)
    starts: list[int] = []
    now = START_CYCLES  # cycle of the current hand-over
    current: _Pass | None = None
    for following in _passes(plan):
        if current is not None:
            fetch = VISIT_FETCH * following.new_visit + LAYER_FETCH * following.new_layer
            if following.beats:
                loaded = fetch + FILL_CYCLES + following.beats
                if following.bias_beats:
                    loaded = max(loaded, hold * current.emit) + following.bias_beats
            else:
                loaded = fetch + 1
            moving = current.streaming + drain * following.new_layer
            taken = max(moving, loaded) + following.new_layer
            spent[current.record] += taken
            if following.beats:
                exposed[current.record] += max(0, loaded - moving)
            now += taken
        if following.new_visit:
            starts.append(now)
        streaming[following.record] += following.streaming
        current = following
    assert current is not None
    last = max(current.streaming, VISIT_FETCH + 1)
    spent[current.record] += last
    return FrameCycles(
        tuple(
            RecordCycles(record.name, record.kind, spent[n], streaming[n], exposed[n], _macs(plan, n))
            for n, record in enumerate(plan.records)
        ),
        now + last,
        tuple(starts),
    )


def _passes(plan: Plan) -> Iterator[_Pass]:
    config = plan.config
    previous = -1
    for visit in plan.visits:
        record = plan.records[visit.record]
        new_layer = visit.record != previous
        previous = visit.record
        pixels = visit.rows * record.width
        if record.layer is None:
            per_pixel = _beats_per_pixel(record, config)
            extra = 0 if record.kind == KIND_INPUT else OUTPUT_LATENCY
            yield _Pass(visit.record, pixels * per_pixel + extra, True, new_layer, False, 0, 0)
            continue
        first = True
        for tile in tiles(record.layer, config):
            for digit in range(PASSES[record.layer.mask_bits]):
                yield _Pass(
                    visit.record,
                    pixels,
                    new_visit=first,
                    new_layer=first and new_layer,
                    emit=tile.last_in and digit == PASSES[record.layer.mask_bits] - 1,
                    beats=weight_beats(tile, record.layer, config),
                    bias_beats=bias_beats(tile, config),
                )
                first = False


def _beats_per_pixel(record: Record, config: EngineConfig) -> int:
    """Beats of the image stream, or words of the feature stream, a pixel."""
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
    return TAPS * shape.in_channels * shape.out_channels * record.rows * record.width
