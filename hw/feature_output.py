"""Feature output: sends the last map as a stream of words."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.feature_memory import BANKS
from hw.schedule import advanced, feature_address_bits, layer_layout, visit_layout
from hw.spec import EngineConfig

BYTE = 8


class FeatureOutput(wiring.Component):
    """One memory word a beat, row by row, pixel by pixel, channels innermost; a byte an activation.

    TKEEP marks the channels that exist; TLAST comes with the frame's last beat. A word read from the
    memory stays on the memory's output while the beat before it waits, so nothing is buffered twice.

    Members
    -------
    go, visit, layer : In   as in the reader; layer.in_groups counts words, last_in_lanes the channels of a
                            pixel's last word
    active, ending : Out    as in the reader; ``ending`` with the last beat transferred
    read_en, address : Out, banks : In   as in the feature memory
    tdata, tkeep, tlast, tvalid : Out, tready : In
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "active": Out(1),
                "ending": Out(1),
                "read_en": Out(1),
                "address": Out(feature_address_bits(config)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "tdata": Out(BYTE * config.word_lanes),
                "tkeep": Out(config.word_lanes),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        lanes = config.word_lanes

        reading = Signal()
        rows_left = Signal(16)
        ends_image = Signal()  # the visit ends with the image's last row
        column = Signal.like(layer.width)
        in_last_column, in_last_row = Signal(), Signal()  # found ahead, as in the image input
        words_left = Signal.like(layer.in_groups)
        bank = Signal(2)
        slot = Signal.like(self.visit.read_slot)
        group_offset = Signal.like(slot)

        # Two stages: the memory's output (fetched) and the stream's registers.
        move = Signal()
        fetched = Signal()
        word_end = words_left == 1
        row_end = word_end & in_last_column
        strip_end = row_end & in_last_row
        frame_end = strip_end & ends_image
        m.d.comb += [
            move.eq(~self.tvalid | self.tready),
            self.read_en.eq(reading & move),
            self.address.eq(slot + group_offset + column),
            self.ending.eq(self.active & ~reading & ~fetched & self.tvalid & self.tready),
        ]
        with m.If(self.read_en):
            m.d.sync += [words_left.eq(words_left - 1), group_offset.eq(group_offset + layer.width)]
            with m.If(word_end):
                m.d.sync += [
                    words_left.eq(layer.in_groups),
                    group_offset.eq(0),
                    column.eq(column + 1),
                    in_last_column.eq(column + 2 == layer.width),
                ]
            with m.If(row_end):
                m.d.sync += [
                    column.eq(0),
                    in_last_column.eq(layer.width == 1),
                    rows_left.eq(rows_left - 1),
                    in_last_row.eq(rows_left == 2),
                    bank.eq(Mux(bank == 2, 0, bank + 1)),
                ]
                with m.If(bank == 2):
                    m.d.sync += slot.eq(advanced(slot, layer, "read"))
            with m.If(strip_end):
                m.d.sync += reading.eq(0)

        fetched_bank = Signal(2, reset_less=True)
        fetched_last = Signal(reset_less=True)
        fetched_word_end = Signal(reset_less=True)
        with m.If(move):
            m.d.sync += [fetched.eq(reading), self.tvalid.eq(fetched)]
        with m.If(self.read_en):
            m.d.sync += [fetched_bank.eq(bank), fetched_last.eq(frame_end), fetched_word_end.eq(word_end)]
        with m.If(self.ending):
            m.d.sync += self.active.eq(0)

        word = Signal(config.word_bits)
        with m.Switch(fetched_bank):
            for n in range(BANKS):
                with m.Case(n):
                    m.d.comb += word.eq(self.banks[n])
        tdata = Signal.like(self.tdata, reset_less=True)
        tkeep = Signal.like(self.tkeep, reset_less=True)
        tlast = Signal(reset_less=True)
        m.d.comb += [self.tdata.eq(tdata), self.tkeep.eq(tkeep), self.tlast.eq(tlast)]
        with m.If(move & fetched):
            m.d.sync += tlast.eq(fetched_last)
            for lane in range(lanes):
                exists = ~fetched_word_end | (lane < layer.last_in_lanes)
                value = word.word_select(lane, config.activation_bits)
                m.d.sync += [
                    tdata.word_select(lane, BYTE).eq(Mux(exists, value, Const(0, BYTE))),
                    tkeep[lane].eq(exists),
                ]

        with m.If(self.go):
            m.d.sync += [
                self.active.eq(1),
                reading.eq(1),
                rows_left.eq(self.visit.rows),
                in_last_row.eq(self.visit.rows == 1),
                ends_image.eq(self.visit.first_row + self.visit.rows == layer.height),
                column.eq(0),
                in_last_column.eq(layer.width == 1),
                words_left.eq(layer.in_groups),
                bank.eq(self.visit.read_bank),
                slot.eq(self.visit.read_slot),
                group_offset.eq(0),
            ]
        return m
