"""Masters and slaves of the chip's ports with habits that those of cocotbext-axi do not have.

Each has what ``kestrel.verif.chip.ports.Chip`` uses of the class it stands in for. As in
``kestrel.verif.blocks.support.simulator`` inputs change after a rising edge and outputs are looked at before
the next one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiResp, AxiStreamFrame

Habit = Callable[[bool, bool], bool]
"""Whether READY is high in a cycle, or VALID may rise in it. The arguments tell of the last cycle: the other
side's VALID or READY was high; a beat was taken."""

ANSWER_WITHIN = 10_000
"""Cycles in which a request must have been answered."""


class Sink:
    """For AxiStreamSink: takes packets when ``ready`` says so."""

    def __init__(self, dut: Any, ready: Habit) -> None:
        self.dut = dut
        self.ready = ready
        self.packets: deque[Any] = deque()  # AxiStreamFrame
        self.beats: list[tuple[int, int]] = []
        self.lanes = len(dut.m_axis_tkeep)
        dut.m_axis_tready.value = 0
        cocotb.start_soon(self._run())

    @property
    def held(self) -> int:
        """Beats that were taken and not received."""
        return len(self.beats) + sum(len(packet.tkeep) // self.lanes for packet in self.packets)

    def empty(self) -> bool:
        return not self.packets

    def recv_nowait(self, compact: bool = True) -> Any:
        """The packet; with ``compact`` only the bytes that TKEEP names."""
        packet = self.packets.popleft()
        if not compact:
            return packet
        return AxiStreamFrame(bytes(b for b, kept in zip(packet.tdata, packet.tkeep, strict=True) if kept))

    def clear(self) -> None:
        self.packets.clear()
        self.beats.clear()

    async def _run(self) -> None:
        dut, lanes = self.dut, self.lanes
        valid = taken = False
        while True:
            ready = self.ready(valid, taken)
            dut.m_axis_tready.value = int(ready)
            await FallingEdge(dut.clk)
            valid = bool(dut.m_axis_tvalid.value) and not dut.rst.value
            taken = valid and ready
            if taken:
                self.beats.append((int(dut.m_axis_tdata.value), int(dut.m_axis_tkeep.value)))
                if dut.m_axis_tlast.value:
                    data = b"".join(word.to_bytes(lanes, "little") for word, _ in self.beats)
                    keep = [kept >> lane & 1 for _, kept in self.beats for lane in range(lanes)]
                    self.packets.append(AxiStreamFrame(data, tkeep=keep))
                    self.beats.clear()
            await RisingEdge(dut.clk)


class Source:
    """For AxiStreamSource: raises VALID when ``offer`` says so, and keeps it until the beat is taken."""

    def __init__(self, dut: Any, offer: Habit) -> None:
        self.dut = dut
        self.offer = offer
        self.beats: deque[tuple[int, int]] = deque()
        dut.s_axis_tvalid.value = 0
        cocotb.start_soon(self._run())

    async def send(self, frame: Any, last: bool = True) -> None:
        """Appends an image to what is to be sent; ``last``: with TLAST at its end."""
        step = len(self.dut.s_axis_tdata) // 8
        words = [bytes(frame.tdata[at : at + step]) for at in range(0, len(frame.tdata), step)]
        for number, word in enumerate(words, 1):
            self.beats.append((int.from_bytes(word, "little"), int(last and number == len(words))))

    def empty(self) -> bool:
        return not self.beats

    def idle(self) -> bool:
        return not self.beats

    def clear(self) -> None:
        self.beats.clear()

    async def _run(self) -> None:
        dut = self.dut
        ready = offered = taken = False
        while True:
            offered = bool(self.beats) and (offered or self.offer(ready, taken))
            dut.s_axis_tvalid.value = int(offered)
            if offered:
                dut.s_axis_tdata.value, dut.s_axis_tlast.value = self.beats[0]
            await FallingEdge(dut.clk)
            ready = bool(dut.s_axis_tready.value)
            taken = offered and ready
            if taken:
                self.beats.popleft()
                offered = False
            await RisingEdge(dut.clk)


@dataclass(frozen=True)
class Answer:
    resp: AxiResp
    data: bytes = b""


@dataclass(frozen=True)
class Order:
    """Cycles from a request's beginning until AWVALID, WVALID and ARVALID rise, and from an answer's VALID on
    until READY does, at least one; ``None``: READY is high before the answer comes. ``after_ready``: a VALID
    rises only when its READY has been seen."""

    address: int = 0
    data: int = 0
    answer: int | None = None
    after_ready: bool = False


class Master:
    """For AxiLiteMaster: one request at a time, in the order of ``order``."""

    def __init__(self, dut: Any, order: Order) -> None:
        self.dut = dut
        self.order = order
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot"):
            self._port(name).value = 0

    async def read(self, address: int, length: int) -> Answer:
        """Reads the word at ``address``; ``length`` is 4."""
        asked = cocotb.start_soon(self._ask("ar", {"araddr": address}, self.order.address))
        answer = await self._answer("r")
        await asked
        return Answer(answer.resp, answer.data[:length])

    async def write(self, address: int, data: bytes) -> Answer:
        """Writes up to four bytes within a word."""
        place = address % 4
        word = int.from_bytes(bytes(place) + data, "little")
        strobes = ((1 << len(data)) - 1) << place
        asked = [
            cocotb.start_soon(self._ask("aw", {"awaddr": address - place}, self.order.address)),
            cocotb.start_soon(self._ask("w", {"wdata": word, "wstrb": strobes}, self.order.data)),
        ]
        answer = await self._answer("b")
        for task in asked:
            await task
        return answer

    def _port(self, name: str) -> Any:
        return getattr(self.dut, f"s_axil_{name}")

    async def _ask(self, channel: str, payload: dict[str, int], delay: int) -> None:
        """A beat of a request's channel."""
        valid, ready = self._port(f"{channel}valid"), self._port(f"{channel}ready")
        for _ in range(delay):
            await RisingEdge(self.dut.clk)
        if self.order.after_ready:
            await self._until(ready)
            await RisingEdge(self.dut.clk)
        for name, value in payload.items():
            self._port(name).value = value
        valid.value = 1
        await self._until(ready)
        await RisingEdge(self.dut.clk)
        valid.value = 0
        for name in payload:
            self._port(name).value = 0

    async def _answer(self, channel: str) -> Answer:
        valid, ready = self._port(f"{channel}valid"), self._port(f"{channel}ready")
        ready.value = int(self.order.answer is None)
        await self._until(valid)
        if self.order.answer is not None:
            for _ in range(self.order.answer):
                await RisingEdge(self.dut.clk)
            ready.value = 1
            await FallingEdge(self.dut.clk)
        response = AxiResp(int(self._port(f"{channel}resp").value))
        data = int(self._port("rdata").value).to_bytes(4, "little") if channel == "r" else b""
        await RisingEdge(self.dut.clk)
        ready.value = 0
        return Answer(response, data)

    async def _until(self, signal: Any) -> None:
        """The next falling edge at which a signal is high."""
        for _ in range(ANSWER_WITHIN):
            await FallingEdge(self.dut.clk)
            if signal.value:
                return
        raise AssertionError(f"{signal._name} stays low")
