"""Column reader: walks the pixels of a pass and presents the addresses of their columns."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, feature_address_bits, layer_layout, tile_layout, visit_layout
from kestrel.hw.common.pixel import EDGES, pixel_layout
from kestrel.hw.memory.pass_path import Start, first_slot, look_ahead, path_of, slot_after
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import bits_for


class Reader(wiring.Component):
    """Presents one column a cycle, from the cycle after ``go`` on, for rows * width cycles.

    Of the three rows that make a column, those in banks ``top_bank`` and up lie in one slot, those in the
    banks below it in the slot that follows (rows 3k, 3k + 1, 3k + 2 share a slot address). So two running
    addresses serve three banks. Rows outside the image are read from wherever the address points and
    replaced by the window. In a layer in row groups every row goes on to the next slot: it stands for three
    rows of the map.

    With ``config.residual`` a pass may read the shortcut's map instead of the layer's, and may take every
    second row only. Of such a row it presents all columns, of which every second one is a pixel, because the
    window needs the others too; or, where only the centre tap counts, every second column.

    With ``config.batch`` a map may hold several images, one below the other. Rows are counted within an
    image; from its last one the reader goes on to the first row of the next image, the next row of the map or
    the one after it (``read_gap``, ``shortcut_gap``).

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
    part : Out(1)                               Only with ``config.residual``: the part of the feature memory
                                                from which the column is read.
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
                **({"part": Out(1)} if config.residual else {}),
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
        if config.residual:
            self._ends_row = Signal(name="ends_row")  # the column is the row's last pixel
        if config.batch:
            self._image_rows = Signal.like(self.visit.image_rows, name="image_rows")
            self._image_rows_left = Signal.like(self._image_rows, name="image_rows_left")
            self._ends_image = Signal(name="ends_image")  # the row is its image's last one

    def elaborate(self, platform: object) -> Module:
        m = Module()
        start = look_ahead(m, self.config, self.visit, self.tile, self.next_layer)
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
        if self.config.residual:
            self._step_residual(m)
            return
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
            if self.config.batch:
                self._next_of_image(m)
                self._next_rows(m, self._ends_image & self.layer.read_gap)
            else:
                self._next_row(m)

    def _step_residual(self, m: Module) -> None:
        """The same, by one or two columns and rows."""
        path = path_of(self._tile, self.layer)
        one = Mux(path.skips, 2, 1)
        m.d.sync += [
            self._first.eq(0),
            self._row_end.eq(self._column + 2 == path.columns),
            self._ends_row.eq(self._column + 1 == path.last_pixel),
        ]
        with m.If(~self._row_end):
            m.d.sync += [
                self._column.eq(self._column + 1),
                self._address.eq(self._address + one),
                self._next_address.eq(self._next_address + one),
            ]
        with m.Else():
            m.d.sync += [
                self._column.eq(0),
                self._row.eq(self._row + Mux(path.double, 2, 1)),
                self._rows_left.eq(self._rows_left - 1),
                self._row_end.eq(path.columns == 1),
                self._ends_row.eq(path.last_pixel == 0),
                self._last_row.eq(self._rows_left == 2),
            ]
            double = path.double
            if self.config.batch:
                self._next_of_image(m)
                gap = Mux(self._tile.shortcut, self.layer.shortcut_gap, self.layer.read_gap)
                double = Mux(self._ends_image, gap, double)
            self._next_rows(m, double)

    def _next_of_image(self, m: Module) -> None:
        """On to the image's next row, or to the next image's first one."""
        m.d.sync += [
            self._image_rows_left.eq(self._image_rows_left - 1),
            self._ends_image.eq(self._image_rows_left == 2),
        ]
        with m.If(self._ends_image):
            m.d.sync += [
                self._row.eq(0),
                self._image_rows_left.eq(self._image_rows),
                self._ends_image.eq(self._image_rows == 1),
            ]

    def _next_rows(self, m: Module, double: Value) -> None:
        """The window moves down by one bank, or if ``double`` by two, behind the last one to the next slot;
        in a layer in row groups always to the next slot."""
        offset = self._tile.group_offset
        bank, slot_end = Signal(2, name="next_bank"), Signal(name="slot_end")
        last = BANKS - 1
        m.d.comb += [
            bank.eq(Mux(self.top_bank == last, 0, self.top_bank + 1)),
            slot_end.eq(self.top_bank == last),
        ]
        with m.If(double):
            m.d.comb += [
                bank.eq(Mux(self.top_bank == 0, last, self.top_bank - 1)),
                slot_end.eq(self.top_bank != 0),
            ]
        if self.config.row_groups:
            with m.If(self.layer.row_groups != 0):
                m.d.comb += [bank.eq(0), slot_end.eq(1)]
        m.d.sync += self.top_bank.eq(bank)
        with m.If(slot_end):
            m.d.sync += [
                self._slot.eq(self._next_slot),
                self._next_slot.eq(self._after),
                self._after.eq(slot_after(self.config, self._after, self._tile, self.layer)),
                self._address.eq(self._next_slot + offset),
                self._next_address.eq(self._after + offset),
            ]
        with m.Else():
            m.d.sync += [
                self._address.eq(self._slot + offset),
                self._next_address.eq(self._next_slot + offset),
            ]

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

    def _begin(self, m: Module, start: Start) -> None:
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
        if self.config.batch:
            m.d.sync += [
                self._image_rows.eq(visit.image_rows),
                self._image_rows_left.eq(visit.image_rows_left),
                self._ends_image.eq(visit.image_rows_left == 1),
            ]
        if self.config.residual:
            path = path_of(self.tile, self.layer)
            m.d.sync += [
                self._row_end.eq(path.columns == 1),
                self._ends_row.eq(path.last_pixel == 0),
                self.top_bank.eq(Mux(self.tile.shortcut, visit.shortcut_bank, visit.read_bank)),
                self._slot.eq(first_slot(self.config, self.visit, self.tile)),
            ]

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
        if self.config.residual:
            self._present_residual(m)
        if self.config.row_groups:
            m.d.comb += self.pixel.rows.eq(Mux(self.edges.bottom, layer.row_groups, ROW_GROUPS))
        for bank in range(BANKS):
            m.d.comb += self.addresses[bank].eq(
                Mux(bank >= self.top_bank, self._address, self._next_address)
            )

    def _present_residual(self, m: Module) -> None:
        """What differs where a pass reads a shortcut's map, or leaves out rows and columns."""
        tile, layer = self._tile, self.layer
        path = path_of(tile, layer)
        m.d.comb += [
            self.pixel.valid.eq(self.active & ~(path.double & ~path.skips & self._column[0])),
            self.pixel.row_end.eq(self._ends_row),
            self.pixel.last.eq(self.active & self._ends_row & self._last_row),
            self.pixel.top.eq(self.edges.top),
            self.pixel.bottom.eq(self.edges.bottom),
            self.pixel.odd.eq(self._row[0]),
            self.part.eq(Mux(tile.shortcut, layer.shortcut_part, layer.read_part)),
        ]
        with m.If(tile.shortcut):
            lanes = Mux(tile.last_map_group, layer.last_shortcut_lanes, self.config.input_lanes)
            m.d.comb += self.lanes.eq(lanes)
