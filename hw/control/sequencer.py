"""Sequencer: walks the schedule table and hands pass after pass to the pipeline, preparing one pass ahead.

It prepares the next pass (table records, tile of weights) while the current one streams. ``go`` hands over:

    same layer   in any cycle from the one in which the current pass presents its last address, as soon as
                 the next tile is loaded: passes follow each other without a gap
    shortcut     as soon as the pipeline has drained, if the shortcut's map lies in the part that is written
    new layer    after the pipeline has drained: ``adopt`` puts the layer record in force, ``go`` follows in
                 the next cycle

From a hand-over in cycle g the next tile is loaded

    if it is another tile of the visit   from the same cycle on
    after the visit's last tile          visit_fetch cycles later, layer_fetch more if the layer is new
"""

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import layer_layout, tile_layout, visit_layout
from kestrel.hw.control.table_reader import TableReader
from kestrel.hw.control.tile_counter import TileCounter
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, Field
from kestrel.hw.spec.status import ERROR_BITS, ERROR_TABLE_CONFIG, ERROR_TABLE_MAGIC
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    HEADER_WORDS_USED,
    KIND_CONV,
    KIND_END,
    TABLE_MAGIC,
    TABLE_VERSION,
    TABLE_VERSION_RESIDUAL,
    TABLE_VERSION_ROW_GROUPS,
    TABLE_VERSION_SCALAR_TABLES,
    layer_fields,
    layer_words,
    visit_fields,
    visit_words,
    visit_words_used,
)
from kestrel.hw.spec.timing import drain_cycles
from kestrel.hw.spec.widths import bits_for


class Sequencer(wiring.Component):
    """Controls a frame from ``start`` to ``done``, as the module's docstring describes.

    Members
    -------
    start : In(1)                    Begins a frame; ignored while ``busy``.
    busy : Out(1)                    A frame runs.
    done : Out(1)                    High in one cycle: a frame has ended well.
    error : Out(4)                   The cause for which the last frame was given up (ERRORS), 0 if it was
                                     not; it stays until the next start.
    table_en : Out(1)                Reads the schedule table.
    table_addr : Out                 The word's address in the table, as wide as ``table_words`` needs.
    table_data : In(32)              The word, one cycle after ``table_en``.
    ending : In(1)                   The streaming block that was handed over to is in its last cycle.
    input_error : In(4)              The streaming block gives up, for this cause; 0 otherwise.
    go : Out(1)                      Hands over ``visit`` and ``tile``, whose layer is in force.
    adopt : Out(1)                   The layer that was read becomes ``layer``; comes one cycle before
                                     ``go``.
    starved : Out(1)                 Nothing but the weights of the next pass is missing.
    visit : Out(visit_layout)        The next visit, valid with ``go``.
    tile : Out(tile_layout)          The next tile, valid with ``go`` if the visit computes.
    layer : Out(layer_layout)        The layer in force.
    activation_bits : Out(4)         A of the network that runs, from the table's header.
    load_start : Out(1)              The weight loader is to begin with the next tile.
    load_rebase : Out(1)             A visit begins: its first tile, if it has any, is that of the layer.
    load_rewind : Out(1)             With ``load_start``: the tile is the same one again, for its next digit.
    load_layer : Out(layer_layout)   The layer of the next pass.
    loaded : In(1)                   The next tile is loaded.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(ERROR_BITS),
                "table_en": Out(1),
                "table_addr": Out(bits_for(config.table_words - 1)),
                "table_data": In(TABLE_WORD_BITS),
                "ending": In(1),
                "input_error": In(ERROR_BITS),
                "go": Out(1),
                "adopt": Out(1),
                "starved": Out(1),
                "visit": Out(visit_layout(config)),
                "tile": Out(tile_layout(config)),
                "layer": Out(layer_layout(config)),
                "activation_bits": Out(4),
                "load_start": Out(1),
                "load_rebase": Out(1),
                "load_rewind": Out(1),
                "load_layer": Out(layer_layout(config)),
                "loaded": In(1),
            }
        )
        self._tiles = TileCounter(config, self.load_layer)
        self._table = TableReader(self.table_addr)
        self._visit_pointer = Signal.like(self.table_addr, name="visit_pointer")
        self._header = {f.name: Signal(f.width, name=f"header_{f.name}") for f in HEADER_FIELDS}
        self._active = Signal(name="active")  # a streaming block is at work
        self._drain_left = Signal(range(drain_cycles(config)), name="drain_left")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._drain(m)
        self._tiles.add_to(m, self.tile)
        m.d.comb += self.table_addr.eq(self._table.pointer)
        m.d.comb += self.activation_bits.eq(self._header["activation_bits"])
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [self.busy.eq(1), self.error.eq(0)]
                self._table.begin(m, 0)
                m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(self._receive(m, HEADER_FIELDS, self._header, HEADER_WORDS_USED)):
                    m.next = "CHECK"
            with m.State("CHECK"):
                self._check(m)
            with self._state(m, "VISIT"):
                self._read_visit(m)
            with self._state(m, "DISPATCH"):
                with m.If(self.visit.kind == KIND_END):
                    m.next = "FINISH"
                with m.Elif(self.visit.new_layer):
                    m.next = "LAYER"
                with m.Else():
                    self._prepare(m)
            with self._state(m, "LAYER"):
                fields = layer_fields(self.config)
                with m.If(self._receive(m, fields, self.load_layer, layer_words(self.config))):
                    m.next = "PREPARE"
            with self._state(m, "PREPARE"):
                self._prepare(m)
            with self._state(m, "READY"):
                self._ready(m)
            with m.State("HAND_OVER"):
                self._hand_over(m)
            with self._state(m, "FINISH"):
                with m.If(self._free):
                    m.d.sync += [self.busy.eq(0), self.done.eq(1)]
                    m.next = "IDLE"
        with m.If(self.adopt):
            m.d.sync += self.layer.eq(self.load_layer)
        return m

    # --- draining ----------------------------------------------------------------------------------------

    def _drain(self, m: Module) -> None:
        """Follow whether a block streams, and for how long the pipeline still holds its pixels."""
        drain = drain_cycles(self.config)
        with m.If(self.go):
            m.d.sync += self._active.eq(1)
        with m.Elif(self.ending | (self.input_error != 0)):
            m.d.sync += self._active.eq(0)
        with m.If(self._active):
            m.d.sync += self._drain_left.eq(drain - 1)
        with m.Elif(self._drain_left != 0):
            m.d.sync += self._drain_left.eq(self._drain_left - 1)

    @property
    def _drained(self) -> Value:
        """The pipeline is empty."""
        return ~self._active & (self._drain_left == 0)

    @property
    def _free(self) -> Value:
        """A streaming block may be handed over to."""
        return ~self._active | self.ending

    # --- states ------------------------------------------------------------------------------------------

    @contextmanager
    def _state(self, m: Module, name: str) -> Iterator[None]:
        """A state that a broken frame leaves at once."""
        with m.State(name):
            yield
            with m.If(self.input_error != 0):
                self._stop(m, self.input_error)

    def _stop(self, m: Module, cause: Value | int) -> None:
        """End the frame with an error."""
        m.d.sync += [self.error.eq(cause), self.busy.eq(0)]
        m.next = "IDLE"

    def _receive(
        self, m: Module, fields: tuple[Field, ...], target: data.View | dict[str, Signal], words: int
    ) -> Value:
        """Read a record's words into their fields; whether the last one arrives in this cycle."""
        return self._table.receive(m, fields, target, words, self.table_en, self.table_data)

    def _check(self, m: Module) -> None:
        """Refuse a table that is no table, or that was made for another engine."""
        header = self._header
        base = header["visits_base"]
        m.d.sync += self._visit_pointer.eq(base)
        self._table.begin(m, base)
        m.next = "VISIT"
        form = TABLE_VERSION_SCALAR_TABLES if self.config.scalar_tables else 0
        wrong_version = header["version"] != form + TABLE_VERSION
        if self.config.residual:
            wrong_version = header["version"] != form + TABLE_VERSION_RESIDUAL
        elif self.config.row_groups:
            wrong_version &= header["version"] != form + TABLE_VERSION_ROW_GROUPS
        config_matches = (
            (header["input_lanes"] == self.config.input_lanes)
            & (header["output_lanes"] == self.config.output_lanes)
            & (header["load_kernels"] == self.config.load_kernels)
            & (header["activation_bits"] <= self.config.activation_bits)
            & (header["mask_bits"] <= self.config.mask_bits_max)
        )
        with m.If((header["magic"] != TABLE_MAGIC) | wrong_version):
            self._stop(m, ERROR_TABLE_MAGIC)
        with m.Elif(~config_matches):
            self._stop(m, ERROR_TABLE_CONFIG)

    def _read_visit(self, m: Module) -> None:
        """Read the visit's record; the layer's is read next, should it be new."""
        config = self.config
        with m.If(self._receive(m, visit_fields(config), self.visit, visit_words_used(config))):
            m.d.sync += self._visit_pointer.eq(self._visit_pointer + visit_words(config))
            self._table.begin(m, self.visit.layer * RECORD_WORDS)
            m.next = "DISPATCH"

    def _prepare(self, m: Module) -> None:
        """Begin the visit's first tile."""
        m.d.comb += [self._tiles.first.eq(1), self.load_start.eq(self._is_conv), self.load_rebase.eq(1)]
        m.next = "READY"

    def _ready(self, m: Module) -> None:
        """Wait for the weights, and for the block that streams; in a new layer for the pipeline too."""
        loaded = self.loaded | ~self._is_conv
        new_layer = self.visit.new_layer & self._tiles.first_of_visit
        needs_drained, may_go = new_layer, self._free
        if self.config.residual:
            reads_written = Signal()
            m.d.comb += reads_written.eq(self._reads_what_is_written)
            needs_drained = new_layer | reads_written
            may_go = self._free & (self._drained | ~reads_written)
        m.d.comb += self.starved.eq(~loaded & ~self._active & (self._drained | ~needs_drained))
        with m.If(new_layer):
            with m.If(loaded & self._drained):
                m.d.comb += self.adopt.eq(1)
                m.next = "HAND_OVER"
        with m.Elif(loaded & may_go):
            self._hand_over(m)

    def _hand_over(self, m: Module) -> None:
        """Start the pass; on to the visit's next tile, or to the next visit."""
        tiles = self._tiles
        m.d.comb += self.go.eq(1)
        more_digits = ~tiles.last_digit
        ends_visit = tiles.last_digit & tiles.last_in & tiles.last_out
        if tiles.shortcut is not None:
            more_digits &= ~tiles.shortcut.active
            ends_visit &= ~tiles.shortcut.active
        with m.If(self._is_conv & ~ends_visit):
            m.d.comb += [tiles.next.eq(1), self.load_start.eq(1), self.load_rewind.eq(more_digits)]
            m.next = "READY"
        with m.Else():
            self._table.begin(m, self._visit_pointer)
            m.next = "VISIT"

    @property
    def _reads_what_is_written(self) -> Value:
        """The next pass is the first one of a shortcut whose map lies in the part that the layer writes: the
        output group before must have been written."""
        layer, shortcut = self.load_layer, self._tiles.shortcut
        assert shortcut is not None
        return self._is_conv & shortcut.active & shortcut.first & (layer.shortcut_part != layer.read_part)

    @property
    def _is_conv(self) -> Value:
        """The next visit computes; only then are there tiles."""
        return self.visit.kind == KIND_CONV
