"""Bench of the descriptor unit's whitening: random matrices times averages, with the multiplier's model."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_FIELDS,
    DESCRIPTOR_ROW_CYCLES,
    DESCRIPTOR_SUMMED_MAX,
    descriptor_unit,
)
from kestrel.hw.spec.records import unpack_record
from kestrel.sw.planning.geometry import group_count
from kestrel.sw.retrieval.pooling.integer_nip import whiten
from kestrel.verif.blocks.descriptor.multiply.model import Multiply
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import PERIOD_NS, fail, rng
from kestrel.verif.cases.descriptor_case import random_constants

UNIT = descriptor_unit(bench_config())


@cocotb.test()
async def matrices(dut):
    source = rng("matrices")
    block = Block(dut)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    stop, done = 1, 0
    for number in range(60):
        channels = source.choice((1, 2, 3, source.randint(1, 24)))
        constants = random_constants(source, channels, 1, 1)
        if constants.whitening is None:
            continue
        whitening = constants.whitening
        bit = number % DESCRIPTOR_SUMMED_MAX.bit_length()  # every length of the number of regions
        most = min(DESCRIPTOR_SUMMED_MAX, (2 << bit) - 1)
        summed = source.choice((1 << bit, most, source.randint(1 << bit, most)))
        random = np.random.default_rng(source.getrandbits(32))
        sums = random.integers(0, int((summed << 16) / channels**0.5), channels)
        expected = whiten(sums, summed, whitening).tolist()
        rom = encode_descriptor(constants, UNIT).to_ints()
        address = unpack_record(DESCRIPTOR_FIELDS, rom)["whitening_base"]
        inputs = {"last_channel": channels - 1, "last_dimension": constants.dimensions - 1,
                  "pairs": int(whitening.pairs), "summed": summed}  # fmt: skip
        if stop:
            block.drive({"rst": 1, "go": 1})
            await RisingEdge(dut.clk)
        block.drive({"rst": 0, "go": 0, **inputs})
        for _ in range(2):
            await RisingEdge(dut.clk)
        stop = source.choice((0, 0, source.randint(1, 100)))
        block.drive({"go": 1})
        multiply = Multiply()
        element = data = 0
        found: list[int] = []
        rows = len(whitening.matrix)
        cycles = group_count(rows, UNIT.matrix_rows) * channels + rows * DESCRIPTOR_ROW_CYCLES
        for cycle in range(cycles + 1):
            block.drive({"element": {"magnitude": element, "sign": 0}, "rom_data": data,
                         "shifted": multiply.shifted or 0, "product": multiply.product or 0})  # fmt: skip
            await FallingEdge(dut.clk)
            element, data = source.getrandbits(31), source.getrandbits(UNIT.word_bits)
            if block.sample("read"):
                element = int(sums[block.sample("read_index")])
            if block.sample("rom_en"):
                data = rom[address]
                address += 1
            if block.sample("row_valid"):
                row = block.sample("row")
                if block.sample("row_index") != len(found):
                    raise fail(f"matrix {number}: row {block.sample('row_index')} after {len(found)}")
                found.append(-row["magnitude"] if row["sign"] else row["magnitude"])
            if bool(block.sample("done")) != (cycle == cycles):
                raise fail(f"matrix {number}: done is {block.sample('done')} in cycle {cycle} of {cycles}")
            multiply.step(*(block.sample(name) for name in ("x", "x_amount", "y")))
            await RisingEdge(dut.clk)
            block.drive({"go": 0})
            if cycle + 1 == stop:
                break
        else:
            stop = 0
            done += 1
            if found != expected:
                raise fail(f"matrix {number}, {summed} regions, {whitening}: {found}, not {expected}")
    if done < 10:
        raise fail(f"only {done} matrices to the end")
