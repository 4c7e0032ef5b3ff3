"""Bench of the whole engine: its AXI-Stream ports driven by cocotbext-axi, every layer against the reference.

The ROM images are read when the simulation starts, so one run has one network: the case KESTREL_CASE.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from kestrel.export.schedule_table import FIRST_RECORD
from kestrel.hw.spec.status import ERROR_FRAME_LONG, ERROR_FRAME_SHORT
from kestrel.hw.spec.table import KIND_END, KIND_OUTPUT
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.verif.blocks.support.lockstep import bench_config
from kestrel.verif.blocks.support.packets import as_words, packet_words
from kestrel.verif.blocks.support.simulator import fail, pauses, reset, rng, seed, start
from kestrel.verif.cases.engine_case import engine_case
from kestrel.verif.simulate.compare import LayerResult, all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import (
    FrameRun,
    image_beats,
    maps_from_beats,
    maps_from_writes,
    trace_words,
)

CONFIG = bench_config()
CASE = engine_case(os.environ["KESTREL_CASE"], CONFIG, seed())
PLAN, PICTURES = CASE.plan, CASE.pictures
MODEL = frame_cycles(PLAN)
EXPECTED = [reference_maps(CASE.network, picture) for picture in PICTURES]
TRACE_PORTS = ("part", "bank", "addr", "lanes", "data")
PATIENCE = 20 * MODEL.total


def bytes_of(picture: np.ndarray) -> bytes:
    """The image stream of a picture."""
    beats = image_beats(picture, CONFIG).view(np.uint8)
    return beats.reshape(len(beats), -1)[:, : CONFIG.stream_bytes].tobytes()


START = (KIND_END, 0)


@dataclass
class Record:
    """What happened since a start: rows as in ``maps_from_writes``, busy cycles by kind and record number
    (those before the first hand-over under START), cycles in which ``done`` was high."""

    idle_visit: tuple[int, int]  # what kind and layer show until the first hand-over
    writes: list[int] = field(default_factory=list)
    spent: Counter[tuple[int, int]] = field(default_factory=Counter)
    done: int = 0


class Engine:
    """The engine's ports, and a record of what passes them."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        for port in (self.source, self.sink):
            port.log.setLevel("WARNING")
        self.record = Record(START)

    @classmethod
    async def begin(cls, dut: Any) -> "Engine":
        """A reset engine with its clock running."""
        dut.start.value = 0
        engine = cls(dut)
        await start(dut)
        cocotb.start_soon(engine._watch())
        return engine

    def visit(self) -> tuple[int, int]:
        """Kind and record number of the visit that streams."""
        return int(self.dut.kind.value), int(self.dut.layer.value)

    async def _watch(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            record = self.record
            record.done += int(dut.done.value)
            if dut.busy.value:
                visit = self.visit()
                starting = visit == record.idle_visit and not record.spent.keys() - {START}
                record.spent[START if starting else visit] += 1
            if dut.trace_valid.value:
                record.writes.append(int(dut.layer.value))
                for port, words in zip(TRACE_PORTS, trace_words(CONFIG), strict=True):
                    record.writes += as_words(int(getattr(dut, f"trace_{port}").value), 32 * words)

    def pause(self, source: Random, share: float) -> None:
        """Random pauses on both streams, or none with ``share`` 0."""

        def bursts() -> Iterator[bool]:
            go = pauses(Random(source.random()), share)
            while True:
                yield not go()

        for port in (self.source, self.sink):
            port.pause = False
            port.set_pause_generator(bursts() if share else None)

    async def start(self) -> Record:
        """One cycle of ``start``; returns the record that begins with it."""
        self.record = Record(self.visit())
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0
        await FallingEdge(self.dut.clk)
        if not self.dut.busy.value or self.dut.error.value:
            raise fail("start was not obeyed, or left an old error")
        return self.record

    async def reset(self) -> None:
        """A reset, after which the streams are empty."""
        self.source.clear()
        await reset(self.dut, 2)
        self.source.clear()
        self.sink.clear()

    async def idle(self) -> int:
        """Wait until not busy; returns the error."""
        for _ in range(PATIENCE):
            if not self.dut.busy.value:
                return int(self.dut.error.value)
            await FallingEdge(self.dut.clk)
        raise fail(f"busy for {PATIENCE} cycles, in {self.dut.kind.value}/{self.dut.layer.value}")

    async def until(self, kind: int, layer: int, cycles: int) -> None:
        """Wait until a visit of this kind and record is at work, and ``cycles`` more."""
        for _ in range(PATIENCE):
            if self.visit() == (kind, layer) and self.record.spent.keys() - {START}:
                break
            await FallingEdge(self.dut.clk)
        else:
            raise fail(f"visit {kind}/{layer} never came")
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)

    def collect(self, record: Record, cycles: int) -> FrameRun:
        """The frame of a record, and the one that the sink has received."""
        if self.sink.count() != 1:
            raise fail(f"{self.sink.count()} frames came out, not one")
        rows = packet_words(self.sink.recv_nowait(compact=False), CONFIG.word_lanes)
        return FrameRun(
            maps=maps_from_writes(np.array(record.writes, "<u4"), PLAN),
            outputs=maps_from_beats(np.array(rows, "<u4"), PLAN),
            cycles=cycles,
            record_cycles=[record.spent[r.kind, n] for n, r in enumerate(PLAN.records, FIRST_RECORD)],
            start_cycles=record.spent[START],
        )

    async def good_end(self, picture: int) -> FrameRun:
        """Wait for the end of a frame and compare everything."""
        error = await self.idle()
        for _ in range(3):
            await FallingEdge(self.dut.clk)
        if error or self.record.done != 1:
            raise fail(f"the frame ended with error {error}, done was high in {self.record.done} cycles")
        run = self.collect(self.record, int(self.dut.cycles.value))
        expect_equal(compare_run(run, CASE.network, EXPECTED[picture]))
        layers = run.record_cycles[1:-1]
        if layers != [record.cycles for record in MODEL.layers]:
            raise fail(f"layers took {layers} cycles, modelled {MODEL.layers}")
        return run

    async def frame(self, picture: int, last: bool = True) -> FrameRun:
        """Send a picture, start, and compare. ``last``: nothing follows in the stream."""
        await self.source.send(AxiStreamFrame(bytes_of(PICTURES[picture])))
        await self.start()
        run = await self.good_end(picture)
        if last and not (self.source.empty() and self.source.idle()):
            raise fail("a part of the picture was never taken")
        return run


def expect_equal(results: list[LayerResult]) -> None:
    if not all_equal(results):
        raise fail("; ".join(map(str, results)))


@cocotb.test()
async def frames_back_to_back(dut):
    """Two pictures wait in the stream; the second start comes in the first cycle that is not busy."""
    engine = await Engine.begin(dut)
    for picture in PICTURES[:2]:
        await engine.source.send(AxiStreamFrame(bytes_of(picture)))
    first = await engine.start()
    await engine.idle()
    cycles = int(dut.cycles.value)
    await RisingEdge(dut.clk)  # the end of the cycle in which done is high
    await engine.start()
    run = engine.collect(first, cycles)
    expect_equal(compare_run(run, CASE.network, EXPECTED[0]))
    second = await engine.good_end(1)
    for name, frame in (("first", run), ("second", second)):
        modelled = [record.cycles for record in MODEL.records]
        if frame.cycles != MODEL.total or frame.record_cycles != modelled:
            raise fail(f"{name}: {frame.cycles} cycles, {frame.record_cycles}, modelled {MODEL}")


@cocotb.test()
async def pauses_on_both_streams(dut):
    engine = await Engine.begin(dut)
    source = rng("pauses")
    for picture in range(len(PICTURES)):
        engine.pause(source, source.choice((0.1, 0.5, 0.8)))
        run = await engine.frame(picture)
        if run.cycles <= MODEL.total:
            raise fail(f"{run.cycles} cycles in spite of pauses")
    engine.pause(source, 0)
    run = await engine.frame(0)
    if run.cycles != MODEL.total or run.start_cycles + sum(run.record_cycles) != MODEL.total:
        raise fail(f"{run.cycles} cycles without pauses, modelled {MODEL.total}")


@cocotb.test()
async def resets_in_the_middle(dut):
    """In the input, in every layer, while draining, in the output, and anywhere."""
    engine = await Engine.begin(dut)
    source = rng("resets")
    for number, (record, model) in enumerate(zip(PLAN.records, MODEL.records, strict=True), FIRST_RECORD):
        for cycles in (source.randrange(3), source.randrange(model.cycles)):
            engine.pause(source, source.choice((0, 0.3)))
            await engine.source.send(AxiStreamFrame(bytes_of(PICTURES[0])))
            await engine.start()
            await engine.until(record.kind, number, cycles)
            await engine.reset()
            if dut.busy.value or dut.m_axis_tvalid.value or dut.s_axis_tready.value:
                raise fail(f"not idle after a reset in record {number}")
        await engine.frame(source.randrange(len(PICTURES)))


@cocotb.test()
async def frames_that_are_too_short(dut):
    engine = await Engine.begin(dut)
    source = rng("short")
    whole = bytes_of(PICTURES[0])
    beats = len(whole) // CONFIG.stream_bytes
    for count in (1, beats - 1, source.randrange(1, beats)):
        engine.pause(source, source.choice((0, 0.4)))
        await engine.source.send(AxiStreamFrame(whole[: count * CONFIG.stream_bytes]))
        await engine.start()
        error = await engine.idle()
        if error != ERROR_FRAME_SHORT or engine.record.done:
            raise fail(f"error {error} after {count} of {beats} beats, done {engine.record.done}")
        await engine.frame(1)
    if not engine.sink.empty():
        raise fail("something came out of a short frame")


@cocotb.test()
async def frames_that_are_too_long(dut):
    """The rest is thrown away, while the next frame has already been started."""
    engine = await Engine.begin(dut)
    source = rng("long")
    for extra in (1, source.randrange(2, 40), 400):
        engine.pause(source, source.choice((0, 0.4)))
        rest = bytes(source.randrange(256) for _ in range(extra * CONFIG.stream_bytes))
        await engine.source.send(AxiStreamFrame(bytes_of(PICTURES[2]) + rest))
        await engine.start()
        error = await engine.idle()
        if error != ERROR_FRAME_LONG or engine.record.done:
            raise fail(f"error {error} with {extra} beats too many, done {engine.record.done}")
        await engine.frame(source.randrange(2))
    if not engine.sink.empty():
        raise fail("something came out of a long frame")


@cocotb.test()
async def start_while_busy_is_ignored(dut):
    engine = await Engine.begin(dut)
    source = rng("start")

    async def press() -> None:
        while True:
            await RisingEdge(dut.clk)
            # Not in the last cycles, where a start might come just after busy has fallen.
            near_end = int(dut.kind.value) == KIND_OUTPUT
            dut.start.value = int(bool(dut.busy.value) and not near_end and source.random() < 0.2)

    await engine.source.send(AxiStreamFrame(bytes_of(PICTURES[0])))
    await engine.start()
    pressing = cocotb.start_soon(press())
    run = await engine.good_end(0)
    pressing.cancel()
    if run.cycles != MODEL.total:
        raise fail(f"{run.cycles} cycles, modelled {MODEL.total}")


@cocotb.test()
async def nothing_happens_without_start(dut):
    engine = await Engine.begin(dut)
    await engine.source.send(AxiStreamFrame(bytes_of(PICTURES[0])))
    for _ in range(100):
        await FallingEdge(dut.clk)
        if dut.busy.value or dut.s_axis_tready.value or dut.m_axis_tvalid.value or dut.trace_valid.value:
            raise fail("the engine moves without a start")
    await engine.start()
    await engine.good_end(0)


@cocotb.test()
async def the_output_waits_as_long_as_it_must(dut):
    """The sink is not ready for long; what is offered stays the same."""
    engine = await Engine.begin(dut)
    engine.sink.pause = True
    await engine.source.send(AxiStreamFrame(bytes_of(PICTURES[0])))
    await engine.start()
    await engine.until(KIND_OUTPUT, len(PLAN.records), 10)
    offered = [dut.m_axis_tdata.value, dut.m_axis_tkeep.value, dut.m_axis_tlast.value]
    for _ in range(200):
        await FallingEdge(dut.clk)
        if not dut.m_axis_tvalid.value:
            raise fail("an offered beat was withdrawn")
        if offered != [dut.m_axis_tdata.value, dut.m_axis_tkeep.value, dut.m_axis_tlast.value]:
            raise fail("an offered beat changed")
    engine.sink.pause = False
    await engine.good_end(0)
