"""The tiles of a layer's weights, counted in the order in which a visit uses them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data

from kestrel.hw.common.handover import feature_address_bits
from kestrel.hw.control.shortcut_counter import ShortcutCounter
from kestrel.hw.spec.engine_config import EngineConfig


class TileCounter:
    """The next tile: digit by digit of an input group, input group by input group of an output group.

    What is last about a tile is found together with the tile, not from it: the weight loader works on it in
    the very next cycle.

    Attributes
    ----------
    first : Signal(1)            To be driven: on to the visit's first tile.
    next : Signal(1)             To be driven: on to the tile after this one.
    first_of_visit : Signal(1)   The tile is the visit's first one.
    last_digit, last_in, last_out : Signal(1)   The tile is of the mask codes' last digit, of the last input
                                 group and of the last output group.
    shortcut : ShortcutCounter   Only with ``config.residual``: counts the tiles of a shortcut; while it is
                                 active, the tile is one of these, and last_digit and last_in mean nothing.
    """

    def __init__(self, config: EngineConfig, layer: data.View) -> None:
        self.config = config
        self.layer = layer
        self.next = Signal(name="tile_next")
        self.first = Signal(name="tile_first")
        self.first_of_visit = Signal()
        self.last_digit = Signal()
        self.last_in = Signal()
        self.last_out = Signal()
        self._in_group = Signal.like(layer.in_groups, name="in_group")
        self._out_group = Signal.like(layer.out_groups, name="out_group")
        self._offset = Signal(feature_address_bits(config), name="offset")
        self._digit = Signal(2, name="digit")
        self.shortcut = ShortcutCounter(config, layer) if config.residual else None

    def add_to(self, m: Module, tile: data.View) -> None:
        """Add the counters to ``m``, and let them drive ``tile``, a tile_layout."""
        part_of_word = Signal.like(tile.slice)
        m.d.comb += [
            tile.group_offset.eq(self._offset),
            tile.slice.eq(part_of_word),
            tile.digit.eq(self._digit),
            tile.fresh.eq((self._in_group == 0) & (self._digit == 0)),
            tile.emit.eq(self.last_in & self.last_digit),
            tile.last_in.eq(self.last_in),
            tile.last_out.eq(self.last_out),
        ]
        if self.shortcut is None:
            with m.If(self.next):
                self._count(m, part_of_word)
        else:
            self._add_shortcut(m, self.shortcut, tile, part_of_word)
        with m.If(self.first):
            m.d.sync += [
                self.first_of_visit.eq(1),
                self._digit.eq(0),
                self.last_digit.eq(self.layer.passes == 1),
                self._in_group.eq(0),
                self.last_in.eq(self.layer.in_groups == 1),
                self._out_group.eq(0),
                self.last_out.eq(self.layer.out_groups == 1),
                part_of_word.eq(0),
                self._offset.eq(0),
            ]

    def _add_shortcut(
        self, m: Module, shortcut: ShortcutCounter, tile: data.View, part_of_word: Signal
    ) -> None:
        """In every output group the shortcut's tiles come first."""
        m.d.comb += tile.fresh.eq((self._in_group == 0) & (self._digit == 0) & (self.layer.shortcut == 0))
        shortcut.describe(m, tile)
        with m.If(self.next & shortcut.active):
            m.d.sync += self.first_of_visit.eq(0)
            shortcut.count(m)
        with m.Elif(self.next):
            self._count(m, part_of_word)
            with m.If(self.last_digit & self.last_in):
                shortcut.begin_output_group(m)
        with m.If(self.first):
            shortcut.begin_visit(m)

    def _count(self, m: Module, part_of_word: Signal) -> None:
        """On to the next digit, input group or output group."""
        layer = self.layer
        m.d.sync += [
            self._digit.eq(self._digit + 1),
            self.last_digit.eq(self._digit + 2 == layer.passes),
            self.first_of_visit.eq(0),
        ]
        with m.If(self.last_digit):
            m.d.sync += [
                self._digit.eq(0),
                self.last_digit.eq(layer.passes == 1),
                self._in_group.eq(self._in_group + 1),
                self.last_in.eq(self._in_group + 2 == layer.in_groups),
                part_of_word.eq(part_of_word + 1),
            ]
            with m.If(part_of_word == self.config.in_slices - 1):
                m.d.sync += [part_of_word.eq(0), self._offset.eq(self._offset + layer.width)]
            with m.If(self.last_in):
                m.d.sync += [
                    self._in_group.eq(0),
                    self.last_in.eq(layer.in_groups == 1),
                    self._out_group.eq(self._out_group + 1),
                    self.last_out.eq(self._out_group + 2 == layer.out_groups),
                    part_of_word.eq(0),
                    self._offset.eq(0),
                ]
