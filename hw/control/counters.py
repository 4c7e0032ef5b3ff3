"""Cycle counters: what every busy cycle went into, and how many went into each layer."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS, COUNTER_BITS, COUNTERS

RECORD_BITS = COUNTER_ADDRESS_BITS - 1

EVENTS = data.StructLayout(dict.fromkeys(COUNTERS[1:-1], 1))
"""What this cycle goes into; at most one. None of them: it counts as ``control``."""


class Counters(wiring.Component):
    """Reset at the start of a frame; to be read when the frame has ended.

    A hand-over charges the cycles since the last one to the record that streamed: its count is written back
    in the cycle after ``go``. It is read all the time that the record streams, which is at least four
    cycles, so that the memory's own delay and the addition lie in different cycles.

    Members
    -------
    start, busy, go, done : In   as in the sequencer
    record : In(8)               record that streams, until the cycle of go
    events : In(EVENTS)
    addr : In(9)                 below 256: cycles of that record of the schedule table; from 256 on:
                                 kestrel.hw.spec.COUNTERS, in that order
    value : Out(32)              one cycle later
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "busy": In(1),
                "go": In(1),
                "done": In(1),
                "record": In(RECORD_BITS),
                "events": In(EVENTS),
                "addr": In(COUNTER_ADDRESS_BITS),
                "value": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        counts = Array(Signal(COUNTER_BITS, name=f"count_{name}") for name in COUNTERS)
        increments = [self.busy, *(self.events[name] for name in COUNTERS[1:-1])]
        increments.append(self.busy & ~self.events.as_value().any())
        for count, increment in zip(counts, increments, strict=True):
            with m.If(self.start):
                m.d.sync += count.eq(0)
            with m.Elif(increment):
                m.d.sync += count.eq(count + 1)

        streaming = Signal()  # a record has been handed over in this frame
        seen = Signal(1 << RECORD_BITS)  # records that have a count of this frame
        since = Signal(COUNTER_BITS, reset_less=True)
        charge = Signal()
        charged = Signal(RECORD_BITS, reset_less=True)
        elapsed = Signal(COUNTER_BITS, reset_less=True)
        stored = Signal(COUNTER_BITS)
        previous = Signal(COUNTER_BITS, reset_less=True)
        m.d.sync += [
            since.eq(since + 1),
            charge.eq(0),
            previous.eq(Mux(seen.bit_select(self.record, 1), stored, 0)),
        ]
        with m.If((self.go | self.done) & streaming):
            # ``done`` comes one cycle after the frame's last.
            m.d.sync += [charge.eq(1), charged.eq(self.record), elapsed.eq(Mux(self.done, since, since + 1))]
        with m.If(self.go):
            m.d.sync += [since.eq(0), streaming.eq(1)]
        with m.If(charge):
            m.d.sync += seen.bit_select(charged, 1).eq(1)
        with m.If(self.start):
            m.d.sync += [seen.eq(0), streaming.eq(0)]
        ram_1r1w(
            m,
            "records",
            width=COUNTER_BITS,
            depth=1 << RECORD_BITS,
            ren=1,
            raddr=Mux(self.busy | self.done, self.record, self.addr[:RECORD_BITS]),
            rdata=stored,
            wen=charge,
            waddr=charged,
            wdata=(previous + elapsed)[:COUNTER_BITS],
        )

        chosen = Signal(COUNTER_ADDRESS_BITS, reset_less=True)
        m.d.sync += chosen.eq(self.addr)
        with m.If(chosen[-1]):
            m.d.comb += self.value.eq(counts[chosen[: (len(COUNTERS) - 1).bit_length()]])
        with m.Elif(seen.bit_select(chosen[:RECORD_BITS], 1)):
            m.d.comb += self.value.eq(stored)
        return m
