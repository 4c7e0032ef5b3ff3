"""Bench of the chip among masters and slaves that are slow, or particular about the order of things."""

from itertools import count

import cocotb
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiResp, AxiStreamFrame

from kestrel.hw.spec.registers import BY_NAME
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.chip.peers import Master, Order, Sink, Source
from kestrel.verif.chip.ports import CONFIG, EXPECTED, IMAGES, MODEL, PICTURES, Chip

LONG = 4000
"""Cycles of a long wait."""

_, CHANNELS, HEIGHT, WIDTH = EXPECTED.shape
BEATS = HEIGHT * WIDTH * -(-CHANNELS // CONFIG.word_lanes)
"""Of a packet."""


def always(_other, _taken):
    return True


def waits_for_the_other(other, taken):
    """READY only after VALID, or VALID only after READY, for each beat anew."""
    return other and not taken


def every(period):
    """Once in so many cycles, whatever the other side does."""
    cycles = count()
    return lambda _other, _taken: next(cycles) % period == 0


def long_waits(gap):
    """High for some cycles, then low for LONG, again and again."""
    cycles = count()
    return lambda _other, _taken: next(cycles) % (LONG + gap) < gap


def rests_after(cycles):
    """READY is high before VALID comes, until a beat is taken, and then low for so many cycles."""
    rest = 0

    def ready(_other, taken):
        nonlocal rest
        rest = cycles if taken else max(0, rest - 1)
        return rest == 0

    return ready


STREAMS = {
    "a source that waits for READY": (waits_for_the_other, always),
    "a sink that waits for VALID": (always, waits_for_the_other),
    "both": (waits_for_the_other, waits_for_the_other),
    "READY before VALID": (always, rests_after(3)),
    "a beat now and then": (every(7), every(5)),
    "long waits of the sink": (always, long_waits(4)),
    "long waits of the source": (long_waits(40), always),
}
ORDERS = {
    "address and data at once": Order(),
    "data long before the address": Order(address=500),
    "address long before the data": Order(data=500),
    "data a cycle before the address": Order(address=1),
    "address a cycle before the data": Order(data=1),
    "VALID after READY": Order(after_ready=True),
    "READY after VALID": Order(answer=1),
    "READY long after VALID": Order(answer=1000),
    "everything late": Order(address=40, data=300, answer=7, after_ready=True),
}


def expect(what, found, wanted):
    if found != wanted:
        raise fail(f"{what}: {found!r}, not {wanted!r}")


@cocotb.test()
@cocotb.parametrize(habit=list(STREAMS))
async def streams(dut, habit):
    offer, ready = STREAMS[habit]
    chip = await Chip.begin(dut, source=Source(dut, offer), sink=Sink(dut, ready))
    for picture in (0, 1):
        await chip.frame(picture)
    expect("frames", await chip.read("frames"), 2)


@cocotb.test()
@cocotb.parametrize(order=list(ORDERS))
async def registers(dut, order):
    """Bytes written and words read back, against a model; then a frame."""
    chip = await Chip.begin(dut, bus=Master(dut, ORDERS[order]))
    source = rng("orders")
    model = bytearray(4)
    for _ in range(4):
        first = source.randrange(4)
        data = source.randbytes(source.randrange(1, 5 - first))
        answer = await chip.raw_write(BY_NAME["scratch"].address + first, data)
        expect("answer", answer.resp, AxiResp.OKAY)
        model[first : first + len(data)] = data
        expect("scratch", await chip.read("scratch"), int.from_bytes(model, "little"))
    expect("no register", (await chip.raw_write(0x054, bytes(4))).resp, AxiResp.SLVERR)
    await chip.frame(0)


@cocotb.test()
@cocotb.parametrize(order=[Order(address=300), Order(data=300)])
async def reads_between_the_halves_of_a_write(dut, order):
    """A write of which only one half has come neither happens nor holds up reads."""
    reader = Master(dut, Order())
    chip = await Chip.begin(dut, bus=Master(dut, order))
    write = cocotb.start_soon(chip.write("scratch", value=0x12345678))
    reads = 0
    while not write.done():
        answer = await reader.read(BY_NAME["scratch"].address, 4)
        if reads < 30:  # no more than the half has come
            expect("scratch", answer.data, bytes(4))
        reads += 1
    await write
    expect("scratch", await chip.read("scratch"), 0x12345678)
    if reads < 40:
        raise fail(f"only {reads} reads")


@cocotb.test()
async def a_reset_of_one_cycle(dut):
    """At power-up and in any cycle of a frame."""
    chip = await Chip.begin(dut, reset_cycles=1)
    source = rng("reset")
    await chip.frame(0)
    for _ in range(8):
        await chip.send(0)
        await chip.write("control", start=1)
        await chip.cycles(source.randrange(MODEL.total))
        await chip.reset(1)
        expect("frames", await chip.read("frames"), 0)
        await chip.frame(1)


@cocotb.test()
async def images_without_an_end(dut):
    """TLAST never comes: all that follows is thrown away, until one does or the host resets the stream."""
    chip = await Chip.begin(dut, source=Source(dut, always))
    for resets in (False, True, True):
        await chip.idle()
        await chip.write("irq_enable", error=1)
        await chip.source.send(AxiStreamFrame(IMAGES[0]), last=False)
        await chip.write("control", start=1)
        await chip.interrupt()
        expect("cause", await chip.errors(), {"frame_long"})
        await chip.idle()
        expect("draining", await chip.field("status", "draining"), 1)
        if resets:
            await chip.write("control", stream_reset=1)
        else:
            await chip.send(1)
            await chip.cycles(2 * len(IMAGES[1]))
        expect("draining", await chip.field("status", "draining"), 0)
        await chip.frame(2)


@cocotb.test()
async def a_source_that_stops_in_an_image(dut):
    """It is reset and begins anew: the host aborts the frame and resets the stream, not before."""
    chip = await Chip.begin(dut, source=Source(dut, always))
    beats = len(IMAGES[0]) // CONFIG.stream_bytes
    for sent in (1, 2, beats // 2, beats - 1):
        await chip.idle()
        await chip.source.send(AxiStreamFrame(IMAGES[0][: sent * CONFIG.stream_bytes]), last=False)
        await chip.write("control", start=1)
        await chip.cycles(MODEL.total + LONG)
        expect("busy", await chip.field("status", "busy"), 1)
        expect("a reset of the stream", await chip.try_write("control", stream_reset=1), False)
        await chip.write("control", abort=1)
        await chip.idle()
        await chip.errors()
        await chip.write("control", stream_reset=1)
        await chip.frame(1)


@cocotb.test()
async def images_that_wait_for_their_starts(dut):
    """All are sent at once; each start takes the next, the last two beats of the packet before it still in
    the chip."""
    room = 0
    sink = Sink(dut, lambda _other, _taken: sink.held < room)
    chip = await Chip.begin(dut, source=Source(dut, always), sink=sink)
    order = [*range(len(PICTURES))] * 2
    for picture in order:
        await chip.send(picture)
    await chip.idle()
    await chip.write("irq_enable", done=1)
    for number in range(1, len(order) + 1):
        room = number * BEATS - 2
        await chip.write("control", start=1)
        await chip.interrupt()
        await chip.idle()
    expect("beats taken", sink.held, len(order) * BEATS - 2)
    room += 2
    for picture in order:
        await chip.features(picture)
    expect("frames", await chip.read("frames"), len(order))


@cocotb.test()
async def an_aborted_chip_is_busy_until_its_last_beat_is_taken(dut):
    """So that a host which then takes its memory back finds nothing of this frame in the next: after packets
    that were cut, and after one of which only the last beats had still to leave."""
    source = rng("closing")
    room = 0
    sink = Sink(dut, lambda _other, _taken: sink.held < room)
    chip = await Chip.begin(dut, sink=sink)
    for taken in range(BEATS - 1):
        whole = taken == BEATS - 2
        room = taken
        await chip.idle()
        await chip.send(0)
        await chip.write("control", start=1)
        while not (dut.m_axis_tvalid.value and sink.held == taken):
            await FallingEdge(dut.clk)
        await chip.cycles(20 if whole else source.randrange(1, 6))
        await chip.write("control", abort=1)
        for _ in range(50):
            status = BY_NAME["status"].unpack(await chip.read("status"))
            expect("busy, closing", (status["busy"], status["closing"]), (1, 1))
            expect("a start", await chip.try_write("control", start=1), False)
        room = BEATS
        await chip.idle()
        expect("VALID", int(dut.m_axis_tvalid.value), 0)
        expect("packets, beats of another", (len(sink.packets), len(sink.beats)), (1, 0))
        expect("the last beat has bytes", any(sink.packets[0].tkeep[-CONFIG.word_lanes :]), whole)
        sink.clear()
        await chip.errors()
        await chip.frame(1)
        sink.clear()


@cocotb.test()
async def an_image_that_waits_is_the_aborted_frames(dut):
    """Aborts before and after the core takes the first beat: the next frame is that of the next image."""
    chip = await Chip.begin(dut)
    for cycles in range(0, 60, 3):
        await chip.idle()
        await chip.send(0)
        await chip.cycles(4)
        await chip.write("control", start=1)
        await chip.cycles(cycles)
        await chip.write("control", abort=1)
        await chip.idle()
        expect("causes", await chip.errors(), {"aborted"})
        await chip.frame(1)
