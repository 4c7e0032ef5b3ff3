"""Bench of the bridge to the host: its serial line bit by bit, disturbed too, its bus and its streams."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, ValueChange
from cocotb.utils import get_sim_time

from kestrel.hw.board.host_bridge import RESET_CYCLES
from kestrel.hw.spec.link import (
    FLAG,
    OFFSETS,
    PAYLOAD_MAX,
    RING_BYTES,
    Answer,
    Kind,
    Request,
    Unescaper,
    escaped,
)
from kestrel.verif.blocks.board.host_bridge import LINK
from kestrel.verif.blocks.board.host_bridge.model import END, GIVEN_UP, HostBridge
from kestrel.verif.blocks.support.lockstep import bench_config
from kestrel.verif.blocks.support.simulator import PERIOD_NS, Scoreboard, fail, rng, start

LANES = bench_config().word_lanes
FAULTY = 0xC00
"""The bus of the bench answers with an error from this address on."""

STEPS = 60
KINDS = (*Kind, Kind.WRITE, Kind.IMAGE, Kind.TAKE)
PATIENCE = 60_000
"""Cycles in which an answer comes."""

OKAY, SLVERR = 0, 2


class Line:
    """The host's end. ``heard``: answers that have come and were not yet looked at."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.heard: list[Answer] = []
        self._frames = Unescaper()
        dut.rx.value = 1
        cocotb.start_soon(self._listen())
        cocotb.start_soon(self._watch_edges())

    async def send(self, data: Sequence[int | None]) -> None:
        """Bytes; None is none: its stop bit is low."""
        for byte in data:
            bits = [0, *((0 if byte is None else byte) >> n & 1 for n in range(8)), int(byte is not None)]
            await self._bits([*bits, 1] if byte is None else bits)

    async def spike(self, cycles: int) -> None:
        """The line is low for less than half a bit, which is no byte."""
        self.dut.rx.value = 0
        await ClockCycles(self.dut.clk, cycles)
        await self.quiet(1)

    async def quiet(self, bits: int) -> None:
        await self._bits([1] * bits)

    async def _bits(self, bits: Sequence[int]) -> None:
        phase = 0
        for bit in bits:
            self.dut.rx.value = bit
            phase += LINK.clock
            await ClockCycles(self.dut.clk, phase // LINK.baud)
            phase %= LINK.baud

    async def _watch_edges(self) -> None:
        """Bit n of a byte begins in the first cycle behind n bits' time, counted from its start bit."""
        begun = None
        while True:
            await ValueChange(self.dut.tx)
            now = round(get_sim_time("ns")) // PERIOD_NS
            edges = [-(-n * LINK.clock // LINK.baud) for n in range(10)]
            if begun is None or now - begun > edges[-1]:
                begun = now
            elif now - begun not in edges:
                raise fail(f"the bridge's line changes {now - begun} cycles behind a start bit")

    async def _listen(self) -> None:
        dut, cycles = self.dut, LINK.clock / LINK.baud
        while True:
            await FallingEdge(dut.tx)
            byte, passed = 0, 0
            for n in range(9):
                at = round((n + 1.5) * cycles)
                await ClockCycles(dut.clk, at - passed)
                passed = at
                bit = int(dut.tx.value)
                byte |= bit << n
            if not byte >> 8:
                raise fail("the bridge sends a byte whose stop bit is low")
            found = self._frames.contents(bytes((byte & 255,)))
            for content in found:
                answer = Answer.of(content)
                if answer is None:
                    raise fail(f"the bridge sends a frame that is no answer: {content.hex()}")
                self.heard.append(answer)


class Bus:
    """An AXI4-Lite subordinate of registers, slow now and then, which chip_reset clears."""

    def __init__(self, dut: Any, source: Random) -> None:
        self.dut, self._source = dut, source
        self.registers: dict[int, int] = {}
        self.silent = False
        for name in ("awready", "wready", "bvalid", "arready", "rvalid", "bresp", "rresp", "rdata"):
            getattr(dut, f"m_axil_{name}").value = 0
        cocotb.start_soon(self._reads())
        cocotb.start_soon(self._writes())

    async def _pause(self) -> None:
        await ClockCycles(self.dut.clk, self._source.choice((1, 1, 2, 5)))

    async def _high(self, signal: Any) -> None:
        while not int(signal.value):
            await RisingEdge(signal)
        await FallingEdge(self.dut.clk)

    async def _pulse(self, ready: Any) -> None:
        await RisingEdge(self.dut.clk)
        ready.value = 1
        await RisingEdge(self.dut.clk)
        ready.value = 0

    async def _answer(self, valid: Any, ready: Any) -> None:
        """An answer of the bus, which stays until it is taken."""
        await RisingEdge(self.dut.clk)
        valid.value = 1
        taken = False
        while not taken:
            await FallingEdge(self.dut.clk)
            taken = bool(int(ready.value))
            await RisingEdge(self.dut.clk)
        valid.value = 0

    async def _reads(self) -> None:
        dut = self.dut
        while True:
            await self._high(dut.m_axil_arvalid)
            while self.silent:
                await ClockCycles(dut.clk, 10)
            if not int(dut.m_axil_arvalid.value):
                continue  # a reset has come in between
            await self._pause()
            address = int(dut.m_axil_araddr.value)
            await self._pulse(dut.m_axil_arready)
            await self._pause()
            dut.m_axil_rdata.value = self.registers.get(address, address * 3)
            dut.m_axil_rresp.value = SLVERR if address >= FAULTY else OKAY
            await self._answer(dut.m_axil_rvalid, dut.m_axil_rready)

    async def _writes(self) -> None:
        dut = self.dut
        while True:
            await self._high(dut.m_axil_awvalid)
            await self._pause()
            address = int(dut.m_axil_awaddr.value)
            await self._pulse(dut.m_axil_awready)
            await self._high(dut.m_axil_wvalid)
            data, strobes = int(dut.m_axil_wdata.value), int(dut.m_axil_wstrb.value)
            await self._pulse(dut.m_axil_wready)
            await self._pause()
            if strobes != 15:
                raise fail(f"write of {address:#x} with strobes {strobes:#x}")
            if address < FAULTY:
                self.registers[address] = data
            dut.m_axil_bresp.value = SLVERR if address >= FAULTY else OKAY
            await self._answer(dut.m_axil_bvalid, dut.m_axil_bready)


class Bench:
    """The bridge, what surrounds it, and its model."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.source = rng("bridge")
        self.info = self.source.randbytes(2048)
        self.model = HostBridge(self.info, FAULTY)
        self.bus = Bus(dut, self.source)
        self.line = Line(dut)
        self.answers: Scoreboard[Answer] = Scoreboard("answers")
        self.image: Scoreboard[int] = Scoreboard("image")
        self.held = False  # the chip takes no image bytes
        self.tags = count(self.source.randrange(256))
        self.resets = 0
        dut.irq.value = dut.image_tready.value = dut.output_tvalid.value = 0
        dut.output_tdata.value = dut.output_tkeep.value = dut.output_tlast.value = dut.info_data.value = 0
        cocotb.start_soon(self._take_image())
        cocotb.start_soon(self._read_info())
        cocotb.start_soon(self._watch_reset())

    async def _take_image(self) -> None:
        dut = self.dut
        while True:
            while not int(dut.image_tvalid.value) or self.held:
                await (ClockCycles(dut.clk, 20) if self.held else RisingEdge(dut.image_tvalid))
            await ClockCycles(dut.clk, self.source.choice((1, 1, 1, 4)))
            await FallingEdge(dut.clk)
            if not int(dut.image_tvalid.value):
                continue  # a reset has taken it back
            byte, last = int(dut.image_tdata.value), int(dut.image_tlast.value)
            dut.image_tready.value = 1
            await RisingEdge(dut.clk)
            await FallingEdge(dut.clk)
            dut.image_tready.value = 0
            if self.model.consumed == len(self.model.image):
                raise fail(f"image: the chip gets byte {byte}, and there is none left")
            self.image.expect([self.model.took()])
            self.image.receive(END - byte if last else byte)

    async def _read_info(self) -> None:
        dut = self.dut
        while True:
            await RisingEdge(dut.info_en)
            await FallingEdge(dut.clk)
            address = int(dut.info_addr.value)
            await RisingEdge(dut.clk)
            dut.info_data.value = self.info[address]

    async def _watch_reset(self) -> None:
        while True:
            await RisingEdge(self.dut.chip_reset)
            self.bus.registers.clear()
            self.resets += 1
            begun = get_sim_time("ns")
            await FallingEdge(self.dut.chip_reset)
            if (cycles := (get_sim_time("ns") - begun) / PERIOD_NS) != RESET_CYCLES:
                raise fail(f"the chip is reset for {cycles:g} cycles, not {RESET_CYCLES}")

    async def settled(self) -> None:
        """Until the chip has taken all of the image, unless it is held."""
        for _ in range(PATIENCE):
            if self.held or self.model.consumed == self.model.accepted:
                return
            await ClockCycles(self.dut.clk, 8)
        raise fail("the image does not come out of the ring")

    async def exchange(self, data: Sequence[int | None]) -> None:
        """Sends bytes, and compares the answers with the model's."""
        expected: list[Answer] = []
        piece = bytearray()
        for byte in data:
            if byte is None:
                expected += self.model.hears(bytes(piece))
                piece.clear()
                self.model.frames.reset()
            else:
                piece.append(byte)
        was = len(self.model.image)
        expected += self.model.hears(bytes(piece))
        await self.line.send(data)
        await self.answered(expected, flowing=not self.held and len(self.model.image) > was)
        await self.settled()

    async def answered(self, expected: Sequence[Answer], *, flowing: bool = False) -> None:
        """Compares the answers that come with those expected. flowing: the chip takes an image meanwhile."""
        for _ in range(PATIENCE // 50):
            if len(self.line.heard) >= len(expected):
                break
            await ClockCycles(self.dut.clk, 50)
        await self.line.quiet(3)
        heard, self.line.heard = self.line.heard, []
        if len(heard) != len(expected):
            raise fail(f"{len(heard)} answers, not {len(expected)}: {heard} {expected}")
        for one, other in zip(heard, expected, strict=True):
            # While the chip takes the image, how much room there is depends on when it is asked.
            room = one.room if flowing and one.room <= RING_BYTES else other.room
            self.answers.expect([replace(other, room=room)])
            self.answers.receive(one)

    async def ask(self, kind: Kind, where: int = 0, payload: bytes = b"", tag: int | None = None) -> None:
        used = next(self.tags) % 256 if tag is None else tag
        await self.exchange(escaped(Request(used, kind, where, payload).content))

    async def give(self, words: Sequence[tuple[bytes, int, int]]) -> None:
        """Words for the ring of what comes out: bytes, TKEEP, TLAST."""
        dut = self.dut
        for data, keep, last in words:
            dut.output_tdata.value = int.from_bytes(data, "little")
            dut.output_tkeep.value, dut.output_tlast.value, dut.output_tvalid.value = keep, last, 1
            taken = False
            while not taken:
                await FallingEdge(dut.clk)
                taken = bool(int(dut.output_tready.value))
                await RisingEdge(dut.clk)
            dut.output_tvalid.value = 0
            self.model.entries += [byte for n, byte in enumerate(data) if keep >> n & 1]
            self.model.entries += [END if keep else GIVEN_UP] * last
        await ClockCycles(dut.clk, 4 * LANES + 4)

    def packet(self, bytes_: int, given_up: bool = False) -> list[tuple[bytes, int, int]]:
        """A packet's words; one that was given up ends in a word without bytes."""
        words: list[tuple[bytes, int, int]] = []
        for first in range(0, bytes_, LANES):
            size = min(LANES, bytes_ - first)
            words.append((self.source.randbytes(LANES), (1 << size) - 1, int(first + size == bytes_)))
        if given_up:
            words = [(data, keep, 0) for data, keep, _ in words] + [(self.source.randbytes(LANES), 0, 1)]
        return words

    async def end(self, content: bytes = b"x") -> None:
        """The image's end, and when that has come out, what must be left."""
        await self.ask(Kind.IMAGE_END, self.model.accepted % OFFSETS, content)
        await self.settled()
        self.finish()

    def finish(self) -> None:
        self.answers.finish()
        self.image.finish()
        if self.bus.registers != self.model.registers:
            raise fail(f"the registers are {self.bus.registers}, not {self.model.registers}")
        if self.resets != self.model.resets:
            raise fail(f"{self.resets} resets of the chip, not {self.model.resets}")


def disturbed(data: bytes, source: Random) -> list[int | None]:
    """Some bytes lost, doubled, changed or no bytes at all."""
    out: list[int | None] = []
    for byte in data:
        match source.randrange(40):
            case 0:
                continue
            case 1:
                out += [byte, byte]
            case 2:
                out.append(byte ^ 1 << source.randrange(8))
            case 3:
                out.append(None)
            case _:
                out.append(byte)
    return out


@cocotb.test()
async def any_requests(dut):
    await start(dut)
    bench = Bench(dut)
    source = bench.source
    await bench.ask(Kind.SYNC, payload=source.randbytes(4))
    rest: list[tuple[bytes, int, int]] = []  # of a packet of which a part has come out
    for _ in range(STEPS):
        bench.held = source.random() < 0.2
        await bench.settled()
        dut.irq.value = bench.model.irq = int(source.random() < 0.3)
        model = bench.model
        kind = source.choice(KINDS)
        where, payload, tag = 0, b"", None
        if kind in {Kind.READ, Kind.WRITE}:
            where = source.choice((0, 4, 0xABC, 0xC00, 0xFFC, 0x1000, 0x8004))
            payload = source.randbytes(4) if kind is Kind.WRITE else b""
            if model.last_write is not None and source.random() < 0.3:
                tag = model.last_write[0]  # a repetition, as the bridge must take it
        elif kind in {Kind.IMAGE, Kind.IMAGE_END}:
            payload = source.randbytes(source.choice((0, 1, 5, 30, PAYLOAD_MAX, PAYLOAD_MAX + 1)))
            where = (model.accepted + source.choice((0, 0, 0, 0, 1, -1))) % OFFSETS
        elif kind is Kind.TAKE:
            if source.random() < 0.6:
                words = rest or bench.packet(source.choice((1, 2, 7, 40)), source.random() < 0.3)
                cut = source.choice((len(words), source.randint(1, len(words))))
                await bench.give(words[:cut])
                rest = words[cut:]
            there = len(model.entries) - model.released
            ahead = source.choice((0, there, source.randrange(there + 1), there + 1))
            where = (model.released + ahead) % OFFSETS
            if source.random() < 0.1:
                where = (model.released - 1) % OFFSETS
        elif kind is Kind.INFO:
            where = source.randrange(2048)
        elif source.random() < 0.7:
            continue
        else:
            payload = source.randbytes(4)
        data = escaped(Request(next(bench.tags) % 256 if tag is None else tag, kind, where, payload).content)
        if source.random() < 0.3:
            await bench.line.spike(source.randint(1, 2))
        if source.random() < 0.35:
            # Noise before, in and behind; the flag at the end is what a host's next frame begins with.
            noise = source.randbytes(source.randrange(12))
            await bench.exchange([*noise, *disturbed(data, source), FLAG])
        else:
            await bench.exchange(list(data))
    bench.held = False
    await bench.settled()
    await bench.end(b"the end")


@cocotb.test()
async def writes_that_are_repeated(dut):
    """Tags one bit of which differs from the last one's; each comes again with another value."""
    await start(dut)
    bench = Bench(dut)
    source = bench.source
    await bench.ask(Kind.SYNC, payload=source.randbytes(4))
    tag = source.getrandbits(8)
    for bit in range(8):
        tag ^= 1 << bit
        for _ in range(2):
            await bench.ask(Kind.WRITE, 4 * source.randrange(3), source.randbytes(4), tag)
    await bench.end()


@cocotb.test()
async def requests_while_an_answer_is_sent(dut):
    """One waits, and those behind it are lost; an image is taken at once, and answered behind everything
    else, once for all of its frames."""
    await start(dut)
    bench = Bench(dut)
    source, model = bench.source, bench.model
    await bench.ask(Kind.SYNC, payload=source.randbytes(4))
    bench.held = True
    for _ in range(4):
        requests: list[Request] = []

        def carried_out(
            kind: Kind, where: int, payload: bytes = b"", into: list[Request] = requests
        ) -> Answer:
            into.append(Request(next(bench.tags) % 256, kind, where, payload))
            answer = model.answer(into[-1].content)
            assert answer is not None
            return answer

        expected = [carried_out(Kind.INFO, source.randrange(2048))]
        images = [carried_out(Kind.IMAGE, model.accepted % OFFSETS, source.randbytes(5)) for _ in range(2)]
        expected.append(carried_out(Kind.READ, 4 * source.randrange(64)))
        requests.append(Request(next(bench.tags) % 256, Kind.READ, 4 * source.randrange(64)))  # is lost
        for request in requests:
            await bench.line.send(escaped(request.content))
            await ClockCycles(dut.clk, source.randrange(4))
        await bench.answered([*expected, images[-1]])
    bench.held = False
    await bench.end()


@cocotb.test()
async def an_image_that_fills_the_ring(dut):
    """To its last byte, of which the chip takes none meanwhile."""
    await start(dut)
    bench = Bench(dut)
    source, model = bench.source, bench.model
    await bench.ask(Kind.SYNC, payload=source.randbytes(4))
    bench.held = True
    for kind in (*[Kind.IMAGE] * (RING_BYTES // PAYLOAD_MAX - 1), Kind.IMAGE_END):
        await bench.ask(kind, model.accepted % OFFSETS, source.randbytes(PAYLOAD_MAX))
    if model.accepted != RING_BYTES:
        raise fail(f"{model.accepted} bytes were accepted, not {RING_BYTES}")
    bench.held = False
    await bench.settled()
    bench.finish()


@cocotb.test()
async def a_packet_longer_than_the_ring(dut):
    await start(dut)
    bench = Bench(dut)
    await bench.ask(Kind.SYNC, payload=b"1234")
    await bench.ask(Kind.IMAGE_END, 0, b"x")
    words = bench.packet(RING_BYTES + 100)
    task = cocotb.start_soon(bench.give(words))
    await ClockCycles(dut.clk, 4 * RING_BYTES)
    if task.done():
        raise fail("the ring has taken more than it holds")
    expected = [byte for data, keep, _ in words for n, byte in enumerate(data) if keep >> n & 1]
    found = bytearray()
    where = 0
    while len(found) < len(expected):
        await bench.line.send(escaped(Request(next(bench.tags) % 256, Kind.TAKE, where).content))
        for _ in range(PATIENCE // 50):
            if bench.line.heard:
                break
            await ClockCycles(dut.clk, 50)
        answer = bench.line.heard.pop()
        found += answer.payload[:-1]
        where += len(answer.payload) - 1
    if list(found) != expected:
        raise fail("the packet came out changed")
    await task
    bench.finish()


@cocotb.test()
async def a_bus_that_never_answers_does_not_stop_sync(dut):
    await start(dut)
    bench = Bench(dut)
    await bench.ask(Kind.SYNC, payload=b"1234")
    bench.bus.silent = True
    await bench.line.send(escaped(Request(1, Kind.READ, 4).content))
    await ClockCycles(dut.clk, 2000)
    if bench.line.heard:
        raise fail("an answer without one of the bus")
    await bench.ask(Kind.SYNC, payload=b"5678")
    bench.bus.silent = False
    await bench.ask(Kind.WRITE, 8, b"\x01\x02\x03\x04")
    await bench.ask(Kind.READ, 8)
    await bench.end()
