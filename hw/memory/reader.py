"""Column reader: walks the pixels of a pass and presents the addresses of their columns."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, feature_address_bits, layer_layout, tile_layout, visit_layout
from kestrel.hw.common.pixel import EDGES, pixel_layout
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import bits_for


class Reader(wiring.Component):
    """One column a cycle, from the cycle after ``go`` on, for rows * width cycles.

    Of the three rows that make a column, those in banks ``top_bank`` and up lie in one slot, those in the
    banks below it in the slot that follows (rows 3k, 3k + 1, 3k + 2 share a slot address). So two running
    addresses serve three banks. Rows outside the image are read from wherever the address points and
    replaced by the window. A layer in row groups goes from slot to slot: three rows of its map a row.

    Members
    -------
    go : In(1)                 begin a pass, described by visit, tile and layer
    visit, tile : In           of the next pass, from two cycles before ``go`` on
    next_layer : In            its layer, likewise
    layer : In                 the same from ``go`` on; it must stay until the pass is over
    active : Out(1)            an address is presented
    ending : Out(1)            the last one; ``go`` may come in the same cycle
    addresses : Out(3 x addr)  one a bank
    pixel, edges, top_bank, slice, lanes : Out   as the window takes them
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "tile": In(tile_layout(config)),
                "next_layer": In(layer_layout(config)),
                "layer": In(layer_layout(config)),
                "active": Out(1),
                "ending": Out(1),
                "addresses": Out(data.ArrayLayout(feature_address_bits(config), BANKS)),
                "pixel": Out(pixel_layout(config)),
                "edges": Out(EDGES),
                "top_bank": Out(2),
                "slice": Out(bits_for(config.in_slices - 1)),
                "lanes": Out(bits_for(config.input_lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, visit = self.layer, self.visit

        tile = Signal.like(self.tile)
        column = Signal.like(layer.width)
        row = Signal(16)
        rows_left = Signal(16)
        first = Signal()
        slot = Signal.like(visit.read_slot)
        next_slot = Signal.like(slot)
        after = Signal.like(slot)  # the slot after the next one
        address = Signal.like(slot)
        next_address = Signal.like(slot)

        # Where the next pass begins, ahead of time: an addition a cycle.
        first_address = Signal.like(slot, reset_less=True)
        second_slot = Signal.like(slot, reset_less=True)
        second_address = Signal.like(slot, reset_less=True)
        third_slot = Signal.like(slot, reset_less=True)
        m.d.sync += [
            first_address.eq(visit.read_slot + self.tile.group_offset),
            second_slot.eq(advanced(visit.read_slot, self.next_layer, "read")),
            second_address.eq(second_slot + self.tile.group_offset),
            third_slot.eq(advanced(second_slot, self.next_layer, "read")),
        ]

        # Of the column and row that are presented; found one cycle earlier, because ``ending`` lets the
        # sequencer start the next pass in the same cycle.
        row_end = Signal()
        last_row = Signal()
        m.d.comb += self.ending.eq(self.active & row_end & last_row)
        with m.If(self.active):
            m.d.sync += [first.eq(0), row_end.eq(column + 2 == layer.width)]
            with m.If(~row_end):
                m.d.sync += [
                    column.eq(column + 1),
                    address.eq(address + 1),
                    next_address.eq(next_address + 1),
                ]
            with m.Else():
                m.d.sync += [
                    column.eq(0),
                    row.eq(row + 1),
                    rows_left.eq(rows_left - 1),
                    row_end.eq(layer.width == 1),
                    last_row.eq(rows_left == 2),
                ]
                slot_end = self.top_bank == BANKS - 1
                if self.config.row_groups:
                    slot_end |= layer.row_groups != 0
                with m.If(slot_end):
                    m.d.sync += [
                        self.top_bank.eq(0),
                        slot.eq(next_slot),
                        next_slot.eq(after),
                        after.eq(advanced(after, layer, "read")),
                        address.eq(next_slot + tile.group_offset),
                        next_address.eq(after + tile.group_offset),
                    ]
                with m.Else():
                    m.d.sync += [
                        self.top_bank.eq(self.top_bank + 1),
                        address.eq(slot + tile.group_offset),
                        next_address.eq(next_slot + tile.group_offset),
                    ]
        with m.If(self.ending):
            m.d.sync += self.active.eq(0)
        with m.If(self.go):
            m.d.sync += [
                self.active.eq(1),
                tile.eq(self.tile),
                column.eq(0),
                row.eq(visit.first_row),
                rows_left.eq(visit.rows),
                row_end.eq(layer.width == 1),
                last_row.eq(visit.rows == 1),
                first.eq(1),
                self.top_bank.eq(visit.read_bank),
                slot.eq(visit.read_slot),
                next_slot.eq(second_slot),
                after.eq(third_slot),
                address.eq(first_address),
                next_address.eq(second_address),
            ]

        m.d.comb += [
            self.pixel.valid.eq(self.active),
            self.pixel.first.eq(first),
            self.pixel.last.eq(self.ending),
            self.pixel.row_end.eq(row_end),
            self.pixel.fresh.eq(tile.fresh),
            self.pixel.emit.eq(tile.emit),
            self.pixel.digit.eq(tile.digit),
            self.pixel.last_out.eq(tile.last_out),
            self.edges.left.eq(column == 0),
            self.edges.right.eq(row_end),
            self.edges.top.eq(row == 0),
            self.edges.bottom.eq(row == layer.height - 1),
            self.slice.eq(tile.slice),
            self.lanes.eq(Mux(tile.last_in, layer.last_in_lanes, self.config.input_lanes)),
        ]
        if self.config.row_groups:
            m.d.comb += self.pixel.rows.eq(Mux(self.edges.bottom, layer.row_groups, ROW_GROUPS))
        for bank in range(BANKS):
            m.d.comb += self.addresses[bank].eq(Mux(bank >= self.top_bank, address, next_address))
        return m
