"""Feature writer: puts results into the next layer's region."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.feature_memory import feature_write
from hw.pool import RESULT
from hw.schedule import advanced, layer_layout, visit_layout
from hw.spec import EngineConfig, bits_for


class Writer(wiring.Component):
    """Follows the results on its own: the pipeline holds several passes when they are short.

    ``load`` sets the position for a layer's first visit, while the pipeline is empty. From then on the
    results say when a row ends, when a strip's output group ends (back to the strip's first row, next
    group) and when its last group ends (stay: the next strip of the layer goes on here).

    Members
    -------
    load : In(1), visit : In     position of the first row to be written; with ``load``
    layer : In                   from the cycle after ``load`` until the pipeline is empty
    result : In(RESULT), data : In(P_o x A)
    write : Out(feature_write)   in the same cycle
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "load": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "result": In(RESULT),
                "data": In(data.ArrayLayout(config.activation_bits, config.output_lanes)),
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
        m.d.comb += [
            self.write.en.eq(result.valid),
            self.write.part.eq(~layer.read_part),
            self.write.bank.eq(bank),
            self.write.addr.eq(slot + group_offset + column),
            self.write.lanes.eq(((1 << lanes) - 1) << (part_of_word * lanes)),
            self.write.data.eq(Cat(self.data.as_value() for _ in range(config.out_slices))),
        ]
        with m.If(result.valid):
            m.d.sync += column.eq(column + 1)

        row_bank, row_slot = Signal.like(bank), Signal.like(slot)  # after this result
        m.d.comb += [row_bank.eq(bank), row_slot.eq(slot)]
        with m.If(result.row_end):
            m.d.sync += column.eq(0)
            with m.If(bank == 2):
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
