"""Bench of the descriptor unit's output: bytes, bits and sums, with a stream that waits, in known cycles."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.hw.descriptor.multiply import SHIFT_ORIGIN
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_GAIN_SHIFT,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
)
from kestrel.sw.retrieval.pooling.cycles import output_cycles
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, bits, codes
from kestrel.verif.blocks.descriptor.multiply.model import Multiply
from kestrel.verif.blocks.support.lockstep import Block
from kestrel.verif.blocks.support.simulator import PERIOD_NS, always, fail, pauses, rng
from kestrel.verif.cases.descriptor_case import OUTPUTS


@cocotb.test()
async def vectors(dut):
    source = rng("vectors")
    block = Block(dut)
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    stop = 1
    for number in range(60):
        kind = OUTPUTS[number % 3]
        size = source.choice((1, 7, 8, 9, 16, 512 if number < 6 else 33, source.randint(1, 80)))
        random = np.random.default_rng(source.getrandbits(32))
        vector = random.integers(-65535, 65536, size)
        if kind == DESCRIPTOR_OUTPUT_SUMS:
            vector = random.integers(0, 1 << 31, size)
        low = source.choice((0, -(1 << 16), 1 << 16, source.randint(-60000, 60000)))
        gain = source.choice((1, (1 << 32) - 1, source.randint(1 << 12, 1 << 22)))
        thresholds = np.where(random.random(size) < 0.3, vector, random.integers(-65536, 65537, size))
        if number % 2:  # each bit of the difference is one of the code; each bit of a threshold decides
            place = source.randrange(9)
            gain = 1 << (DESCRIPTOR_GAIN_SHIFT - place)
            if kind == DESCRIPTOR_OUTPUT_BYTES:
                vector = np.clip(low + random.integers(-1 << place, 1 << (place + 8), size), -65535, 65535)
            thresholds = vector + random.integers(-1, 2, size)
        constants = DescriptorConstants(size, 1, 1, (GridRegion(0, 0, 1, 1),), low, gain, thresholds)
        expected = {
            DESCRIPTOR_OUTPUT_BYTES: lambda v=vector, c=constants: codes(v, c),
            DESCRIPTOR_OUTPUT_BITS: lambda v=vector, c=constants: bits(v, c),
            DESCRIPTOR_OUTPUT_SUMS: lambda v=vector: v.astype("<u4").tobytes(),
        }[kind]()
        ready = source.choice((always, pauses(source, 0.4)))
        if stop:
            block.drive({"rst": 1, "go": 1})
            await RisingEdge(dut.clk)
        stop = source.choice((0, 0, source.randint(1, 60)))
        block.drive({"rst": 0, "go": 1, "kind": kind, "last_index": size - 1, "low": low})
        multiply = Multiply()
        element, threshold, next_threshold = 0, 0, 0
        sent = bytearray()
        waited, finished, offered, cycle = 0, 0, None, 0
        for cycle in range(50_000):
            taking = int(ready())
            block.drive({
                "product": multiply.product or 0, "rom_data": threshold & 0xFFFFFFFF, "tready": taking,
                "element": {"magnitude": abs(element), "sign": int(element < 0)},
            })  # fmt: skip
            await FallingEdge(dut.clk)
            threshold, element = source.getrandbits(32), source.randint(-65535, 65535)
            if block.sample("read"):
                element = int(vector[block.sample("read_index")])
            if block.sample("rom_en"):
                threshold = int(constants.thresholds[next_threshold])
                next_threshold += 1
            if block.sample("tvalid"):
                beat = (block.sample("tdata"), block.sample("tlast"))
                if offered not in (None, beat):
                    raise fail(f"vector {number}: {offered} became {beat}")
                offered = None if taking else beat
                waited += not taking
                if taking:
                    sent.append(beat[0])
            elif offered is not None:
                raise fail(f"vector {number}: {offered} was withdrawn")
            finished = block.sample("done")
            multiply.step(constants.gain, SHIFT_ORIGIN, block.sample("y"))
            await RisingEdge(dut.clk)
            block.drive({"go": 0})
            if finished or cycle + 1 == stop:
                break
        if cycle + 1 == stop and not finished:
            continue
        stop = 0
        if bytes(sent) != expected:
            raise fail(f"vector {number} of kind {kind}: {sent.hex()}, not {expected.hex()}")
        if cycle != output_cycles(size, kind) + waited:
            raise fail(f"vector {number} of kind {kind}: {cycle} cycles, {waited} of them waiting")
