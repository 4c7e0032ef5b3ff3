"""Bench of the descriptor unit: descriptors of random maps, byte for byte those of ``sw.retrieval``, every
frame in the cycles of the closed form."""

from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.common.handover import layer_layout, visit_layout
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_ERROR_MAP,
    DESCRIPTOR_ERROR_PARTIAL,
    DESCRIPTOR_ERROR_ROM,
    DESCRIPTOR_ERROR_SEQUENCE,
    DESCRIPTOR_FIELDS,
    DESCRIPTOR_HEADER_WORDS,
    descriptor_unit,
)
from kestrel.hw.spec.engine_config import BANKS
from kestrel.hw.spec.records import pack_record, unpack_record
from kestrel.hw.spec.widths import bits_for
from kestrel.sw.planning.geometry import group_count, last_lanes
from kestrel.sw.retrieval.pooling.cycles import descriptor_cycles
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import record
from kestrel.verif.blocks.support.simulator import PERIOD_NS, always, fail, pauses, rng
from kestrel.verif.cases.descriptor_case import (
    OUTPUTS,
    Frame,
    Place,
    chained_constants,
    descriptor_frames,
    memory_words,
    random_constants,
    random_map,
    random_place,
)

CONFIG = bench_config()
LANES = CONFIG.word_lanes
UNIT = descriptor_unit(CONFIG)
TIMEOUT = 200_000


@dataclass(frozen=True)
class Outcome:
    sent: bytes
    error: int
    cycles: int
    waited: int


class Unit:
    """The unit with a memory and a ROM round it. Between reads both show anything."""

    def __init__(self, dut: Any, source: Random) -> None:
        self.dut, self.source = dut, source
        self.block = Block(dut)
        self.rom: list[int] = []
        self.whitens = len(dut.rom_addr) == bits_for(UNIT.rom_words - 1)  # else the small unit of the tests
        Clock(dut.clk, PERIOD_NS, unit="ns").start()

    async def reset(self) -> None:
        self.block.drive({"rst": 1, "go": 1, "tready": 1})
        await RisingEdge(self.dut.clk)
        self.block.drive({"rst": 0, "go": 0})

    async def frame(
        self,
        frame: Frame,
        ready: Any = always,
        stop_after: int | None = None,
        last_map: bool = True,
        **changes: Any,
    ) -> Outcome | None:
        """One map of a frame; None if it was stopped. ``changes``: of visit and layer."""
        source, block = self.source, self.block
        words = memory_words(frame, CONFIG, source)
        channels, height, width = frame.features.shape
        place = frame.place
        layer = record(
            source, layer_layout(CONFIG), height=height, width=width,
            in_groups=group_count(channels, LANES), last_in_lanes=last_lanes(channels, LANES),
            read_base=place.base, read_end=place.end, read_stride=place.stride,
        )  # fmt: skip
        bank, slot = place.row(0)
        visit = record(source, visit_layout(CONFIG), first_row=0, rows=height, read_bank=bank, read_slot=slot)
        for name, value in changes.items():
            (visit if name in visit else layer)[name] = value
        block.drive({"go": 1, "visit": visit, "layer": layer, "command": frame.command})
        sent = bytearray()
        waiting: int | None = None
        waited, ended = 0, False
        banks: list[int] = [0] * BANKS
        rom_data = 0
        for cycle in range(TIMEOUT):
            block.drive({"banks": banks, "rom_data": rom_data, "tready": int(ready())})
            await FallingEdge(self.dut.clk)
            banks = [source.getrandbits(CONFIG.word_bits) for _ in range(BANKS)]
            rom_data = source.getrandbits(UNIT.word_bits)
            if block.sample("read_en"):
                address = block.sample("address")
                known = [words.get((n, address)) for n in range(BANKS)]
                if not any(word is not None for word in known):
                    raise fail(f"cycle {cycle}: address {address} is not the map's")
                banks = [b if word is None else word for b, word in zip(banks, known, strict=True)]
            if block.sample("rom_en"):
                address = block.sample("rom_addr")
                if address >= len(self.rom):
                    raise fail(f"cycle {cycle}: ROM address {address} of {len(self.rom)}")
                rom_data = self.rom[address]
            if block.sample("tvalid"):
                beat = block.sample("tdata") | block.sample("tlast") << 8
                if waiting not in (None, beat):
                    raise fail(f"cycle {cycle}: {waiting:#x} became {beat:#x} before it was taken")
                if int(self.dut.tready.value):
                    if ended:
                        raise fail(f"cycle {cycle}: a beat after the last one")
                    sent.append(beat & 0xFF)
                    ended = bool(beat >> 8)
                    waiting = None
                else:
                    waiting = beat
                    waited += 1
            elif waiting is not None:
                raise fail(f"cycle {cycle}: {waiting:#x} was withdrawn before it was taken")
            ending, error = block.sample("ending"), block.sample("error")
            if bool(block.sample("active")) != (cycle > 0):
                raise fail(f"cycle {cycle}: active is {block.sample('active')}")
            await RisingEdge(self.dut.clk)
            block.drive({"go": 0, "visit": record(source, visit_layout(CONFIG)), "command": _any(source)})
            if ending or error:
                if (bool(sent) and last_map) != ended or (ending and error):
                    raise fail(f"{len(sent)} bytes, last {ended}, ending {ending}, error {error}")
                return Outcome(bytes(sent), error, cycle, waited)
            if cycle == stop_after:
                return None
        raise fail(f"no end after {TIMEOUT} cycles")

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
            for name in ("active", "ending", "error", "read_en", "rom_en", "tvalid"):
                if self.block.sample(name):
                    raise fail(f"{name} is {self.block.sample(name)} at rest")
            await RisingEdge(self.dut.clk)

    async def descriptor(self, frames: Any, constants: DescriptorConstants, share: float = 0) -> None:
        """All frames of a descriptor, compared."""
        self.rom = encode_descriptor(constants, UNIT).to_ints()
        for number, maps in enumerate(frames):
            for frame, part in zip(maps, constants.maps, strict=True):
                await self.map(frame, part, share, f"frame {number}")
                await self.idle(self.source.choice((0, 0, 3)))

    async def map(self, frame: Frame, constants: DescriptorConstants, share: float, name: str) -> None:
        """A map of a frame of a descriptor, compared."""
        ready = pauses(self.source, share) if share else always
        outcome = await self.frame(frame, ready, last_map=constants.following is None)
        assert outcome is not None
        about = f"{name} {frame.command} of {frame.features.shape} with {constants}"
        if outcome.error:
            raise fail(f"{about}: error {outcome.error}")
        if outcome.sent != frame.sent:
            raise fail(f"{about}: {outcome.sent.hex()} was sent, not {frame.sent.hex()}")
        expected = descriptor_cycles(
            constants, CONFIG, last_crop=bool(frame.command["last_crop"]),
            last_rotation=bool(frame.command["last_rotation"]), output=frame.command["output"],
        )  # fmt: skip
        if outcome.cycles != expected + outcome.waited:
            raise fail(
                f"{about}: {outcome.cycles} cycles, {outcome.waited} of them waiting; "
                f"expected {expected} and these"
            )


def _any(source: Random) -> dict[str, int]:
    return {
        "first_crop": source.getrandbits(1), "last_crop": source.getrandbits(1),
        "first_rotation": source.getrandbits(1), "last_rotation": source.getrandbits(1),
        "output": source.getrandbits(2),
    }  # fmt: skip


def random_size(source: Random, number: int) -> tuple[int, int, int]:
    """Channels, height, width: sizes that differ in kind first."""
    kinds = (1, LANES, LANES + 1, max(1, LANES - 1), 2 * LANES, 3 * LANES + 1)
    channels = kinds[number] if number < len(kinds) else source.randint(1, 3 * LANES + 2)
    width = source.choice((1, 2, 3, CONFIG.max_width))
    height = source.choice((1, 2, 3, source.randint(1, 7)))
    return channels, height, width


def random_chain(source: Random, number: int, whitens: bool) -> DescriptorConstants:
    """Constants of as many maps as the unit may have, or fewer."""
    count = source.choice((1, UNIT.maps, source.randint(1, UNIT.maps)))
    sizes = [random_size(source, number if not n else number + n + source.randrange(6)) for n in range(count)]
    return chained_constants(source, sizes, whitens)


@cocotb.test()
async def descriptors(dut):
    source = rng("descriptors")
    unit = Unit(dut, source)
    await unit.reset()
    for number in range(14):
        constants = random_chain(source, number, unit.whitens)
        output = OUTPUTS[number % len(OUTPUTS)]
        frames = descriptor_frames(source, CONFIG, constants, output)
        await unit.descriptor(frames, constants, source.choice((0, 0.3, 0.8)))


@cocotb.test()
async def resets_in_the_middle(dut):
    """In any cycle; the next descriptor is right, and what would continue the old one is refused."""
    source = rng("resets")
    unit = Unit(dut, source)
    await unit.reset()
    for number in range(25):
        constants = random_chain(source, 20, unit.whitens)
        output = source.choice(OUTPUTS)
        unit.rom = encode_descriptor(constants, UNIT).to_ints()
        maps = next(descriptor_frames(source, CONFIG, constants, output))
        stopped = source.randrange(len(maps))
        for frame, part in zip(maps[:stopped], constants.maps, strict=False):
            await unit.map(frame, part, 0.3, "before the reset")
        part = constants.maps[stopped]
        stop = source.randrange(descriptor_cycles(part, CONFIG, output=output))
        await unit.frame(maps[stopped], pauses(source, 0.3), stop, part.following is None)
        await unit.reset()
        if number % 3 == 0:
            first = maps[0]
            later = Frame(first.features, first.place, {**first.command, "first_crop": 0}, b"")
            outcome = await unit.frame(later)
            if outcome is None or outcome.error != DESCRIPTOR_ERROR_SEQUENCE:
                raise fail(f"{outcome} after a reset")
        if number % 5 == 0:
            frames = descriptor_frames(source, CONFIG, constants, output)
            await unit.descriptor(frames, constants, 0.3)


@cocotb.test()
async def refusals(dut):
    """Every cause, and a good descriptor after it."""
    source = rng("refusals")
    unit = Unit(dut, source)
    await unit.reset()
    size = random_size(source, 2)
    constants = random_constants(source, *size, unit.whitens)
    good = encode_descriptor(constants, UNIT).to_ints()
    features = random_map(source, CONFIG, *size)
    place = random_place(source, CONFIG, *size)

    async def begun() -> None:
        """A first crop, after which more are to come."""
        unit.rom = good
        command = {"first_crop": 1, "last_crop": 0, "first_rotation": 1, "last_rotation": 1, "output": 0}
        outcome = await unit.frame(Frame(features, place, command, b""))
        if outcome is None or outcome.error:
            raise fail(f"{outcome} of a first crop")

    async def refused(cause: int, rom: list[int] | None = None, **changes: Any) -> None:
        command = {"first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1, "output": 0}
        for name in command.keys() & changes.keys():
            command[name] = changes.pop(name)
        unit.rom = good if rom is None else rom
        outcome = await unit.frame(Frame(features, place, command, b""), **changes)
        if outcome is None or outcome.error != cause or outcome.sent:
            raise fail(f"{outcome}, not error {cause}")
        await unit.idle(3)
        frames = descriptor_frames(source, CONFIG, constants, 0)
        await unit.descriptor(frames, constants)

    def changed(word: int, value: int) -> list[int]:
        return [*good[:word], value, *good[word + 1 :]]

    await refused(DESCRIPTOR_ERROR_ROM, changed(0, good[0] ^ 1))
    await refused(DESCRIPTOR_ERROR_ROM, changed(0, good[0] ^ 1 << 16))
    await refused(DESCRIPTOR_ERROR_ROM, changed(1, good[1] & 0xFFFF | 513 << 16))
    await refused(DESCRIPTOR_ERROR_ROM, changed(1, good[1] & 0xFFFF))
    await refused(DESCRIPTOR_ERROR_ROM, changed(3, 0))
    await refused(DESCRIPTOR_ERROR_ROM, changed(3, 257))
    await refused(DESCRIPTOR_ERROR_ROM, changed(9, 1 << 20))
    await refused(DESCRIPTOR_ERROR_ROM, changed(17, good[17] & 0xFFFF))
    await refused(DESCRIPTOR_ERROR_ROM, changed(16, good[16] + size[1]))
    other = good[1] + 1 if constants.whitening else good[1] + 0x10001
    await refused(DESCRIPTOR_ERROR_MAP, changed(1, other))
    await refused(DESCRIPTOR_ERROR_MAP, changed(2, good[2] + 1))
    await refused(DESCRIPTOR_ERROR_MAP, changed(2, good[2] + (1 << 16)))
    if UNIT.maps > 1:
        await _too_many_maps(unit, constants, features, place)
    await refused(DESCRIPTOR_ERROR_PARTIAL, first_row=1)
    await refused(DESCRIPTOR_ERROR_PARTIAL, rows=size[1] + 1)
    await refused(DESCRIPTOR_ERROR_SEQUENCE, first_crop=0)
    await refused(DESCRIPTOR_ERROR_SEQUENCE, first_rotation=0)
    await begun()
    await refused(DESCRIPTOR_ERROR_SEQUENCE, first_crop=0, first_rotation=0)
    await begun()
    await refused(DESCRIPTOR_ERROR_SEQUENCE, first_rotation=0)


async def _too_many_maps(
    unit: Unit, constants: DescriptorConstants, features: np.ndarray, place: Place
) -> None:
    """A ROM of one map more than the unit takes, each good by itself."""
    section = encode_descriptor(constants, UNIT).to_ints()
    unit.rom = []
    for _ in range(UNIT.maps):
        fields = unpack_record(DESCRIPTOR_FIELDS, section)
        places = [f for f, value in fields.items() if f == "words" or (f.endswith("base") and value)]
        fields |= {name: fields[name] + len(unit.rom) for name in places} | {"more": 1}
        header = pack_record(DESCRIPTOR_FIELDS, DESCRIPTOR_HEADER_WORDS, fields)
        unit.rom += [*header, *section[DESCRIPTOR_HEADER_WORDS:]]
    command = {"first_crop": 1, "last_crop": 0, "first_rotation": 1, "last_rotation": 1, "output": 0}
    for number in range(UNIT.maps):
        outcome = await unit.frame(Frame(features, place, command, b""), last_map=False)
        wanted = DESCRIPTOR_ERROR_ROM if number == UNIT.maps - 1 else 0
        if outcome is None or outcome.error != wanted:
            raise fail(f"map {number} of {UNIT.maps}: {outcome}, not error {wanted}")
    # The next frame begins with the first map again.
    await unit.descriptor(descriptor_frames(unit.source, CONFIG, constants, 0), constants)
