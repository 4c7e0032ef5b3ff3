"""Bench of the descriptor unit's look at its ROM: good headers and headers with one field changed."""

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.common.handover import layer_layout
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FIELDS,
    DESCRIPTOR_HEADER_USED,
    DESCRIPTOR_HEADER_WORDS,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_REGIONS_MAX,
    DESCRIPTOR_VERSION,
    descriptor_unit,
)
from kestrel.hw.spec.records import pack_record, unpack_record
from kestrel.hw.spec.widths import bits_for
from kestrel.sw.planning.geometry import group_count, last_lanes
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import record
from kestrel.verif.blocks.support.simulator import PERIOD_NS, fail, rng
from kestrel.verif.cases.descriptor_case import random_constants

CONFIG = bench_config()
UNIT = descriptor_unit(CONFIG)
LANES = CONFIG.word_lanes


def expected(found: dict[str, int], channels: int, height: int, width: int, raw: int) -> dict[str, int]:
    """What the unit says of a header, for a map."""
    whitening = found["whitening"]
    sizes = found["channels"], found["dimensions"]
    bad_rom = (
        found["magic"] != DESCRIPTOR_MAGIC
        or found["version"] != DESCRIPTOR_VERSION
        or not all(1 <= size <= UNIT.channels for size in sizes)
        or (not whitening and sizes[0] != sizes[1])
        or not 1 <= found["regions"] <= DESCRIPTOR_REGIONS_MAX
        or found["words"] > UNIT.rom_words
    )
    bad_map = (found["channels"], found["height"], found["width"]) != (channels, height, width)
    if bad_rom or bad_map:
        return {"bad_rom": int(bad_rom), "bad_map": int(bad_map)}
    whitens = int(whitening and not raw)
    low = found["low"]
    return {
        "bad_rom": 0, "bad_map": 0, "whitens": whitens, "pairs": found["pairs"],
        "last_channel": sizes[0] - 1, "last_dimension": sizes[whitens] - 1,
        "low": low - (1 << 32) if low >> 31 else low,
        **{name: found[name] for name in (
            "regions", "gain", "regions_base", "thresholds_base", "whitening_base",
        )},
        **({"more": found["more"], "following": found["words"]} if UNIT.maps > 1 else {}),
    }  # fmt: skip


@cocotb.test()
async def headers(dut):
    source = rng("headers")
    block = Block(dut)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    good = 0
    for number in range(300):
        channels = source.choice((1, LANES, LANES + 1, source.randint(1, 60)))
        height, width = source.randint(1, 9), source.randint(1, CONFIG.max_width)
        rom = encode_descriptor(random_constants(source, channels, height, width), UNIT).to_ints()
        fields = unpack_record(DESCRIPTOR_FIELDS, rom)
        if number % 3:
            changed = source.choice([field for field in DESCRIPTOR_FIELDS if not field.name.endswith("base")])
            if changed.name not in ("low", "gain", "pairs"):
                near = fields[changed.name] + source.choice((-1, 1, 1 << changed.width // 2))
                value = source.choice((0, changed.max, near % (changed.max + 1), UNIT.channels + 1))
                fields[changed.name] = value & changed.max
        mapped = channels
        match source.randrange(12):
            case 0:  # the largest map that the unit takes
                mapped = UNIT.channels
                fields |= {"channels": mapped, "dimensions": mapped}
            case 1:  # one that is the header's in the low bits
                mapped += 1 << bits_for(UNIT.channels)
        rom[:DESCRIPTOR_HEADER_WORDS] = pack_record(DESCRIPTOR_FIELDS, DESCRIPTOR_HEADER_WORDS, fields)
        raw = source.getrandbits(1)
        inputs: dict[str, Any] = {
            "raw": raw,
            "layer": record(
                source, layer_layout(CONFIG), height=height, width=width,
                in_groups=group_count(mapped, LANES), last_in_lanes=last_lanes(mapped, LANES),
            ),
        }  # fmt: skip
        if number == 0 or source.random() < 0.1:
            block.drive({"rst": 1, "go": 1, **inputs})
            await RisingEdge(dut.clk)
        stop = source.choice((0, 0, 0, source.randint(1, 12)))
        block.drive({"rst": 0, "go": 1, **inputs})
        address, data = 0, 0
        for cycle in range(DESCRIPTOR_HEADER_USED + 3):
            block.drive({"rom_data": data})
            await FallingEdge(dut.clk)
            data = source.getrandbits(32)
            if block.sample("rom_en"):
                data = rom[address]
                address += 1
            if bool(block.sample("done")) != (cycle == DESCRIPTOR_HEADER_USED + 2):
                raise fail(f"header {number}: done is {block.sample('done')} in cycle {cycle}")
            await RisingEdge(dut.clk)
            block.drive({"go": 0})
            if cycle + 1 == stop:
                block.drive({"rst": 1})
                await RisingEdge(dut.clk)
                block.drive({"rst": 0})
                break
        else:
            wanted = expected(fields, mapped, height, width, raw)
            good += not (wanted["bad_rom"] or wanted["bad_map"])
            for _ in range(source.randint(2, 3)):  # and it stays
                await FallingEdge(dut.clk)
                for name, value in wanted.items():
                    if block.sample(name) != value:
                        raise fail(f"header {number} {fields}: {name} is {block.sample(name)}, not {value}")
                await RisingEdge(dut.clk)
    if good < 30:
        raise fail(f"only {good} good headers")
