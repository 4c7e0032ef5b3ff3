"""Feature writer: puts the results into the next layer's region."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, layer_layout, visit_layout
from kestrel.hw.common.pixel import result_layout
from kestrel.hw.memory.feature_memory import feature_write
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import bits_for


class Writer(wiring.Component):
    """Follows the results on its own: the pipeline holds several passes when they are short.

    ``load`` sets the position for a layer's first visit, while the pipeline is empty. From then on the
    results say when a row ends, when a strip's output group ends (back to the strip's first row, next
    group) and when its last group ends (stay: the next strip of the layer goes on here). A layer in row
    groups writes three rows at once, into one slot of all three banks.

    Members
    -------
    load : In(1)                  Takes the position of the layer's first row from ``visit``.
    visit : In(visit_layout)      The visit that begins; only ``write_bank`` and ``write_slot`` are used.
    layer : In(layer_layout)      The layer, from the cycle after ``load`` until the pipeline is empty.
    result : In(result_layout)    What there is to write, and what ends with it.
    data : In(P_o x A)            The activations to be written.
    others : In(2 x P_o x A)      Only with ``config.row_groups``: the activations of the two rows below, in
                                  a layer in row groups.
    write : Out(feature_write)    The write, in the same cycle.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        lanes = data.ArrayLayout(config.activation_bits, config.output_lanes)
        grouped = {"others": In(data.ArrayLayout(lanes, ROW_GROUPS - 1))} if config.row_groups else {}
        super().__init__(
            grouped
            | {
                "load": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "result": In(result_layout(config)),
                "data": In(lanes),
                "write": Out(feature_write(config)),
            }
        )
        slot = self.visit.write_slot
        self._bank = Signal(2, name="bank")  # of the row
        self._slot = Signal.like(slot, name="slot")
        self._strip_bank = Signal(2, name="strip_bank")  # of the strip's first row
        self._strip_slot = Signal.like(slot, name="strip_slot")
        self._group_offset = Signal.like(slot, name="group_offset")
        self._part_of_word = Signal(bits_for(config.out_slices - 1), name="part_of_word")  # output group
        self._column = Signal.like(self.layer.out_width, name="column")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write(m)
        m.d.comb += self.write.part.eq(~self.layer.read_part)
        self._follow(m)
        with m.If(self.load):
            m.d.sync += [
                self._strip_bank.eq(self.visit.write_bank),
                self._strip_slot.eq(self.visit.write_slot),
                self._bank.eq(self.visit.write_bank),
                self._slot.eq(self.visit.write_slot),
                self._group_offset.eq(0),
                self._part_of_word.eq(0),
                self._column.eq(0),
            ]
        return m

    def _write(self, m: Module) -> None:
        """The result's word and where it goes."""
        config, result = self.config, self.result
        lanes = config.output_lanes
        address = self._slot + self._group_offset + self._column
        enables = ((1 << lanes) - 1) << (self._part_of_word * lanes)
        word = Cat(self.data.as_value() for _ in range(config.out_slices))
        if not config.writes_banks:
            m.d.comb += [
                self.write.en.eq(result.valid),
                self.write.bank.eq(self._bank),
                self.write.addr.eq(address),
                self.write.lanes.eq(enables),
                self.write.data.eq(word),
            ]
            return
        for n in range(BANKS):
            here = self._bank == n
            if config.row_groups:
                grouped = self.layer.row_groups != 0
                here = Mux(grouped, n < result.rows, here)
            m.d.comb += [
                self.write.en[n].eq(result.valid & here),
                self.write.addr[n].eq(address),
                self.write.lanes[n].eq(enables),
                self.write.data[n].eq(word),
            ]
            if config.row_groups and n:
                other = Cat(self.others[n - 1].as_value() for _ in range(config.out_slices))
                with m.If(self.layer.row_groups != 0):
                    m.d.comb += self.write.data[n].eq(other)

    def _follow(self, m: Module) -> None:
        """On to the next pixel, to the next row, to the strip's next output group, or to the next strip."""
        config, layer, result = self.config, self.layer, self.result
        with m.If(result.valid):
            m.d.sync += self._column.eq(self._column + 1)
        row_bank, row_slot = self._after_row(m)
        m.d.sync += [self._bank.eq(row_bank), self._slot.eq(row_slot)]
        with m.If(result.last):
            # An odd last row leaves a column count behind when it is dropped by the pooling.
            m.d.sync += self._column.eq(0)
            with m.If(result.last_out):
                m.d.sync += [
                    self._strip_bank.eq(row_bank),
                    self._strip_slot.eq(row_slot),
                    self._group_offset.eq(0),
                    self._part_of_word.eq(0),
                ]
            with m.Else():
                m.d.sync += [self._bank.eq(self._strip_bank), self._slot.eq(self._strip_slot)]
                with m.If(self._part_of_word == config.out_slices - 1):
                    m.d.sync += [
                        self._part_of_word.eq(0),
                        self._group_offset.eq(self._group_offset + layer.out_width),
                    ]
                with m.Else():
                    m.d.sync += self._part_of_word.eq(self._part_of_word + 1)

    def _after_row(self, m: Module) -> tuple[Signal, Signal]:
        """Bank and slot after this result: the next row's if it ends one."""
        row_bank = Signal.like(self._bank)
        row_slot = Signal.like(self._slot)
        m.d.comb += [row_bank.eq(self._bank), row_slot.eq(self._slot)]
        with m.If(self.result.row_end):
            m.d.sync += self._column.eq(0)
            slot_end = self._bank == BANKS - 1
            if self.config.row_groups:
                slot_end |= self.layer.row_groups != 0
            with m.If(slot_end):
                m.d.comb += [row_bank.eq(0), row_slot.eq(advanced(self._slot, self.layer, "write"))]
            with m.Else():
                m.d.comb += row_bank.eq(self._bank + 1)
        return row_bank, row_slot
