"""The Python driver against the chip in cocotb: frames, a descriptor, and each way in which they fail."""

from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotbext.axi import AxiResp, AxiStreamFrame

from kestrel.hw.spec.registers import FEATURES
from kestrel.hw.spec.status import COUNTERS
from kestrel.sw.driver.chip import BoardFault, Kestrel, KestrelError, Output, Result
from kestrel.sw.retrieval.pooling.integer_nip import IntegerNip
from kestrel.verif.blocks.support.simulator import fail
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.chip.ports import CHIP, CONFIG, EXPECTED, IMAGES, MODEL, NETWORK_SEED, PLAN, Chip

PATIENCE = 5 * MODEL.total + 10000


class CocotbBoard:
    """The driver's board, made of the bench's bus masters; it is called from a thread."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip

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
        answer = await self.chip.bus.read(address, 4)
        if answer.resp != AxiResp.OKAY:
            raise BoardFault
        return int.from_bytes(answer.data, "little")

    async def _write(self, address: int, value: int) -> None:
        if (await self.chip.bus.write(address, value.to_bytes(4, "little"))).resp != AxiResp.OKAY:
            raise BoardFault

    async def _wait(self) -> None:
        for _ in range(PATIENCE):
            if self.chip.dut.irq.value:
                return
            await self.chip.cycles(1)
        raise BoardFault

    async def _receive(self) -> bytes:
        beats = await self.chip.packet()
        return bytes(byte for byte, keep in zip(beats.tdata, beats.tkeep, strict=True) if keep)


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
        if chip.frame(image) != EXPECTED[picture].transpose(1, 2, 0).tobytes():
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
    expect_failure(lambda: chip.frame(b""), Result.FAILED, "image_size")
    chip.soft_reset()
    expect_failure(lambda: board_fault(board), Result.BUS_FAULT)
    if CHIP.descriptor:
        constants = descriptor_constants(NETWORK_SEED, EXPECTED)
        for output in (Output.BYTES, Output.BITS, Output.SUMS):
            chip.configure(output)
            if chip.frame(IMAGES[1]) != IntegerNip(constants, output - 1).frame(EXPECTED[1]):
                raise fail(f"descriptor {output}")
        chip.configure(Output(FEATURES))
    if chip.frame(IMAGES[2]) != EXPECTED[2].transpose(1, 2, 0).tobytes():
        raise fail("the last frame")


def board_fault(board: CocotbBoard) -> None:
    """An access to an address without a register, through the driver's own functions."""
    try:
        board.read(0x7FC)
    except BoardFault:
        raise KestrelError(Result.BUS_FAULT) from None


@cocotb.test()
async def the_python_driver(dut):
    await bridge(use)(CocotbBoard(await Chip.begin(dut)))
