"""The tiles of a layer's shortcut, which come before the convolution's in every output group."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from kestrel.hw.common.handover import feature_address_bits
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.table import SHORTCUT_IDENTITY, SHORTCUT_NONE
from kestrel.hw.spec.widths import bits_for


class ShortcutCounter:
    """Counts the tiles of a shortcut.

    A projection has a tile for each group of P_i channels of its map, again in every output group. An
    identity has the tiles of the output group's own channels: one, or several where P_i < P_o; its count of
    groups goes on from one output group to the next.

    Attributes
    ----------
    active : Signal(1)      The next tile is one of the shortcut.
    first : Signal(1)       It is the output group's first one.
    last : Signal(1)        It is the output group's last one of the shortcut.
    """

    def __init__(self, config: EngineConfig, layer: data.View) -> None:
        self.config = config
        self.layer = layer
        self.active = Signal(name="in_shortcut")
        self.first = Signal(name="first_of_shortcut")
        self.last = Signal(name="last_of_shortcut")
        self._map_group = Signal.like(layer.shortcut_groups, name="map_group")
        self._last_group = Signal(name="last_map_group")
        self._offset = Signal(feature_address_bits(config), name="shortcut_offset")
        self._slice = Signal(bits_for(config.in_slices - 1), name="shortcut_slice")
        # Of an identity with P_i > P_o: the output group within the word.
        self._part = Signal(bits_for(config.out_slices - 1), name="shortcut_part_of_word")

    @property
    def _identity(self) -> Value:
        return self.layer.shortcut == SHORTCUT_IDENTITY

    def describe(self, m: Module, tile: data.View) -> None:
        """Drive the fields of ``tile``, a tile_layout, that concern shortcuts, and while one is counted also
        where its input group lies."""
        config = self.config
        m.d.comb += [
            tile.shortcut.eq(self.active),
            tile.last_map_group.eq(self._last_group),
            tile.first_in.eq(self._part * config.output_lanes),
            tile.first_out.eq(self._slice * config.input_lanes),
        ]
        with m.If(self.active):
            m.d.comb += [
                tile.group_offset.eq(self._offset),
                tile.slice.eq(self._slice),
                tile.digit.eq(self.layer.shortcut_digit),
                tile.fresh.eq(self.first),
                tile.emit.eq(0),
                tile.last_in.eq(0),
            ]

    def begin_visit(self, m: Module) -> None:
        """The next tile is the visit's first one."""
        groups = self.layer.shortcut_groups
        m.d.sync += [
            self._map_group.eq(0),
            self._last_group.eq(groups == 1),
            self._offset.eq(0),
            self._slice.eq(0),
            self._part.eq(0),
        ]
        self._begin(m, groups == 1)

    def begin_output_group(self, m: Module) -> None:
        """The next tile is an output group's first one."""
        self._begin(m, self._last_group)

    def _begin(self, m: Module, last_group: Value) -> None:
        m.d.sync += [
            self.active.eq(self.layer.shortcut != SHORTCUT_NONE),
            self.first.eq(1),
            self.last.eq(last_group | (self._identity & (self.config.in_slices == 1))),
        ]

    def count(self, m: Module) -> None:
        """On to the shortcut's next tile, or behind its last one to where it begins in the next output
        group."""
        config, identity = self.config, self._identity
        m.d.sync += [self.first.eq(0), self.active.eq(~self.last)]
        if config.out_slices > 1:
            stays = identity & (self._part != config.out_slices - 1)  # the next group lies in the same word
            m.d.sync += self._part.eq(Mux(stays, self._part + 1, 0))
            with m.If(~stays):
                self._on(m)
        else:
            self._on(m)
        with m.If(self.last & ~identity):
            m.d.sync += [
                self._map_group.eq(0),
                self._last_group.eq(self.layer.shortcut_groups == 1),
                self._offset.eq(0),
                self._slice.eq(0),
            ]

    def _on(self, m: Module) -> None:
        """On to the map's next group."""
        config, layer = self.config, self.layer
        last_group = self._map_group + 2 == layer.shortcut_groups
        ends_word = self._slice == config.in_slices - 1
        m.d.sync += [
            self._map_group.eq(self._map_group + 1),
            self._last_group.eq(last_group),
            self.last.eq(last_group | (self._identity & (self._slice + 2 == config.in_slices))),
            self._slice.eq(Mux(ends_word, 0, self._slice + 1)),
        ]
        with m.If(ends_word):
            m.d.sync += self._offset.eq(self._offset + layer.shortcut_width)
