"""The Python driver against the chip in cocotb: frames, a descriptor, and each way in which they fail."""

from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotbext.axi import AxiResp, AxiStreamFrame

from kestrel.hw.spec.registers import FEATURES
from kestrel.hw.spec.status import COUNTERS
from kestrel.sw.driver.chip import BoardFault, Kestrel, KestrelError, Output, Result
from kestrel.sw.retrieval.pooling.integer_nip import IntegerNip
from kestrel.verif.blocks.support.simulator import fail, start
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.chip.peers import Sink
from kestrel.verif.chip.ports import CHIP, CONFIG, EXPECTED, IMAGES, MODEL, NETWORK_SEED, PLAN, Chip

_, CHANNELS, HEIGHT, WIDTH = EXPECTED.shape
BEATS = HEIGHT * WIDTH * -(-CHANNELS // CONFIG.word_lanes)
"""Of a packet of features."""

FEATURE_BYTES = [maps.transpose(1, 2, 0).tobytes() for maps in EXPECTED]
PATIENCE = 5 * MODEL.total + 10000


class CocotbBoard:
    """What boards have in common, made of the bench's masters; called from a thread."""

    def __init__(self, dut: Any) -> None:
        self.patience = PATIENCE
        self.sink = Sink(dut, lambda _valid, _taken: self.is_ready())
        self.chip = Chip(dut, sink=self.sink)

    def is_ready(self) -> bool:
        """Whether READY of the packets' stream is high."""
        raise NotImplementedError

    def read(self, address: int) -> int:
        return resume(self._read)(address)

    def write(self, address: int, value: int) -> None:
        resume(self._write)(address, value)

    def wait(self) -> None:
        resume(self._wait)()

    def send(self, image: bytes) -> None:
        resume(self.chip.source.send)(AxiStreamFrame(image))

    def receive(self) -> bytes:
        return resume(self._receive)()

    async def _read(self, address: int) -> int:
        answer = await self.chip.raw_read(address, 4)
        if answer.resp != AxiResp.OKAY:
            raise BoardFault
        return int.from_bytes(answer.data, "little")

    async def _write(self, address: int, value: int) -> None:
        if (await self.chip.raw_write(address, value.to_bytes(4, "little"))).resp != AxiResp.OKAY:
            raise BoardFault

    async def _wait(self) -> None:
        for _ in range(self.patience):
            if self.chip.dut.irq.value:
                return
            await self.chip.cycles(1)
        raise BoardFault

    async def _receive(self) -> bytes:
        for _ in range(self.patience):
            if not self.sink.empty():
                return bytes(self.sink.recv_nowait().tdata)
            await self.chip.cycles(1)
        raise BoardFault


class QueueBoard(CocotbBoard):
    """A queue of one packet, which drops one that ends in a beat without bytes."""

    def is_ready(self) -> bool:
        packets = self.sink.packets
        if packets and not any(packets[-1].tkeep[-CONFIG.word_lanes :]):
            packets.pop()
        return self.sink.held < BEATS


class EmptiedQueueBoard(CocotbBoard):
    """A queue of one packet, which does not look at TKEEP and can be emptied."""

    def is_ready(self) -> bool:
        return self.sink.held < BEATS

    def cancel(self) -> None:
        self.sink.clear()


class DmaBoard(CocotbBoard):
    """Ready from ``prepare`` on to the end of a packet, and never else."""

    armed = False

    def is_ready(self) -> bool:
        return self.armed and self.sink.empty()

    def prepare(self) -> None:
        self.sink.clear()
        self.armed = True

    def cancel(self) -> None:
        self.sink.clear()
        self.armed = False

    async def _receive(self) -> bytes:
        packet = await super()._receive()
        self.armed = False
        return packet


BOARDS = (QueueBoard, EmptiedQueueBoard, DmaBoard)


def expect_failure(call: Any, result: Result, *causes: str) -> None:
    try:
        call()
    except KestrelError as error:
        if (error.result, error.causes) != (result, causes):
            raise fail(f"{error!r}, not {result} {causes}") from error
        return
    raise fail(f"no error, not {result} {causes}")


def use(board: CocotbBoard) -> None:
    """What firmware would do, and the ways in which it may fail."""
    chip = Kestrel(board)
    chip.open()
    chip.expect_network(chip.network_crc, PLAN.height, PLAN.width)
    expect_failure(lambda: chip.expect_network(1, PLAN.height, PLAN.width), Result.OTHER_NETWORK)
    chip.check()
    chip.configure(Output.FEATURES)
    for picture, image in enumerate(IMAGES):
        if chip.frame(image) != FEATURE_BYTES[picture]:
            raise fail(f"features of picture {picture}")
    if chip.frames() != len(IMAGES) or chip.cycles() != MODEL.total:
        raise fail(f"{chip.frames()} frames, {chip.cycles()} cycles")
    if sum(chip.counter(n) for n in range(1, len(COUNTERS))) != chip.counter(0):
        raise fail("counters")

    step = CONFIG.stream_bytes
    expect_failure(lambda: chip.frame(IMAGES[0][:step]), Result.FAILED, "frame_short")
    expect_failure(lambda: chip.frame(IMAGES[0] + bytes(step)), Result.FAILED, "frame_long")
    chip.start()
    expect_failure(chip.start, Result.IS_BUSY)
    expect_failure(lambda: chip.configure(Output.FEATURES), Result.IS_BUSY)
    expect_failure(chip.wait, Result.TIMEOUT)  # no picture
    chip.abort()
    board.write(0x018, PLAN.height + 1)
    expect_failure(lambda: chip.frame(IMAGES[0]), Result.FAILED, "image_size")
    chip.soft_reset()
    if chip.frame(IMAGES[1]) != FEATURE_BYTES[1]:
        raise fail("the frame after one that was refused")
    expect_failure(lambda: board_fault(board), Result.BUS_FAULT)
    if CHIP.descriptor:
        constants = descriptor_constants(NETWORK_SEED, [EXPECTED])
        for output in (Output.BYTES, Output.BITS, Output.SUMS):
            chip.configure(output)
            if chip.frame(IMAGES[1]) != IntegerNip(constants, output - 1).frame(EXPECTED[1]):
                raise fail(f"descriptor {output}")
        chip.configure(Output(FEATURES))
    if chip.frame(IMAGES[2]) != FEATURE_BYTES[2]:
        raise fail("the last frame")


def board_fault(board: CocotbBoard) -> None:
    """An access to an address without a register, through the driver's own functions."""
    try:
        board.read(0x7FC)
    except BoardFault:
        raise KestrelError(Result.BUS_FAULT) from None


def lose_patience(board: CocotbBoard) -> None:
    """In the image, in the layers, and at many places of the packet: the next frame is none the worse."""
    chip = Kestrel(board)
    chip.open()
    for patience in (1, MODEL.total // 2, *range(MODEL.total - BEATS - 10, MODEL.total - 20, 20)):
        board.patience = patience
        expect_failure(lambda: chip.frame(IMAGES[0]), Result.TIMEOUT)
        board.patience = PATIENCE
        if chip.frame(IMAGES[1]) != FEATURE_BYTES[1]:
            raise fail(f"the frame after one that timed out after {patience} cycles")


@cocotb.test()
@cocotb.parametrize(kind=BOARDS, host=(use, lose_patience))
async def the_python_driver(dut, kind, host):
    board = kind(dut)
    await start(dut)
    await bridge(host)(board)
