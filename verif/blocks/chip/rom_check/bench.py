"""Bench of the self-check: ROMs of any size up to the whole, good and bad in every way; resets on the way.

The CRC-32 is zlib's. What the header says is taken when the block identifies the image; the ROMs may change
after that, as a failing one would.
"""

import zlib
from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.hw.chip.rom_check import Rom, checked_roms
from kestrel.hw.spec.table import IDENTITY_FIELDS, IDENTITY_WORDS
from kestrel.verif.blocks.chip.rom_check import chip_config
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import PERIOD_NS, Scoreboard, fail, rng

ROMS = checked_roms(chip_config(bench_config()))
TABLE_CRC = 10
"""The table's word with its own CRC."""

IDENTIFYING = IDENTITY_WORDS + 4
"""Cycles after a reset until the header must have been read."""

Images = dict[str, list[int]]
"""The words of each ROM."""

HEADER_READS = [(ROMS[0].name, IDENTITY_FIELDS[0].word + n) for n in range(IDENTITY_WORDS + 1)]
"""Which ROM is read at which address after a reset: what comes last is looked at by nobody."""


def crc(rom: Rom, words: list[int]) -> int:
    """Of a ROM's first words, the table's own CRC taken as 0."""
    if rom is ROMS[0]:
        words = [0 if n == TABLE_CRC else word for n, word in enumerate(words)]
    return zlib.crc32(b"".join(word.to_bytes(rom.word_bits // 8, "little") for word in words))


def identity(images: Images) -> dict[str, int]:
    """What the table's header says."""
    table = images[ROMS[0].name]
    return {f.name: table[f.word] >> f.lsb & ((1 << f.width) - 1) for f in IDENTITY_FIELDS}


def write(images: Images, **fields: int) -> None:
    """Fields of the header."""
    table = images[ROMS[0].name]
    for f in IDENTITY_FIELDS:
        if f.name in fields:
            table[f.word] = table[f.word] & ~(((1 << f.width) - 1) << f.lsb) | fields[f.name] << f.lsb


def good_images(source: Random, counts: dict[str, int]) -> Images:
    """ROMs full of anything, of which the first ``counts`` words have the CRCs that the header says."""
    images = {rom.name: [source.getrandbits(rom.word_bits) for _ in range(rom.depth)] for rom in ROMS}
    write(images, **{f"{name}_words": count for name, count in counts.items()})
    for rom in reversed(ROMS):  # the table's covers the others
        write(images, **{f"{rom.name}_crc": crc(rom, images[rom.name][: counts[rom.name]])})
    return images


@dataclass(frozen=True)
class Verdict:
    """Of a check. None for a CRC that is not determined; reads: as HEADER_READS."""

    good: dict[str, int]
    crcs: dict[str, int | None]
    cycles: int
    reads: list[tuple[str, int]]


def expected(said: dict[str, int], images: Images) -> Verdict:
    """The verdict on ROMs of which the header said ``said``."""
    good: dict[str, int] = {}
    crcs: dict[str, int | None] = {}
    reads: list[tuple[str, int]] = []
    cycles = 1  # the one in which ``check`` is high
    for rom in ROMS:
        words = said[f"{rom.name}_words"]
        possible = 0 < words <= rom.depth
        crcs[rom.name] = crc(rom, images[rom.name][:words]) if words <= rom.depth else None
        good[rom.name] = int(possible and crcs[rom.name] == said[f"{rom.name}_crc"])
        cycles += rom.cycles(words) if possible else 3
        # The word behind the last is read and not looked at.
        reads += [(rom.name, n % (1 << rom.address_bits)) for n in range(words + 1 if possible else 1)]
    return Verdict(good, crcs, cycles, reads)


class Bench:
    """The block with its ROMs: a word comes in the cycle after its address and stays until the next."""

    def __init__(self, dut: Any, source: Random, images: Images) -> None:
        self.dut, self.block, self.source, self.images = dut, Block(dut), source, images
        self.reads: list[tuple[str, int]] = []

    async def cycle(self, *, check: int = 0, rst: int = 0) -> dict[str, Any]:
        """One cycle; returns its outputs."""
        self.block.drive({"check": check, "rst": rst})
        await FallingEdge(self.dut.clk)
        seen = {name: self.block.sample(name) for name in self.block.outputs}
        await RisingEdge(self.dut.clk)
        for rom in ROMS:
            if seen[f"{rom.name}_en"] and not rst:
                words, address = self.images[rom.name], seen[f"{rom.name}_addr"]
                self.reads.append((rom.name, address))
                word = words[address] if address < len(words) else self.source.getrandbits(rom.word_bits)
                self.block.drive({f"{rom.name}_data": word})
        return seen

    async def reset(self) -> dict[str, int]:
        """Resets the block and lets it identify the image, with ``check`` at any time; returns what the
        header says."""
        self.block.drive({f"{rom.name}_data": self.source.getrandbits(rom.word_bits) for rom in ROMS})
        await self.cycle(rst=1, check=self.source.getrandbits(1))
        said, self.reads = identity(self.images), []
        for _ in range(IDENTIFYING):
            seen = await self.cycle(check=0)
            if not seen["busy"]:
                break
            if seen["done"] or seen["identified"]:
                raise fail(f"done {seen['done']}, identified {seen['identified']} while the header is read")
        else:
            raise fail(f"busy {IDENTIFYING} cycles after the reset")
        if not seen["identified"] or seen["identity"] != said:
            raise fail(f"identified {seen['identified']}: {seen['identity']}, not {said}")
        if self.reads != HEADER_READS:
            raise fail(f"the header was read at {self.reads}, not at {HEADER_READS}")
        return said

    async def check(self, said: dict[str, int], board: Scoreboard[Any], stop: int | None = None) -> None:
        """A self-check, or so many cycles of it. It begins once, however often it is asked for."""
        wanted = expected(said, self.images)
        self.reads = []
        seen = await self.cycle(check=1)
        if seen["busy"]:
            raise fail("busy before a check")
        for n in range(1, wanted.cycles + 1):
            if n == stop:
                return
            last = n == wanted.cycles
            seen = await self.cycle(check=0 if n >= wanted.cycles - 1 else self.source.getrandbits(1))
            board.expect([(n, int(not last), int(last), 1, said)])
            board.receive((n, seen["busy"], seen["done"], seen["identified"], seen["identity"]))
        board.expect([(wanted.good, wanted.reads)])
        board.receive((seen["good"], self.reads))
        for name, value in wanted.crcs.items():
            if value is not None:
                board.expect([(name, value)])
                board.receive((name, seen["crcs"][name]))
        for _ in range(self.source.randint(0, 3)):
            after = await self.cycle()
            if after != seen | {"done": 0} | {f"{rom.name}_addr": after[f"{rom.name}_addr"] for rom in ROMS}:
                raise fail(f"after the check: {after}")


def counts(source: Random, turn: int) -> dict[str, int]:
    """Words of each ROM: the least and the most first, then any."""
    table = ROMS[0].name
    if turn < 2:
        return {rom.name: (16 if rom.name == table else 1) if turn else rom.depth for rom in ROMS}
    most = {rom.name: rom.depth if source.random() < 0.15 else min(40, rom.depth) for rom in ROMS}
    return {rom.name: source.randint(15 if rom.name == table else 1, most[rom.name]) for rom in ROMS}


def spoil(source: Random, images: Images) -> None:
    """One thing that is wrong with the ROMs or with what the header says of them, or none."""
    rom = source.choice(ROMS)
    words = identity(images)[f"{rom.name}_words"]
    kind = source.randrange(6)
    if kind == 0:
        wrong = source.choice((0, words - 1, words + 1, rom.depth + 1, 1 << 31))
        write(images, **{f"{rom.name}_words": wrong})
    elif kind == 1:
        write(images, **{f"{rom.name}_crc": identity(images)[f"{rom.name}_crc"] ^ 1 << source.randrange(32)})
    elif kind == 2:
        write(images, image_height=source.getrandbits(16), image_width=source.getrandbits(16))
    else:
        flip(source, images, rom, min(words + 2, rom.depth))


def flip(source: Random, images: Images, rom: Rom, below: int) -> None:
    """A bit of a word below ``below``: the last one more often."""
    place = source.choice((below - 1, source.randrange(below)))
    images[rom.name][place] ^= 1 << source.randrange(rom.word_bits)


@cocotb.test()
async def good_and_bad(dut):
    """Good ROMs; then each with a fault, in the ROM when the header is read or only after that."""
    source = rng("roms")
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    found = [0, 0]
    with Scoreboard[Any]("check") as board:
        for turn in range(60):
            images = good_images(source, counts(source, turn))
            bench = Bench(dut, source, images)
            if turn >= 8:
                spoil(source, images)
            said = await bench.reset()
            for again in range(source.randint(1, 2)):
                await bench.check(said, board)
                found[min(expected(said, images).good.values())] += 1
                if turn >= 8 and not again:
                    rom = source.choice(ROMS)
                    flip(source, images, rom, rom.depth)
    if min(found) < 8:
        raise fail(
            f"checks that found a fault and that found none: {found}; at least 8 of each were expected"
        )


@cocotb.test()
async def resets_in_the_middle(dut):
    """A check that a reset breaks off in any cycle, and the whole one after it."""
    source = rng("resets")
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    with Scoreboard[Any]("check") as board:
        for _ in range(20):
            bench = Bench(dut, source, good_images(source, counts(source, 2)))
            said = await bench.reset()
            await bench.check(said, board, stop=source.randint(1, expected(said, bench.images).cycles))
            said = await bench.reset()
            await bench.check(said, board)


@cocotb.test()
async def every_bit_of_a_word_count(dut):
    """Each, in turn, where the other bits would do."""
    source = rng("bits")
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    images = good_images(source, counts(source, 1))
    bench = Bench(dut, source, images)
    with Scoreboard[Any]("check") as board:
        for rom in ROMS:
            field = f"{rom.name}_words"
            words = identity(images)[field]
            for bit in range(32):
                write(images, **{field: words ^ 1 << bit})
                await bench.check(await bench.reset(), board)
            write(images, **{field: words})
        await bench.check(await bench.reset(), board)
