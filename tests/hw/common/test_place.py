"""A placed block is a submodule for ``amaranth.sim`` and a module of its own in Verilog."""

import re
from dataclasses import replace
from random import Random

import pytest
import torch
from amaranth.hdl import Fragment, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from kestrel.export.schedule_table import encode_table
from kestrel.export.weight_rom import encode_weights
from kestrel.hw.common.connections import feed
from kestrel.hw.common.memories import ram_1rw
from kestrel.hw.common.place import place
from kestrel.hw.compute.accumulator import Accumulator
from kestrel.hw.emit.verilog import verilog_files
from kestrel.hw.engine import Engine
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import lane_sum_bits
from kestrel.sw.model.reference import Reference
from kestrel.verif.blocks.compute.accumulator.model import Accumulator as Model
from kestrel.verif.blocks.support.layouts import decode, encode
from kestrel.verif.blocks.support.pixel import Pixel
from kestrel.verif.blocks.support.run import block_config
from kestrel.verif.cases.engine_case import engine_case

PERIOD = 1e-6


class Total(wiring.Component):
    """Adds up ``add``, of ``bits`` bits."""

    def __init__(self, bits):
        super().__init__({"add": In(bits), "total": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.total.eq(self.total + self.add)
        return m


class Totals(wiring.Component):
    """Two totals of the same numbers, of which ``clear`` resets the second."""

    def __init__(self, bits=4, other_bits=4):
        self.bits = bits, other_bits
        super().__init__({"add": In(4), "clear": In(1), "kept": Out(8), "cleared": Out(8)})

    def elaborate(self, platform):
        m = Module()
        kept, cleared = (Total(bits) for bits in self.bits)
        place(m, "kept", kept)
        place(m, "cleared", cleared, reset=self.clear)
        feed(m, kept, add=self.add)
        feed(m, cleared, add=self.add)
        m.d.comb += [self.kept.eq(kept.total), self.cleared.eq(cleared.total)]
        return m


class Lanes(wiring.Component):
    """A memory of two lanes."""

    def __init__(self):
        super().__init__({"en": In(1), "we": In(2), "addr": In(2), "wdata": In(8), "rdata": Out(8)})

    def elaborate(self, platform):
        m = Module()
        ports = {name: getattr(self, name) for name in ("en", "we", "addr", "wdata", "rdata")}
        ram_1rw(m, "lanes", lanes=2, lane_bits=4, depth=4, **ports)
        return m


def simulate(component, testbench):
    simulator = Simulator(component)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()


def strip(height, width, **fields):
    """The pixels of one pass over a strip."""
    last = height * width - 1
    return [
        Pixel(valid=1, first=int(n == 0), last=int(n == last), row_end=int(n % width == width - 1), **fields)
        for n in range(last + 1)
    ]


def test_a_hierarchy_runs_in_amaranth(seed):
    source = Random(seed)
    config = block_config(3, 3, 5)
    accumulator, model = Accumulator(config), Model(config.output_lanes)
    highest = (1 << lane_sum_bits(config) - 1) - 1
    passes = [strip(3, 4, fresh=int(n == 0), emit=int(n == 2), digit=n) for n in range(3)]
    pixels = [pixel for each in passes for pixel in each] + [Pixel()] * 3
    seen = 0

    async def testbench(ctx):
        nonlocal seen
        for pixel in pixels:
            sums = [source.randint(-highest - 1, highest) for _ in range(config.output_lanes)]
            ctx.set(accumulator.ahead.as_value(), encode(accumulator.ahead.shape(), pixel))
            ctx.set(accumulator.sums.as_value(), encode(accumulator.sums.shape(), sums))
            expected = model.step(ahead=pixel, sums=sums)
            for name in ("acc_ahead", "acc"):
                port = getattr(accumulator, name)
                if expected[name] is not None:
                    seen += 1
                    assert decode(port.shape(), ctx.get(port.as_value())) == expected[name], name
            await ctx.tick()

    simulate(accumulator, testbench)
    assert seen > 2 * 3 * 12


def test_an_engine_runs_in_amaranth(seed):
    config = replace(
        NAMED["nano"], input_lanes=2, output_lanes=2, load_kernels=2, partial_depth=32, max_width=8,
        feature_words=(64, 64), weight_words=128, table_words=128, stream_bytes=2,
    )  # fmt: skip
    case = engine_case("tiny", config, seed)
    picture = case.pictures[0]
    images = {
        "table": encode_table(case.plan).to_ints(),
        "weights": encode_weights(case.network, config).words.to_ints(),
    }
    engine = Engine(config, images)
    beats = [sum(int(value) << 8 * n for n, value in enumerate(pixel)) for pixel in picture.reshape(2, -1).T]
    sent = []

    async def testbench(ctx):
        ctx.set(engine.m_axis_tready, 1)
        ctx.set(engine.start, 1)
        await ctx.tick()
        ctx.set(engine.start, 0)
        todo = list(enumerate(reversed(beats)))
        for _ in range(2000):
            ctx.set(engine.s_axis_tvalid, bool(todo))
            if todo:
                last, beat = todo[-1][0] == 0, todo[-1][1]
                ctx.set(engine.s_axis_tdata, beat)
                ctx.set(engine.s_axis_tlast, last)
                if ctx.get(engine.s_axis_tready):
                    todo.pop()
            if ctx.get(engine.m_axis_tvalid):
                word, keep = ctx.get(engine.m_axis_tdata), ctx.get(engine.m_axis_tkeep)
                sent.extend(word >> 8 * lane & 255 for lane in range(config.word_lanes) if keep >> lane & 1)
            if ctx.get(engine.done):
                return
            await ctx.tick()
        pytest.fail(f"not done; error {ctx.get(engine.error)}")

    simulate(engine, testbench)
    expected = Reference(case.network).last(torch.from_numpy(picture[None]))
    assert sent == expected[0].permute(1, 2, 0).flatten().tolist()


def test_a_block_has_a_reset_of_its_own():
    totals = Totals()

    async def testbench(ctx):
        ctx.set(totals.add, 3)
        for clear, values in ((0, (0, 0)), (0, (3, 3)), (1, (6, 6)), (0, (9, 0)), (0, (12, 3))):
            ctx.set(totals.clear, clear)
            assert (ctx.get(totals.kept), ctx.get(totals.cleared)) == values
            await ctx.tick()

    simulate(totals, testbench)


def test_a_memory_writes_lanes_and_keeps_what_was_read():
    lanes = Lanes()

    async def testbench(ctx):
        for we, addr, wdata, rdata in (
            (3, 1, 0xAB, 0), (1, 1, 0x55, 0), (0, 1, 0, 0xA5), (2, 2, 0x70, 0xA5), (0, 2, 0, 0x70),
        ):  # fmt: skip
            for port, value in ((lanes.en, 1), (lanes.we, we), (lanes.addr, addr), (lanes.wdata, wdata)):
                ctx.set(port, value)
            await ctx.tick()
            assert ctx.get(lanes.rdata) == rdata
        ctx.set(lanes.en, 0)
        ctx.set(lanes.addr, 1)
        await ctx.tick()
        assert ctx.get(lanes.rdata) == 0x70

    simulate(lanes, testbench)


def test_verilog_has_one_module_and_file_a_block():
    files = {file.name: file.text for file in verilog_files(Totals())}
    assert list(files) == ["kestrel_total.v", "kestrel_totals.v"]
    for name, text in files.items():
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [name.removesuffix(".v")]
    assert len(re.findall(r"^ *kestrel_total \S+ +\(", files["kestrel_totals.v"], re.MULTILINE)) == 2
    resets = set(re.findall(r"\.rst\((.*?)\)", files["kestrel_totals.v"]))
    (own,) = resets - {"rst"}
    assert len(resets) == 2
    assert own == "rst | clear"


def test_only_memories_that_are_placed_are_files():
    assert [file.name for file in verilog_files(Lanes())] == ["kestrel_ram_1rw.v", "kestrel_lanes.v"]


def test_two_blocks_of_one_name_and_different_ports_are_refused():
    with pytest.raises(ValueError, match=r"two blocks kestrel_total of one design have different ports"):
        verilog_files(Totals(4, 3))


def test_only_an_input_can_be_fed():
    m = Module()
    m.submodules.total = total = Total(4)
    for name in ("total", "sum"):
        with pytest.raises(ValueError, match=rf"Total has no input {name}"):
            feed(m, total, **{name: Signal(4)})
    Fragment.get(m, None)  # or Amaranth would warn that it is never elaborated
