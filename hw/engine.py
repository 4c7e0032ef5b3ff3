"""The engine: image in, feature map out, driven by the schedule table.

One pixel's way: image_input -> feature_memory -> reader, window -> array -> accumulator -> requantise ->
pool -> writer -> feature_memory -> ... -> feature_output.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import PREFIX, place
from kestrel.hw.compute.accumulator import Accumulator
from kestrel.hw.compute.array import Array
from kestrel.hw.compute.pool import Pool
from kestrel.hw.compute.requantise import Requantise
from kestrel.hw.compute.window import Window
from kestrel.hw.control.counters import Counters
from kestrel.hw.control.sequencer import Sequencer
from kestrel.hw.memory.feature_memory import BANKS, FeatureMemory, feature_write
from kestrel.hw.memory.feature_output import FeatureOutput
from kestrel.hw.memory.image_input import ImageInput
from kestrel.hw.memory.reader import Reader
from kestrel.hw.memory.weight_loader import WeightLoader
from kestrel.hw.memory.writer import Writer
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS, COUNTER_BITS, ERROR_BITS, TRACE_ADDRESS_BITS
from kestrel.hw.spec.table import KIND_CONV, KIND_END, KIND_INPUT, KIND_OUTPUT
from kestrel.hw.spec.widths import PIXEL_BITS, bits_for


class Engine(wiring.Component):
    """Synchronous reset ``rst`` (active high), one clock.

    Members
    -------
    start : In(1)               begin a frame (ignored while busy)
    busy, done, error : Out     done: one cycle at the end of a good frame; error: cause
    (kestrel.hw.spec.ERRORS) cycles : Out(32)            clock cycles of the current or last frame
    layer : Out(8), kind : Out(2)   table record and kind of the visit that streams; 0 before the first
    s_axis_* : image stream     AXI4-Stream, see image_input
    m_axis_* : feature stream   AXI4-Stream, see feature_output
    counter_addr : In(9), counter_value : Out(32)   see counters; value one cycle after addr
    trace_* : Out               every write into the feature memory, for verification; leave it open. With
                                ``config.row_groups`` trace_bank has a bit a bank, and addresses (of
                                TRACE_ADDRESS_BITS), lanes and data are those of banks 0, 1, 2
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(self._ports())

    def _ports(self) -> dict[str, Any]:
        config = self.config
        write = feature_write(config)
        return {
            "start": In(1),
            "busy": Out(1),
            "done": Out(1),
            "error": Out(ERROR_BITS),
            "cycles": Out(COUNTER_BITS),
            "layer": Out(8),
            "kind": Out(2),
            "s_axis_tdata": In(PIXEL_BITS * config.stream_bytes),
            "s_axis_tvalid": In(1),
            "s_axis_tlast": In(1),
            "s_axis_tready": Out(1),
            "m_axis_tdata": Out(8 * config.word_lanes),
            "m_axis_tkeep": Out(config.word_lanes),
            "m_axis_tlast": Out(1),
            "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1),
            "counter_addr": In(COUNTER_ADDRESS_BITS),
            "counter_value": Out(COUNTER_BITS),
            "trace_valid": Out(1),
            "trace_part": Out(1),
            "trace_bank": Out(BANKS if config.row_groups else 2),
            "trace_addr": Out(TRACE_ADDRESS_BITS * BANKS if config.row_groups else write["addr"].width),
            "trace_lanes": Out(write["lanes"].width),
            "trace_data": Out(write["data"].width),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        sequencer = Sequencer(config)
        loader = WeightLoader(config)
        image_input = ImageInput(config)
        memory = FeatureMemory(config)
        reader = Reader(config)
        window = Window(config)
        array = Array(config)
        accumulator = Accumulator(config)
        requantise = Requantise(config)
        pool = Pool(config)
        writer = Writer(config)
        output = FeatureOutput(config)
        counters = Counters()
        place(m, "sequencer", sequencer)
        place(m, "weight_loader", loader)
        place(m, "image_input", image_input)
        place(m, "feature_memory", memory)
        place(m, "reader", reader)
        place(m, "window", window)
        place(m, "array", array)
        place(m, "accumulator", accumulator)
        place(m, "requantise", requantise)
        place(m, "pool", pool)
        place(m, "writer", writer)
        place(m, "feature_output", output)
        place(m, "counters", counters)

        visit, layer, tile = sequencer.visit, sequencer.layer, sequencer.tile

        other = self.other_output(m, sequencer.go & (visit.kind == KIND_OUTPUT), visit, layer, memory.banks)

        # --- control -------------------------------------------------------------------------------------
        m.d.comb += [
            sequencer.start.eq(self.start),
            self.busy.eq(sequencer.busy),
            self.done.eq(sequencer.done),
            self.error.eq(sequencer.error),
            sequencer.ending.eq(image_input.ending | reader.ending | output.ending | other.ending),
            sequencer.input_error.eq(image_input.error | other.error),
        ]
        for block, kind in ((image_input, KIND_INPUT), (reader, KIND_CONV), (output, KIND_OUTPUT)):
            m.d.comb += [
                block.go.eq(sequencer.go & (visit.kind == kind) & (~other.chosen | (kind != KIND_OUTPUT))),
                block.visit.eq(visit),
                block.layer.eq(layer),
            ]
        m.d.comb += [reader.tile.eq(tile), reader.next_layer.eq(sequencer.load_layer)]
        with m.If(sequencer.go):
            m.d.sync += [self.layer.eq(visit.layer), self.kind.eq(visit.kind)]
        with m.If(self.start & ~self.busy):
            m.d.sync += [self.cycles.eq(0), self.layer.eq(0), self.kind.eq(KIND_END)]
        with m.Elif(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)

        waits = image_input.tready & ~self.s_axis_tvalid
        m.d.comb += [
            counters.start.eq(self.start & ~self.busy),
            counters.busy.eq(self.busy),
            counters.go.eq(sequencer.go),
            counters.done.eq(self.done),
            counters.record.eq(self.layer),
            counters.events.array.eq(reader.active),
            counters.events.input.eq(image_input.active & ~waits),
            counters.events.input_stall.eq(image_input.active & waits),
            counters.events.output.eq(
                (output.active & ~(output.tvalid & ~self.m_axis_tready)) | other.active
            ),
            counters.events.output_stall.eq(output.active & output.tvalid & ~self.m_axis_tready),
            counters.events.weight_stall.eq(sequencer.starved),
            counters.addr.eq(self.counter_addr),
            self.counter_value.eq(counters.value),
        ]

        table_data = self.read_table(m, sequencer.table_en, sequencer.table_addr)
        m.d.comb += sequencer.table_data.eq(table_data)

        # --- weights -------------------------------------------------------------------------------------
        rom_data = self.read_weights(m, loader.rom_en, loader.rom_addr)
        next_layer = sequencer.load_layer
        m.d.comb += [
            loader.rom_data.eq(rom_data),
            loader.clear.eq(self.start & ~self.busy),
            loader.start.eq(sequencer.load_start),
            loader.rebase.eq(sequencer.load_rebase),
            loader.rewind.eq(sequencer.load_rewind),
            loader.base.eq(next_layer.weight_base),
            loader.emitting.eq(reader.go & tile.emit),
            loader.taken.eq(sequencer.go),
            loader.mask_bits.eq(next_layer.mask_bits),
            loader.digit.eq(tile.digit),
            loader.has_pad.eq(next_layer.has_pad),
            loader.has_bias.eq(tile.last_in),
            loader.in_lanes.eq(Mux(tile.last_in, next_layer.last_in_lanes, config.input_lanes)),
            loader.out_lanes.eq(Mux(tile.last_out, next_layer.last_out_lanes, config.output_lanes)),
            sequencer.loaded.eq(loader.ready),
        ]

        # --- a pixel's way -------------------------------------------------------------------------------
        m.d.comb += [
            image_input.activation_bits.eq(sequencer.activation_bits),
            image_input.tdata.eq(self.s_axis_tdata),
            image_input.tvalid.eq(self.s_axis_tvalid),
            image_input.tlast.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(image_input.tready),
            #
            memory.write.eq(
                Mux(image_input.write.en.any(), image_input.write.as_value(), writer.write.as_value())
            ),
            memory.read_en.eq(reader.active | output.read_en | other.read_en),
            memory.read_part.eq(layer.read_part),
            #
            window.pixel.eq(reader.pixel),
            window.edges.eq(reader.edges),
            window.top_bank.eq(reader.top_bank),
            window.slice.eq(reader.slice),
            window.lanes.eq(reader.lanes),
            window.banks.eq(memory.banks),
            window.has_pad.eq(layer.has_pad),
            window.load.eq(loader.pads),
            #
            array.ahead.eq(window.ahead),
            array.window.eq(window.window),
            array.load.eq(loader.kernels),
            #
            accumulator.ahead.eq(array.sums_ahead),
            accumulator.sums.eq(array.sums),
            #
            requantise.ahead.eq(accumulator.acc_ahead),
            requantise.acc.eq(accumulator.acc),
            requantise.load.eq(loader.biases),
            requantise.shift.eq(layer.shift),
            requantise.maximum.eq((1 << sequencer.activation_bits) - 1),
            requantise.last_out_lanes.eq(layer.last_out_lanes),
            #
            pool.ahead.eq(requantise.y_ahead),
            pool.y.eq(requantise.y),
            pool.pool.eq(layer.pool),
            #
            writer.load.eq(sequencer.adopt),
            writer.visit.eq(visit),
            writer.layer.eq(layer),
            writer.result.eq(pool.result),
            writer.data.eq(pool.data),
            #
            output.banks.eq(memory.banks),
            self.m_axis_tdata.eq(output.tdata),
            self.m_axis_tkeep.eq(output.tkeep),
            self.m_axis_tlast.eq(output.tlast),
            self.m_axis_tvalid.eq(output.tvalid),
            output.tready.eq(self.m_axis_tready),
            #
            self.trace_valid.eq(memory.write.en.any()),
            self.trace_part.eq(memory.write.part),
            self.trace_bank.eq(memory.write.en if config.row_groups else memory.write.bank),
            self.trace_addr.eq(
                Cat(Cat(addr, Const(0, TRACE_ADDRESS_BITS - len(addr))) for addr in memory.write.addr)
                if config.row_groups
                else memory.write.addr
            ),
            self.trace_lanes.eq(memory.write.lanes),
            self.trace_data.eq(memory.write.data),
        ]
        if config.row_groups:
            grouped = layer.row_groups != 0
            m.d.comb += [
                window.row_groups.eq(layer.row_groups),
                requantise.grouped.eq(grouped),
                requantise.groups.eq(array.groups),
                pool.grouped.eq(grouped),
                writer.others.eq(requantise.others),
            ]
            with m.If(grouped):
                m.d.comb += requantise.ahead.eq(array.groups_ahead)
        for bank in range(3):
            address = Mux(output.active, output.address, reader.addresses[bank])
            m.d.comb += memory.read_addresses[bank].eq(Mux(other.active, other.address, address))
        return m

    def read_table(self, m: Module, en: Any, addr: Any) -> Any:
        """The schedule table's data, one cycle after ``en`` and ``addr``."""
        config, table_data = self.config, Signal(TABLE_WORD_BITS)
        m.submodules.table = Instance(
            PREFIX + "rom",
            p_WIDTH=TABLE_WORD_BITS,
            p_DEPTH=config.table_words,
            p_ADDR_BITS=bits_for(config.table_words - 1),
            p_INIT_FILE="table.mem",
            p_PLUSARG="kestrel_table",
            i_clk=ClockSignal("sync"),
            i_en=en,
            i_addr=addr,
            o_rdata=table_data,
        )
        return table_data

    def read_weights(self, m: Module, en: Any, addr: Any) -> Any:
        """The weight ROM's data, likewise."""
        config, rom_data = self.config, Signal(self.config.rom_word_bits)
        m.submodules.weights = Instance(
            PREFIX + "rom",
            p_WIDTH=config.rom_word_bits,
            p_DEPTH=config.weight_words,
            p_ADDR_BITS=bits_for(config.weight_words - 1),
            p_INIT_FILE="weights.mem",
            p_PLUSARG="kestrel_weights",
            i_clk=ClockSignal("sync"),
            i_en=en,
            i_addr=addr,
            o_rdata=rom_data,
        )
        return rom_data

    def other_output(self, m: Module, go: Any, visit: Any, layer: Any, banks: Any) -> "OtherOutput":
        """What may take the place of the feature output; here nothing."""
        return NO_OUTPUT


@dataclass(frozen=True)
class OtherOutput:
    """Signals of a unit that may take output visits instead of the feature output, see
    ``hw.descriptor.unit``; ``chosen`` must not change while the engine is busy."""

    chosen: Any
    active: Any
    ending: Any
    error: Any
    read_en: Any
    address: Any


NO_OUTPUT = OtherOutput(*[Const(0, 1)] * 6)
