"""Feature writer: puts results into the next layer's region."""

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
    groups writes three rows at once, a slot of all three banks.

    Members
    -------
    load : In(1), visit : In     position of the first row to be written; with ``load``
    layer : In                   from the cycle after ``load`` until the pipeline is empty
    result : In(result_layout), data : In(P_o x A)
    others : In(2 x P_o x A)     the pixels below ``data`` in row groups; only with ``config.row_groups``
    write : Out(feature_write)   in the same cycle
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layer, result = self.layer, self.result

        strip_bank, bank = Signal(2), Signal(2)
        strip_slot = Signal.like(self.visit.write_slot)
        slot = Signal.like(strip_slot)
        group_offset = Signal.like(strip_slot)
        part_of_word = Signal(bits_for(config.out_slices - 1))  # output group within the word
        column = Signal.like(layer.out_width)

        lanes = config.output_lanes
        address = slot + group_offset + column
        enables = ((1 << lanes) - 1) << (part_of_word * lanes)
        word = Cat(self.data.as_value() for _ in range(config.out_slices))
        if config.row_groups:
            grouped = layer.row_groups != 0
            for n in range(BANKS):
                here = Mux(grouped, n < result.rows, bank == n)
                m.d.comb += [
                    self.write.en[n].eq(result.valid & here),
                    self.write.addr[n].eq(address),
                    self.write.lanes[n].eq(enables),
                    self.write.data[n].eq(word),
                ]
                if n:
                    other = Cat(self.others[n - 1].as_value() for _ in range(config.out_slices))
                    with m.If(grouped):
                        m.d.comb += self.write.data[n].eq(other)
        else:
            m.d.comb += [
                self.write.en.eq(result.valid),
                self.write.bank.eq(bank),
                self.write.addr.eq(address),
                self.write.lanes.eq(enables),
                self.write.data.eq(word),
            ]
        m.d.comb += self.write.part.eq(~layer.read_part)
        with m.If(result.valid):
            m.d.sync += column.eq(column + 1)

        row_bank, row_slot = Signal.like(bank), Signal.like(slot)  # after this result
        m.d.comb += [row_bank.eq(bank), row_slot.eq(slot)]
        with m.If(result.row_end):
            m.d.sync += column.eq(0)
            slot_end = bank == BANKS - 1
            if config.row_groups:
                slot_end |= layer.row_groups != 0
            with m.If(slot_end):
                m.d.comb += [row_bank.eq(0), row_slot.eq(advanced(slot, layer, "write"))]
            with m.Else():
                m.d.comb += row_bank.eq(bank + 1)
        m.d.sync += [bank.eq(row_bank), slot.eq(row_slot)]

        with m.If(result.last):
            # An odd last row leaves a column count behind when it is dropped by the pooling.
            m.d.sync += column.eq(0)
            with m.If(result.last_out):
                m.d.sync += [
                    strip_bank.eq(row_bank),
                    strip_slot.eq(row_slot),
                    group_offset.eq(0),
                    part_of_word.eq(0),
                ]
            with m.Else():
                m.d.sync += [bank.eq(strip_bank), slot.eq(strip_slot)]
                with m.If(part_of_word == config.out_slices - 1):
                    m.d.sync += [part_of_word.eq(0), group_offset.eq(group_offset + layer.out_width)]
                with m.Else():
                    m.d.sync += part_of_word.eq(part_of_word + 1)
        with m.If(self.load):
            m.d.sync += [
                strip_bank.eq(self.visit.write_bank),
                strip_slot.eq(self.visit.write_slot),
                bank.eq(self.visit.write_bank),
                slot.eq(self.visit.write_slot),
                group_offset.eq(0),
                part_of_word.eq(0),
                column.eq(0),
            ]
        return m
