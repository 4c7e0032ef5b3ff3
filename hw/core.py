"""The core: image in, feature map out, driven by the schedule table.

One pixel's way: image_input -> feature_memory -> reader, window -> array -> accumulator -> requantise ->
pool -> writer -> feature_memory -> ... -> feature_output.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from kestrel.hw.common.connections import feed, join, output_visit, ports, rom_reader, stream
from kestrel.hw.common.place import place
from kestrel.hw.compute.accumulator import Accumulator
from kestrel.hw.compute.array import Array
from kestrel.hw.compute.pool import Pool
from kestrel.hw.compute.requantise import Requantise
from kestrel.hw.compute.window import Window
from kestrel.hw.control.counters import Counters
from kestrel.hw.control.sequencer import Sequencer
from kestrel.hw.memory.block_input import BlockInput
from kestrel.hw.memory.feature_memory import FeatureMemory, feature_write
from kestrel.hw.memory.feature_output import FeatureOutput
from kestrel.hw.memory.image_input import ImageInput
from kestrel.hw.memory.reader import Reader
from kestrel.hw.memory.weight_loader import WeightLoader
from kestrel.hw.memory.writer import Writer
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.status import COUNTER_ADDRESS_BITS, COUNTER_BITS, ERROR_BITS, TRACE_ADDRESS_BITS
from kestrel.hw.spec.table import KIND_CONV, KIND_END, KIND_INPUT, KIND_OUTPUT, SHORTCUT_IDENTITY
from kestrel.hw.spec.widths import PIXEL_BITS, bits_for

OTHER = "other_"


def image_stream(config: EngineConfig) -> wiring.Signature:
    """The image's stream, ``stream_bytes`` bytes a beat."""
    return stream(PIXEL_BITS * config.stream_bytes)


def feature_stream(config: EngineConfig) -> wiring.Signature:
    """The feature map's stream, a memory word a beat, a byte an activation."""
    return stream(8 * config.word_lanes, keep=config.word_lanes)


def table_reader(config: EngineConfig) -> wiring.Signature:
    """The port of the schedule table's ROM."""
    return rom_reader(bits_for(config.table_words - 1), TABLE_WORD_BITS)


def weights_reader(config: EngineConfig) -> wiring.Signature:
    """The port of the weight ROM."""
    return rom_reader(bits_for(config.weight_words - 1), config.rom_word_bits)


def engine_ports(config: EngineConfig) -> dict[str, Member]:
    """Ports of the core that are not for ROMs or for another output unit."""
    write = feature_write(config)
    return {
        "start": In(1),
        "busy": Out(1),
        "done": Out(1),
        "error": Out(ERROR_BITS),
        "cycles": Out(COUNTER_BITS),
        "layer": Out(8),
        "kind": Out(2),
        **ports("s_axis_", image_stream(config).flip()),
        **ports("m_axis_", feature_stream(config)),
        "counter_addr": In(COUNTER_ADDRESS_BITS),
        "counter_value": Out(COUNTER_BITS),
        "trace_valid": Out(1),
        "trace_part": Out(1),
        "trace_bank": Out(BANKS if config.writes_banks else 2),
        "trace_addr": Out(
            TRACE_ADDRESS_BITS * BANKS if config.writes_banks else write["addr"].width
        ),
        "trace_lanes": Out(write["lanes"].width),
        "trace_data": Out(write["data"].width),
    }


class Core(wiring.Component):
    """Synchronous reset ``rst`` (active high), one clock.

    Members
    -------
    start : In(1)               begin a frame (ignored while busy)
    busy, done, error : Out     done: one cycle at the end of a good frame; error: its cause
                                (kestrel.hw.spec.status.ERRORS)
    cycles : Out(32)            clock cycles of the current or last frame
    layer : Out(8), kind : Out(2)   table record and kind of the visit that streams; 0 before the first
    s_axis_* : image stream     AXI4-Stream, see image_input
    m_axis_* : feature stream   AXI4-Stream, see feature_output
    counter_addr : In(9), counter_value : Out(32)   see counters; value one cycle after addr
    trace_* : Out               every write into the feature memory, for verification; leave it open. With
                                ``config.row_groups`` or ``config.residual`` trace_bank has a bit a bank, and
                                addresses (of TRACE_ADDRESS_BITS), lanes and data are those of banks 0, 1, 2
    table_*, weights_*          the ports of the ROMs with the schedule table and the weights
    other_*                     with ``other_output``: a unit that can take the output visits instead of the
                                feature output, see ``hw.common.connections.output_visit``
    """

    def __init__(self, config: EngineConfig, *, other_output: bool = False) -> None:
        self.config = config
        self.other_output = other_output
        super().__init__(
            engine_ports(config)
            | ports("table_", table_reader(config))
            | ports("weights_", weights_reader(config))
            | (ports(OTHER, output_visit(config, BANKS)) if other_output else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        blocks = Blocks.of(self.config)
        for name, block in vars(blocks).items():
            if block is not None:
                place(m, name, block)
        self._course(m, blocks)
        self._counts(m, blocks)
        self._weights(m, blocks)
        self._streams(m, blocks)
        self._memory(m, blocks)
        self._windows(m, blocks)
        self._results(m, blocks)
        if self.config.row_groups:
            self._row_groups(m, blocks)
        self._trace(m, blocks)
        return m

    def _course(self, m: Module, blocks: "Blocks") -> None:
        """The sequencer hands visits to the blocks that stream; frame and record, as seen from outside."""
        sequencer, image_input, reader = blocks.sequencer, blocks.image_input, blocks.reader
        output = blocks.feature_output
        ending = image_input.ending | reader.ending | output.ending
        input_error, is_output = image_input.error, sequencer.visit.kind == KIND_OUTPUT
        if blocks.block_input is not None:
            ending |= blocks.block_input.ending
            input_error |= blocks.block_input.error
        if self.other_output:
            ending |= self.other_ending
            input_error |= self.other_error
            feed(m, output, go=sequencer.go & is_output & ~self.other_chosen)
            m.d.comb += self.other_go.eq(sequencer.go & is_output & self.other_chosen)
        else:
            feed(m, output, go=sequencer.go & is_output)
        feed(m, sequencer, start=self.start, ending=ending, input_error=input_error)
        join(m, table_reader(self.config), source=(sequencer, "table_"), sink=(self, "table_"))
        for block, kind in ((image_input, KIND_INPUT), (reader, KIND_CONV)):
            feed(m, block, go=sequencer.go & (sequencer.visit.kind == kind))
        for block in (image_input, reader, output):
            feed(m, block, visit=sequencer.visit, layer=sequencer.layer)
        if blocks.block_input is not None:
            is_input, in_blocks = sequencer.visit.kind == KIND_INPUT, sequencer.layer.blocks
            feed(m, image_input, go=sequencer.go & is_input & ~in_blocks)
            feed(m, blocks.block_input, go=sequencer.go & is_input & in_blocks)
            feed(m, blocks.block_input, visit=sequencer.visit, layer=sequencer.layer)
        feed(m, reader, tile=sequencer.tile, next_layer=sequencer.load_layer)

        m.d.comb += [
            self.busy.eq(sequencer.busy),
            self.done.eq(sequencer.done),
            self.error.eq(sequencer.error),
        ]
        with m.If(sequencer.go):
            m.d.sync += [self.layer.eq(sequencer.visit.layer), self.kind.eq(sequencer.visit.kind)]
        with m.If(self.start & ~self.busy):
            m.d.sync += [self.cycles.eq(0), self.layer.eq(0), self.kind.eq(KIND_END)]
        with m.Elif(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)

    def _counts(self, m: Module, blocks: "Blocks") -> None:
        """What each cycle goes into."""
        image_input, output = blocks.image_input, blocks.feature_output
        takes, active = image_input.tready, image_input.active
        if blocks.block_input is not None:
            takes, active = self.s_axis_tready, active | blocks.block_input.active
        waits = takes & ~self.s_axis_tvalid
        output_waits = output.tvalid & ~self.m_axis_tready
        sends = output.active & ~output_waits
        if self.other_output:
            sends |= self.other_active
        feed(
            m,
            blocks.counters,
            start=self.start & ~self.busy,
            busy=self.busy,
            go=blocks.sequencer.go,
            done=self.done,
            record=self.layer,
            addr=self.counter_addr,
        )
        events = {
            "array": blocks.reader.active,
            "input": active & ~waits,
            "input_stall": active & waits,
            "output": sends,
            "output_stall": output.active & output_waits,
            "weight_stall": blocks.sequencer.starved,
        }
        m.d.comb += [blocks.counters.events[name].eq(value) for name, value in events.items()]
        m.d.comb += self.counter_value.eq(blocks.counters.value)

    def _weights(self, m: Module, blocks: "Blocks") -> None:
        """The loader fills the shadow registers with the tile that the sequencer prepares."""
        config, sequencer, loader = self.config, blocks.sequencer, blocks.weight_loader
        tile, layer = sequencer.tile, sequencer.load_layer
        join(m, weights_reader(config), source=(loader, "rom_"), sink=(self, "weights_"))
        feed(
            m,
            loader,
            clear=self.start & ~self.busy,
            start=sequencer.load_start,
            rebase=sequencer.load_rebase,
            rewind=sequencer.load_rewind,
            base=layer.weight_base,
            emitting=blocks.reader.go & tile.emit,
            taken=sequencer.go,
            mask_bits=layer.mask_bits,
            digit=tile.digit,
            has_pad=layer.has_pad,
            has_bias=tile.last_in,
            in_lanes=Mux(tile.last_in, layer.last_in_lanes, config.input_lanes),
            out_lanes=Mux(tile.last_out, layer.last_out_lanes, config.output_lanes),
        )
        if config.scalar_tables:
            feed(m, loader, scalar_bits=layer.scalar_bits)
        if config.residual:
            self._shortcut_weights(m, blocks)
        feed(m, sequencer, loaded=loader.ready)
        feed(m, blocks.window, load=loader.pads)
        feed(m, blocks.array, load=loader.kernels)
        feed(m, blocks.requantise, load=loader.biases)

    def _shortcut_weights(self, m: Module, blocks: "Blocks") -> None:
        """How the tiles of a shortcut, and 1x1 kernels, differ."""
        config, tile, layer = self.config, blocks.sequencer.tile, blocks.sequencer.load_layer
        diagonal = tile.shortcut & (layer.shortcut == SHORTCUT_IDENTITY)
        feed(
            m,
            blocks.weight_loader,
            centre=tile.shortcut | layer.centre,
            tap=Mux(tile.shortcut, layer.shortcut_tap, 0),
            diagonal=diagonal,
            first_in=tile.first_in,
            first_out=tile.first_out,
        )
        if config.scalar_tables:
            feed(m, blocks.weight_loader, shortcut=tile.shortcut)
        with m.If(tile.shortcut):
            lanes = Mux(tile.last_map_group, layer.last_shortcut_lanes, config.input_lanes)
            feed(m, blocks.weight_loader, in_lanes=lanes, has_pad=0, digit=0)
        if config.input_lanes < config.output_lanes:
            # The kernels of one of several diagonal tiles of an output group.
            with m.If(diagonal):
                feed(m, blocks.weight_loader, out_lanes=blocks.weight_loader.in_lanes)

    def _streams(self, m: Module, blocks: "Blocks") -> None:
        """Image in, features out."""
        config = self.config
        if blocks.block_input is None:
            join(m, image_stream(config), source=(self, "s_axis_"), sink=(blocks.image_input, ""))
        else:  # one of them takes what comes, while it has a visit or throws the rest of a frame away
            for block in (blocks.image_input, blocks.block_input):
                beat = {name: getattr(self, f"s_axis_{name}") for name in ("tdata", "tvalid", "tlast")}
                feed(m, block, **beat)
            feed(m, blocks.block_input, activation_bits=blocks.sequencer.activation_bits)
            m.d.comb += self.s_axis_tready.eq(blocks.image_input.tready | blocks.block_input.tready)
        join(m, feature_stream(config), source=(blocks.feature_output, ""), sink=(self, "m_axis_"))
        feed(m, blocks.image_input, activation_bits=blocks.sequencer.activation_bits)

    def _memory(self, m: Module, blocks: "Blocks") -> None:
        """Who reads and writes the feature memory: only one block at a time does either."""
        memory, image_input, reader = blocks.feature_memory, blocks.image_input, blocks.reader
        output, writer, layer = blocks.feature_output, blocks.writer, blocks.sequencer.layer
        image, result = image_input.write.as_value(), writer.write.as_value()
        read_en = reader.active | output.read_en
        if self.other_output:
            read_en |= self.other_read_en
            m.d.comb += [
                self.other_visit.eq(blocks.sequencer.visit),
                self.other_layer.eq(layer),
                self.other_banks.eq(memory.banks),
            ]
        written = Mux(image_input.write.en.any(), image, result)
        if blocks.block_input is not None:
            in_blocks = blocks.block_input.write
            written = Mux(in_blocks.en.any(), in_blocks.as_value(), written)
        feed(
            m,
            memory,
            write=written,
            read_en=read_en,
            read_part=reader.part if self.config.residual else layer.read_part,
        )
        for bank in range(BANKS):
            address = Mux(output.active, output.address, reader.addresses[bank])
            if self.other_output:
                address = Mux(self.other_active, self.other_address, address)
            m.d.comb += memory.read_addresses[bank].eq(address)
        feed(m, output, banks=memory.banks)

    def _windows(self, m: Module, blocks: "Blocks") -> None:
        """From the columns that the reader asks for to the sums of a pass."""
        reader, window, array = blocks.reader, blocks.window, blocks.array
        feed(
            m,
            window,
            pixel=reader.pixel,
            edges=reader.edges,
            top_bank=reader.top_bank,
            slice=reader.slice,
            lanes=reader.lanes,
            banks=blocks.feature_memory.banks,
            has_pad=blocks.sequencer.layer.has_pad,
        )
        feed(m, array, ahead=window.ahead, window=window.window)
        feed(m, blocks.accumulator, ahead=array.sums_ahead, sums=array.sums)

    def _results(self, m: Module, blocks: "Blocks") -> None:
        """From the accumulators to the words of the next layer's map."""
        accumulator, requantise, pool = blocks.accumulator, blocks.requantise, blocks.pool
        sequencer, layer = blocks.sequencer, blocks.sequencer.layer
        feed(
            m,
            requantise,
            ahead=accumulator.acc_ahead,
            acc=accumulator.acc,
            shift=layer.shift,
            maximum=(1 << sequencer.activation_bits) - 1,
            last_out_lanes=layer.last_out_lanes,
        )
        feed(m, pool, ahead=requantise.y_ahead, y=requantise.y, pool=layer.pool)
        if self.config.residual:
            feed(m, pool, pool_3x3=layer.pool_3x3)
        feed(
            m,
            blocks.writer,
            load=sequencer.adopt,
            visit=sequencer.visit,
            layer=layer,
            result=pool.result,
            data=pool.data,
        )

    def _row_groups(self, m: Module, blocks: "Blocks") -> None:
        """A layer in row groups: three rows at once, past the accumulator and the pooling."""
        array, requantise, layer = blocks.array, blocks.requantise, blocks.sequencer.layer
        grouped = layer.row_groups != 0
        feed(m, blocks.window, row_groups=layer.row_groups)
        feed(m, requantise, grouped=grouped, groups=array.groups)
        feed(m, blocks.pool, grouped=grouped)
        feed(m, blocks.writer, others=requantise.others)
        with m.If(grouped):
            feed(m, requantise, ahead=array.groups_ahead)

    def _trace(self, m: Module, blocks: "Blocks") -> None:
        """Every write into the feature memory."""
        write = blocks.feature_memory.write
        if self.config.writes_banks:
            bank = write.en
            address = Cat(Cat(one, Const(0, TRACE_ADDRESS_BITS - len(one))) for one in write.addr)
        else:
            bank, address = write.bank, write.addr
        m.d.comb += [
            self.trace_valid.eq(write.en.any()),
            self.trace_part.eq(write.part),
            self.trace_bank.eq(bank),
            self.trace_addr.eq(address),
            self.trace_lanes.eq(write.lanes),
            self.trace_data.eq(write.data),
        ]


@dataclass(frozen=True)
class Blocks:
    """The core's blocks, in the order in which a pixel meets them; the names are those of the instances."""

    image_input: ImageInput
    feature_memory: FeatureMemory
    reader: Reader
    window: Window
    array: Array
    accumulator: Accumulator
    requantise: Requantise
    pool: Pool
    writer: Writer
    feature_output: FeatureOutput
    weight_loader: WeightLoader
    sequencer: Sequencer
    counters: Counters
    block_input: BlockInput | None

    @classmethod
    def of(cls, config: EngineConfig) -> "Blocks":
        """The blocks of a core."""
        return cls(
            ImageInput(config),
            FeatureMemory(config),
            Reader(config),
            Window(config),
            Array(config),
            Accumulator(config),
            Requantise(config),
            Pool(config),
            Writer(config),
            FeatureOutput(config),
            WeightLoader(config),
            Sequencer(config),
            Counters(),
            BlockInput(config) if config.residual else None,
        )
