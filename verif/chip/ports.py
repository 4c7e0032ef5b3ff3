"""What the chip's benches share: its ports driven by cocotbext-axi, its registers by name."""

import json
import os
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.registers import BY_NAME, FEATURES, error_names
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.verif.blocks.support.packets import packet_words
from kestrel.verif.blocks.support.run import CONFIG_VARIABLE
from kestrel.verif.blocks.support.simulator import PERIOD_NS, fail, pauses, reset, seed, start
from kestrel.verif.cases.engine_case import engine_case
from kestrel.verif.chip.expected import load_outputs
from kestrel.verif.chip.variables import CASE_VARIABLE, NETWORK_SEED_VARIABLE
from kestrel.verif.simulate.frame import image_beats, maps_from_beats


def bench_chip() -> ChipConfig:
    """The chip that the model was built for, as the caller hands it over."""
    values = json.loads(os.environ[CONFIG_VARIABLE])
    engine = values["engine"]
    engine["feature_words"] = tuple(engine["feature_words"])
    descriptor = DescriptorConfig(**values["descriptor"]) if values["descriptor"] else None
    return ChipConfig(EngineConfig(**engine), descriptor, values["startup_check"])


CHIP = bench_chip()
CONFIG = CHIP.engine
NETWORK_SEED = int(os.environ.get(NETWORK_SEED_VARIABLE, seed()))
CASE = engine_case(os.environ[CASE_VARIABLE], CONFIG, NETWORK_SEED)
PLAN, PICTURES = CASE.plan, CASE.pictures
MODEL = frame_cycles(PLAN)
OUTPUTS = load_outputs(Path())
"""The maps that go out, each uint8 [N, C, H, W], as ``kestrel.verif.chip.case`` has left them."""
EXPECTED = OUTPUTS[-1]
"""The last one."""

BURSTS = (1, 3, 20)
"""Cycles of a pause, on average."""

PATIENCE = 40 * MODEL.total + 2000


def bytes_of(picture: np.ndarray) -> bytes:
    """The image stream of a picture."""
    beats = image_beats(picture, CONFIG).view(np.uint8)
    return beats.reshape(len(beats), -1)[:, : CONFIG.stream_bytes].tobytes()


IMAGES = [bytes_of(picture) for picture in PICTURES]


class Chip:
    """The chip's ports. ``source``, ``sink`` and ``bus`` (``kestrel.verif.chip.peers``) stand in for
    cocotbext-axi's."""

    def __init__(self, dut: Any, *, source: Any = None, sink: Any = None, bus: Any = None) -> None:
        self.dut = dut
        clock = (dut.clk, dut.rst)
        self.source: Any = source or _quiet(AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), *clock))
        self.sink: Any = sink or _quiet(AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), *clock))
        self.bus: Any = bus
        if bus is None:
            self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), *clock)
            _quiet(self.bus.write_if)
            _quiet(self.bus.read_if)

    @classmethod
    async def begin(cls, dut: Any, *, reset_cycles: int = 3, **peers: Any) -> "Chip":
        """A reset chip with its clock running."""
        chip = cls(dut, **peers)
        await start(dut, reset_cycles)
        return chip

    async def reset(self, cycles: int = 2) -> None:
        """A reset, after which the streams are empty."""
        await reset(self.dut, cycles)
        self.source.clear()
        self.sink.clear()

    async def restart(self, picture: int) -> None:
        """After an abort or a soft reset: until the chip is idle, with nothing left in the streams. What had
        been sent of ``picture`` was thrown away, or, if nothing had been offered, waits for a frame."""
        await self.idle()
        for _ in range(PATIENCE):
            if not await self.field("status", "draining"):
                break
        else:
            raise fail("draining for ever")
        await self.cycles(8)
        if not (self.source.empty() and self.source.idle()):
            await self.write("output", select=FEATURES)
            await self.write("control", start=1)
            await self.features(picture)
            await self.idle()
        await self.cycles(8)
        self.sink.clear()
        await self.errors()

    def pause(self, source: Random, share: float) -> None:
        """Random pauses on both streams and all AXI4-Lite channels, each with bursts of a length of its own,
        or none with ``share`` 0."""

        def bursts() -> Iterator[bool]:
            go = pauses(Random(source.random()), share, source.choice(BURSTS))
            while True:
                yield not go()

        write, read = self.bus.write_if, self.bus.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        for port in (self.source, self.sink, *channels):
            port.pause = False
            if share:
                port.set_pause_generator(bursts())
            else:
                port.clear_pause_generator()

    # --- registers ---------------------------------------------------------------------------------------

    async def read(self, name: str, index: int = 0) -> int:
        """A register's word."""
        asked = self.bus.read(BY_NAME[name].address + 4 * index, 4)
        answer = await self._answer(f"reading {name}[{index}]", asked)
        if answer.resp != AxiResp.OKAY:
            raise fail(f"reading {name}[{index}]: {answer.resp}")
        return int.from_bytes(answer.data, "little")

    async def raw_read(self, address: int, length: int) -> Any:
        """The manager's answer to a read of ``length`` bytes."""
        return await self._answer(f"reading {address:#x}", self.bus.read(address, length))

    async def raw_write(self, address: int, data: bytes) -> Any:
        """The manager's answer to a write."""
        return await self._answer(f"writing {address:#x}", self.bus.write(address, data))

    async def _answer(self, what: str, asked: Coroutine[Any, Any, Any]) -> Any:
        """The answer to an access. A chip that gives none fails now, and not when the run's time is up."""
        try:
            return await with_timeout(asked, PATIENCE * PERIOD_NS, "ns")
        except SimTimeoutError:
            raise fail(f"{what}: no answer in {PATIENCE} cycles") from None

    async def field(self, name: str, field: str) -> int:
        return BY_NAME[name].unpack(await self.read(name))[field]

    async def write(self, name: str, **values: int) -> None:
        """Writes a register; fields not named become 0."""
        if not await self.try_write(name, **values):
            raise fail(f"writing {name} {values} was refused")

    async def try_write(self, name: str, **values: int) -> bool:
        """The same; False if it was refused."""
        register = BY_NAME[name]
        word = register.pack(**values).to_bytes(4, "little")
        answer = await self._answer(f"writing {name} {values}", self.bus.write(register.address, word))
        return answer.resp == AxiResp.OKAY

    async def errors(self) -> set[str]:
        """Names of the causes in ERROR, which are then cleared, and the interrupts with them."""
        word = await self.read("error")
        await self.raw_write(BY_NAME["error"].address, word.to_bytes(4, "little"))
        await self.raw_write(BY_NAME["irq_status"].address, bytes([255]))
        return set(error_names(word))

    async def idle(self) -> None:
        """Waits until the chip is not busy."""
        for _ in range(PATIENCE):
            if not await self.field("status", "busy"):
                return
        raise fail("busy for ever")

    async def cycles(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def interrupt(self) -> int:
        """Waits for irq; returns IRQ_STATUS and clears it."""
        for _ in range(PATIENCE):
            await FallingEdge(self.dut.clk)
            if self.dut.irq.value:
                break
        else:
            raise fail("no interrupt")
        await RisingEdge(self.dut.clk)
        status = await self.read("irq_status")
        await self.raw_write(BY_NAME["irq_status"].address, status.to_bytes(4, "little"))
        return status

    # --- frames ------------------------------------------------------------------------------------------

    async def send(self, picture: int) -> None:
        await self.source.send(AxiStreamFrame(IMAGES[picture]))

    async def features(self, picture: int) -> None:
        """Waits for the packets of a frame and compares them with the features of a picture.

        A packet that an abort has closed does not count."""
        await self.maps([wanted[picture] for wanted in OUTPUTS], f"picture {picture}")

    async def maps(self, wanted: Sequence[np.ndarray], what: str) -> None:
        """The same with the maps that should come out, each uint8 [C, H, W]."""
        rows: list[int] = []
        for _ in OUTPUTS:
            rows += packet_words(await self.packet(), CONFIG.word_lanes)
        for found, expected in zip(maps_from_beats(np.array(rows, "<u4"), PLAN), wanted, strict=True):
            if not np.array_equal(found, expected):
                raise fail(f"features of {what} are wrong")

    async def packet(self) -> Any:
        """The next packet that was not closed by an abort."""
        for _ in range(PATIENCE):
            while not self.sink.empty():
                beats = self.sink.recv_nowait(compact=False)
                if any(beats.tkeep[-CONFIG.word_lanes :]):
                    return beats
            await FallingEdge(self.dut.clk)
        raise fail("no packet came out")

    async def frame(self, picture: int, *, clean: bool = True) -> None:
        """Send a picture, start, wait for the interrupt, compare. ``clean``: nothing may go wrong."""
        await self.idle()
        await self.write("irq_enable", done=1, error=1)
        await self.send(picture)
        await self.write("control", start=1)
        status = BY_NAME["irq_status"].unpack(await self.interrupt())
        if clean and (status["error"] or not status["done"]):
            raise fail(f"the frame ended with {status}, {await self.errors()}")
        await self.features(picture)
        await self.idle()
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        if not (self.sink.empty() and self.source.empty() and self.source.idle()):
            raise fail("something is left in a stream")
        await RisingEdge(self.dut.clk)


def _quiet(port: Any) -> Any:
    port.log.setLevel("ERROR")
    return port
