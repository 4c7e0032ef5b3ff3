"""Random disturbances of a chip, each followed by a correct frame; TURNS_VARIABLE says how many.

What was done and found goes as JSON to COUNTS_FILE in the run's folder.
"""

import json
import os
from collections import Counter
from pathlib import Path

import cocotb
from cocotbext.axi import AxiResp, AxiStreamFrame

from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS
from kestrel.hw.spec.registers import BY_NAME, FEATURES, RAW_SUMS, REGISTERS
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.retrieval.pooling.integer_nip import IntegerNip
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.cases.engine_case import descriptor_constants
from kestrel.verif.chip.ports import (
    CASE,
    CHIP,
    CONFIG,
    EXPECTED,
    IMAGES,
    MODEL,
    NETWORK_SEED,
    PICTURES,
    Chip,
    bytes_of,
)  # fmt: skip
from kestrel.verif.chip.variables import COUNTS_FILE, TURNS_VARIABLE
from kestrel.verif.simulate.compare import reference_maps

TURNS = int(os.environ[TURNS_VARIABLE])
KINDS = (
    "reset", "abort", "soft reset", "short", "long", "hammer", "back to back", "refused write",
    "flipped picture", "flipped rom",
)  # fmt: skip
PAUSES = (0, 0, 0.1, 0.5, 0.8)
WHOLE = BY_NAME["part"].unpack(BY_NAME["part"].reset)
OUTPUTS = (FEATURES, *range(1, RAW_SUMS + 1)) if CHIP.descriptor else (FEATURES,)
ROMS = {"weights": CONFIG.rom_word_bits, "table": TABLE_WORD_BITS}
ROMS |= {"descriptor": CHIP.descriptor.word_bits} if CHIP.descriptor else {}
"""Bits of a word of each."""
INSTANCES = {"table": "table_"}
"""Of a ROM in the Verilog, where it is not called as its image: a word of Verilog."""


class Run:
    """The chip, a random source, and the counts."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.source = rng("robustness")
        self.counts: Counter[str] = Counter()

    async def started(self, picture: int, output: int) -> None:
        """A frame under way, with pauses."""
        chip = self.chip
        await chip.idle()
        await chip.errors()
        self.pause()
        await chip.write("output", select=output)
        await chip.write("part", **{**WHOLE, "last_crop": self.source.randrange(2)})
        await chip.send(picture)
        await chip.write("control", start=1)

    def pause(self) -> None:
        share = self.source.choice(PAUSES)
        self.chip.pause(self.source, share)
        self.counts["frames with pauses"] += share > 0

    async def frame(self) -> None:
        """A correct frame, whose output is compared with the reference."""
        chip, picture = self.chip, self.source.randrange(len(PICTURES))
        output = self.source.choice(OUTPUTS)
        self.pause()
        await chip.idle()
        await chip.write("output", select=output)
        if output == FEATURES:
            await chip.frame(picture)
        else:
            await chip.write("part", **WHOLE)
            await chip.write("irq_enable", done=1, error=1)
            await chip.send(picture)
            await chip.write("control", start=1)
            status = BY_NAME["irq_status"].unpack(await chip.interrupt())
            if status["error"] or not status["done"]:
                raise fail(f"a descriptor ended with {status}, {await chip.errors()}")
            beats = await chip.packet()
            found = bytes(b for b, keep in zip(beats.tdata, beats.tkeep, strict=True) if keep)
            constants = descriptor_constants(NETWORK_SEED, [EXPECTED])
            if found != IntegerNip(constants, output - 1).frame(EXPECTED[picture]):
                raise fail("a descriptor is wrong")
            await chip.cycles(4)
            if not chip.sink.empty():
                raise fail("something is left in the output")
            self.counts["descriptors"] += 1
        if await chip.read("frames") == 0:
            raise fail("the frame was not counted")
        self.counts["correct frames"] += 1

    async def disturb(self, kind: str) -> None:
        self.counts[kind] += 1
        await getattr(self, kind.replace(" ", "_"))()

    async def _interrupted(self) -> None:
        output = self.source.choice(OUTPUTS)
        await self.started(0, output)
        span = MODEL.total if output == FEATURES else 3 * MODEL.total
        await self.chip.cycles(self.source.randrange(span))

    async def reset(self) -> None:
        await self._interrupted()
        await self.chip.reset(self.source.randint(1, 3))
        if await self.chip.read("frames") or await self.chip.read("error"):
            raise fail("a reset left something")

    async def abort(self) -> None:
        await self.chip.idle()
        before = await self.chip.read("frames")
        await self._interrupted()
        await self.chip.write("control", abort=1)
        await self.chip.idle()
        aborted = "aborted" in await self.chip.errors()
        ended = await self.chip.read("frames") - before
        if aborted == bool(ended) or ended > 1:
            raise fail(f"aborted {aborted}, {ended} frames counted")
        self.counts["aborts in time"] += aborted
        await self.chip.restart(0)

    async def soft_reset(self) -> None:
        await self._interrupted()
        await self.chip.write("control", soft_reset=1)
        await self.chip.restart(0)
        if await self.chip.read("irq_enable") or await self.chip.read("scratch"):
            raise fail("a soft reset left something")

    async def _wrong_length(self, beats: int, cause: str) -> None:
        chip = self.chip
        await chip.idle()
        await chip.errors()
        self.pause()
        await chip.write("output", select=self.source.choice(OUTPUTS))
        await chip.source.send(AxiStreamFrame((IMAGES[0] * 3)[: beats * CONFIG.stream_bytes]))
        await chip.write("irq_enable", error=1)
        await chip.write("control", start=1)
        await chip.interrupt()
        causes = await chip.errors()
        if causes != {cause}:
            raise fail(f"{beats} beats: causes {causes}")
        self.counts["errors found"] += 1

    async def short(self) -> None:
        await self._wrong_length(
            self.source.randrange(1, len(IMAGES[0]) // CONFIG.stream_bytes), "frame_short"
        )

    async def long(self) -> None:
        beats = len(IMAGES[0]) // CONFIG.stream_bytes
        await self._wrong_length(beats + self.source.randrange(1, beats), "frame_long")

    async def hammer(self) -> None:
        """Reads and writes of any register while a frame runs."""
        chip = self.chip
        await self.started(1, FEATURES)
        refused = 0
        for _ in range(self.source.randrange(10, 40)):
            register = self.source.choice([r for r in REGISTERS if r.name not in {"control", "irq_status"}])
            if not await chip.field("status", "busy"):
                break
            address = register.address + 4 * self.source.randrange(register.count)
            if self.source.random() < 0.5 or (register.access == "rw" and not register.locked):
                await chip.raw_read(address, 4)
            else:
                # Only what cannot take effect: the frame may end at any time.
                known = (await chip.read(register.name)).to_bytes(4, "little")
                answer = await chip.raw_write(address, known)
                refused += answer.resp != AxiResp.OKAY
            self.counts["register accesses in a frame"] += 1
        self.counts["refused writes found"] += refused
        await chip.features(1)
        await chip.idle()
        await chip.errors()

    async def back_to_back(self) -> None:
        """Two frames without a beat between them."""
        chip = self.chip
        await chip.idle()
        await chip.errors()
        self.pause()
        await chip.write("output", select=FEATURES)
        await chip.write("mode", continuous=1)
        for picture in (0, 1):
            await chip.send(picture)
        for picture in (0, 1):
            await chip.features(picture)
            self.counts["correct frames"] += 1
        await chip.idle()
        await chip.write("mode")
        await chip.errors()

    async def refused_write(self) -> None:
        chip = self.chip
        await self.started(0, FEATURES)
        if await chip.field("status", "busy"):
            answered = await chip.try_write("control", start=1)
            if not answered:
                if "write_busy" not in await chip.errors():
                    raise fail("a refused start without a cause")
                self.counts["refused writes found"] += 1
        await chip.features(0)

    async def flipped_picture(self) -> None:
        """A bit of the stream is another one: the features are those of that picture."""
        chip = self.chip
        await chip.idle()
        await chip.errors()
        picture = PICTURES[self.source.randrange(len(PICTURES))].copy()
        picture.reshape(-1)[self.source.randrange(picture.size)] ^= 1 << self.source.randrange(PIXEL_BITS)
        expected = reference_maps(CASE.network, picture)
        self.pause()
        await chip.write("output", select=FEATURES)
        await chip.source.send(AxiStreamFrame(bytes_of(picture)))
        await chip.write("control", start=1)
        await chip.maps([expected[number] for number in CASE.outputs], "a picture with a flipped bit")
        await chip.idle()
        if causes := await chip.errors():
            raise fail(f"a picture with a flipped bit: causes {causes}")

    async def flipped_rom(self) -> None:
        """A bit of a ROM is another one: the self-check finds it and no frame starts, until the bit is right
        again and checked."""
        chip = self.chip
        await chip.idle()
        await chip.errors()
        rom = self.source.choice(list(ROMS))
        memory = getattr(chip.dut, INSTANCES.get(rom, rom)).mem
        words = Path(f"{rom}.mem").read_bytes().count(b"\n")
        # Of the table's header, the words that say how long ROMs are change what is checked.
        at = self.source.randrange(RECORD_WORDS if rom == "table" else 0, words)
        right = memory[at].value.to_unsigned()
        memory[at].value = right ^ 1 << self.source.randrange(ROMS[rom])
        await self._check("check_bad", {f"{rom}_crc"})
        await chip.write("control", start=1)
        await chip.cycles(4)
        if (causes := await chip.errors()) != {"not_checked"}:
            raise fail(f"a start after a failed check: causes {causes}")
        memory[at].value = right
        await self._check("check_good", set())
        self.counts["flipped bits found"] += 1

    async def _check(self, outcome: str, causes: set[str]) -> None:
        await self.chip.write("control", check=1)
        await self.chip.idle()
        found = await self.chip.errors()
        if found != causes or not await self.chip.field("status", outcome):
            raise fail(f"a self-check that should end with {outcome}: causes {found}")


@cocotb.test()
async def robustness(dut):
    """All disturbances in random order; the seed of the simulation also decides the power-up state."""
    run = Run(await Chip.begin(dut))
    await run.frame()
    for turn in range(TURNS):
        kind = KINDS[turn % len(KINDS)] if turn < len(KINDS) else run.source.choice(KINDS)
        try:
            await run.disturb(kind)
            await run.frame()
        except AssertionError as error:
            raise AssertionError(f"turn {turn}, {kind}: {error}") from error
    if run.counts["errors found"] != run.counts["short"] + run.counts["long"]:
        raise fail("a wrong length was not found")
    if run.counts["flipped bits found"] != run.counts["flipped rom"]:
        raise fail("a flipped bit was not found")
    Path(COUNTS_FILE).write_text(json.dumps(run.counts), encoding="ascii")
