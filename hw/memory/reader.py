"""Column reader: walks the pixels of a pass and presents the addresses of their columns."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, feature_address_bits, layer_layout, tile_layout, visit_layout
from kestrel.hw.common.pixel import EDGES, pixel_layout
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import bits_for


@dataclass(frozen=True)
class _Start:
    """Where a pass begins: the address in the slot of its first column's upper row, the slot behind it with
    the address there, and the slot behind that."""

    first_address: Signal
    second_slot: Signal
    second_address: Signal
    third_slot: Signal


class Reader(wiring.Component):
    """Presents one column a cycle, from the cycle after ``go`` on, for rows * width cycles.

    Of the three rows that make a column, those in banks ``top_bank`` and up lie in one slot, those in the
    banks below it in the slot that follows (rows 3k, 3k + 1, 3k + 2 share a slot address). So two running
    addresses serve three banks. Rows outside the image are read from wherever the address points and
    replaced by the window. In a layer in row groups every row goes on to the next slot: it stands for three
    rows of the map.

    Members
    -------
    go : In(1)                                  Begins a pass, described by ``visit``, ``tile`` and
                                                ``layer``.
    visit : In(visit_layout)                    The next pass's visit, from two cycles before ``go`` on.
    tile : In(tile_layout)                      The next pass's tile, from two cycles before ``go`` on.
    next_layer : In(layer_layout)               The next pass's layer, from two cycles before ``go`` on.
    layer : In(layer_layout)                    The layer of the pass, from ``go`` until the pass is over.
    active : Out(1)                             A column is presented.
    ending : Out(1)                             It is the pass's last one; ``go`` may come in the same cycle.
    addresses : Out(3 x feature_address_bits)   The column's address in each bank.
    pixel : Out(pixel_layout)                   The pixel in the middle of the column.
    edges : Out(EDGES)                          The edges of the image on which it lies.
    top_bank : Out(2)                           The bank that holds the row above it.
    slice : Out                                 The number of the input group within the words, 0 to
                                                ``in_slices`` - 1.
    lanes : Out                                 The channels of the input group, 1 to P_i.
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
        slot = self.visit.read_slot
        self._tile = Signal.like(self.tile, name="tile")
        self._column = Signal.like(self.layer.width, name="column")
        self._row, self._rows_left = Signal(16, name="row"), Signal(16, name="rows_left")
        self._first = Signal(name="first")
        self._slot = Signal.like(slot, name="slot")
        self._next_slot = Signal.like(slot, name="next_slot")
        self._after = Signal.like(slot, name="after")  # the slot after the next one
        self._address = Signal.like(slot, name="address")
        self._next_address = Signal.like(slot, name="next_address")
        # Of the column and row that are presented; found one cycle earlier, because ``ending`` lets the
        # sequencer start the next pass in the same cycle.
        self._row_end, self._last_row = Signal(name="row_end"), Signal(name="last_row")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        start = self._look_ahead(m)
        m.d.comb += self.ending.eq(self.active & self._row_end & self._last_row)
        with m.If(self.active):
            self._step(m)
        with m.If(self.ending):
            m.d.sync += self.active.eq(0)
        with m.If(self.go):
            self._begin(m, start)
        self._present(m)
        return m

    def _step(self, m: Module) -> None:
        """On to the next column, or to the next row's first one."""
        m.d.sync += [self._first.eq(0), self._row_end.eq(self._column + 2 == self.layer.width)]
        with m.If(~self._row_end):
            m.d.sync += [
                self._column.eq(self._column + 1),
                self._address.eq(self._address + 1),
                self._next_address.eq(self._next_address + 1),
            ]
        with m.Else():
            m.d.sync += [
                self._column.eq(0),
                self._row.eq(self._row + 1),
                self._rows_left.eq(self._rows_left - 1),
                self._row_end.eq(self.layer.width == 1),
                self._last_row.eq(self._rows_left == 2),
            ]
            self._next_row(m)

    def _next_row(self, m: Module) -> None:
        """The window moves down by a bank, behind the last one to the next slot; in a layer in row groups
        always to the next slot."""
        offset = self._tile.group_offset
        slot_end = self.top_bank == BANKS - 1
        if self.config.row_groups:
            slot_end |= self.layer.row_groups != 0
        with m.If(slot_end):
            m.d.sync += [
                self.top_bank.eq(0),
                self._slot.eq(self._next_slot),
                self._next_slot.eq(self._after),
                self._after.eq(advanced(self._after, self.layer, "read")),
                self._address.eq(self._next_slot + offset),
                self._next_address.eq(self._after + offset),
            ]
        with m.Else():
            m.d.sync += [
                self.top_bank.eq(self.top_bank + 1),
                self._address.eq(self._slot + offset),
                self._next_address.eq(self._next_slot + offset),
            ]

    def _begin(self, m: Module, start: _Start) -> None:
        """Begin a pass."""
        visit = self.visit
        m.d.sync += [
            self.active.eq(1),
            self._tile.eq(self.tile),
            self._column.eq(0),
            self._row.eq(visit.first_row),
            self._rows_left.eq(visit.rows),
            self._row_end.eq(self.layer.width == 1),
            self._last_row.eq(visit.rows == 1),
            self._first.eq(1),
            self.top_bank.eq(visit.read_bank),
            self._slot.eq(visit.read_slot),
            self._next_slot.eq(start.second_slot),
            self._after.eq(start.third_slot),
            self._address.eq(start.first_address),
            self._next_address.eq(start.second_address),
        ]

    def _look_ahead(self, m: Module) -> _Start:
        """Where the next pass begins, found ahead of ``go``: an addition a cycle."""
        visit, offset = self.visit, self.tile.group_offset
        first_address = Signal.like(self._slot, reset_less=True)
        second_slot = Signal.like(self._slot, reset_less=True)
        second_address = Signal.like(self._slot, reset_less=True)
        third_slot = Signal.like(self._slot, reset_less=True)
        m.d.sync += [
            first_address.eq(visit.read_slot + offset),
            second_slot.eq(advanced(visit.read_slot, self.next_layer, "read")),
            second_address.eq(second_slot + offset),
            third_slot.eq(advanced(second_slot, self.next_layer, "read")),
        ]
        return _Start(first_address, second_slot, second_address, third_slot)

    def _present(self, m: Module) -> None:
        """The column for the banks and for the window."""
        tile, layer = self._tile, self.layer
        m.d.comb += [
            self.pixel.valid.eq(self.active),
            self.pixel.first.eq(self._first),
            self.pixel.last.eq(self.ending),
            self.pixel.row_end.eq(self._row_end),
            self.pixel.fresh.eq(tile.fresh),
            self.pixel.emit.eq(tile.emit),
            self.pixel.digit.eq(tile.digit),
            self.pixel.last_out.eq(tile.last_out),
            self.edges.left.eq(self._column == 0),
            self.edges.right.eq(self._row_end),
            self.edges.top.eq(self._row == 0),
            self.edges.bottom.eq(self._row == layer.height - 1),
            self.slice.eq(tile.slice),
            self.lanes.eq(Mux(tile.last_in, layer.last_in_lanes, self.config.input_lanes)),
        ]
        if self.config.row_groups:
            m.d.comb += self.pixel.rows.eq(Mux(self.edges.bottom, layer.row_groups, ROW_GROUPS))
        for bank in range(BANKS):
            m.d.comb += self.addresses[bank].eq(
                Mux(bank >= self.top_bank, self._address, self._next_address)
            )
