"""Bench of the descriptor unit's sums of squares: regions of maps, every sum, in the closed form's cycles."""

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.hw.common.handover import layer_layout
from kestrel.hw.spec.engine_config import BANKS
from kestrel.sw.planning.geometry import group_count, last_lanes
from kestrel.sw.retrieval.pooling.cycles import square_cycles
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import region_squares
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.script import record
from kestrel.verif.blocks.support.simulator import PERIOD_NS, fail, rng
from kestrel.verif.cases.descriptor_case import Frame, memory_words, random_map, random_place, random_region

CONFIG = bench_config()
LANES = CONFIG.word_lanes
WORDS = min(CONFIG.feature_words)
LONGEST = {6: (LANES * WORDS, 1, 1), 7: (1, BANKS * (WORDS - 1), 1)}
"""Channels, height and width of maps with as many channels and rows as the memory holds, by their number."""


@cocotb.test()
async def regions(dut):
    """One region after the other; some are cut off by a reset."""
    source = rng("regions")
    block = Block(dut)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    kinds = (1, LANES, LANES + 1, max(1, LANES - 1), 2 * LANES, 3 * LANES + 1)
    stop = 0
    for number in range(80):
        channels = kinds[number] if number < len(kinds) else source.randint(1, 3 * LANES + 2)
        height, width = source.choice((1, 2, source.randint(1, 7))), source.randint(1, CONFIG.max_width)
        channels, height, width = LONGEST.get(number, (channels, height, width))
        features = random_map(source, CONFIG, channels, height, width)
        place = random_place(source, CONFIG, channels, height, width)
        words = memory_words(Frame(features, place, {}, b""), CONFIG, source)
        region = random_region(source, height, width)
        if number in LONGEST:
            region = GridRegion(0, 0, height, width)
        bank, slot = place.row(0)
        inputs: dict[str, Any] = {
            "layer": record(
                source, layer_layout(CONFIG), height=height, width=width,
                in_groups=group_count(channels, LANES), last_in_lanes=last_lanes(channels, LANES),
                read_base=place.base, read_end=place.end, read_stride=place.stride,
            ),
            "region": vars(region), "first_bank": bank, "first_slot": slot,
        }  # fmt: skip
        if number == 0 or stop:
            block.drive({"rst": 1, "go": 1})
            await RisingEdge(dut.clk)
        block.drive({"rst": 0, "go": 1, **inputs})
        stop = 0 if number in LONGEST else source.choice((0, 0, 0, source.randint(1, 30)))
        expected = region_squares(features, region).tolist()
        found: list[int] = []
        cycles = square_cycles(region, channels, LANES)
        banks = [0] * BANKS
        for cycle in range(cycles + 1):
            block.drive({"banks": banks})
            await FallingEdge(dut.clk)
            banks = [source.getrandbits(CONFIG.word_bits) for _ in range(BANKS)]
            if block.sample("read_en"):
                address = block.sample("address")
                banks = [words.get((n, address), bank) for n, bank in enumerate(banks)]
            if block.sample("valid"):
                found.append(block.sample("squares"))
                if bool(block.sample("last")) != (cycle == cycles):
                    raise fail(f"map {number}: last is {block.sample('last')} in cycle {cycle} of {cycles}")
            await RisingEdge(dut.clk)
            block.drive({"go": 0})
            if cycle + 1 == stop:
                break
        else:
            stop = 0
            if found != expected:
                raise fail(f"map {number}, {features.shape}, {region}: {found}, not {expected}")
