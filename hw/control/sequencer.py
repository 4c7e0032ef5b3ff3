"""Sequencer: walks the schedule table and hands pass after pass to the pipeline, one pass ahead.

It prepares the next pass (table records, tile of weights) while the current one streams. ``go`` hands over:

    same layer   in any cycle from the one in which the current pass presents its last address, as soon as
                 the next tile is loaded: passes follow each other without a gap
    new layer    after the pipeline has drained: ``adopt`` puts the layer record in force, ``go`` follows in
                 the next cycle

From a hand-over in cycle g:
    another tile of the visit   its loading starts in the same cycle
    the visit's last tile       VISIT_FETCH cycles later, LAYER_FETCH more if the layer is new
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, tile_layout, visit_layout
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, VISIT_WORDS, Field
from kestrel.hw.spec.status import ERROR_BITS, ERROR_TABLE_CONFIG, ERROR_TABLE_MAGIC
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    KIND_CONV,
    KIND_END,
    TABLE_MAGIC,
    TABLE_VERSION,
    TABLE_VERSION_ROW_GROUPS,
    VISIT_FIELDS,
    layer_fields,
)
from kestrel.hw.spec.timing import HEADER_WORDS_USED, LAYER_WORDS_USED, drain_cycles
from kestrel.hw.spec.widths import bits_for


class Sequencer(wiring.Component):
    """See the module's docstring.

    Members
    -------
    start : In(1)             begin a frame (ignored while busy)
    busy : Out(1), done : Out(1)   done: one cycle, a frame has ended well
    error : Out(4)            cause of the last frame's end, 0 if none; until the next start
    table_en, table_addr, table_data : schedule table, one cycle latency
    ending : In(1)            the streaming block that was handed over to is in its last cycle
    input_error : In(4)       instead of ``ending``: the image input gives up
    go : Out(1)               hand over visit, tile (and layer, adopted before)
    adopt : Out(1)            the next layer becomes the current one
    starved : Out(1)          nothing but the weights of the next pass is missing
    visit, tile, layer : Out  current layer; next visit and tile, valid with go
    activation_bits : Out(4)  A of the network
    load_* : to the weight loader, describing the next tile; loaded : In
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.load_layer  # of the next pass

        # --- draining ------------------------------------------------------------------------------------
        drain = drain_cycles(self.config)
        drain_left = Signal(range(drain))
        active = Signal()  # a streaming block is at work
        with m.If(self.go):
            m.d.sync += active.eq(1)
        with m.Elif(self.ending | (self.input_error != 0)):
            m.d.sync += active.eq(0)
        with m.If(active):
            m.d.sync += drain_left.eq(drain - 1)
        with m.Elif(drain_left != 0):
            m.d.sync += drain_left.eq(drain_left - 1)
        drained = ~active & (drain_left == 0)
        free = ~active | self.ending

        # --- the next tile -------------------------------------------------------------------------------
        in_group = Signal.like(layer.in_groups)
        out_group = Signal.like(layer.out_groups)
        offset = Signal(feature_address_bits(self.config))
        part_of_word = Signal.like(self.tile.slice)
        digit = Signal(2)
        # Found with the tile, not from it: the weight loader works on them in the very next cycle.
        last_digit, last_in, last_out = Signal(), Signal(), Signal()
        first_of_visit = Signal()
        m.d.comb += [
            self.tile.group_offset.eq(offset),
            self.tile.slice.eq(part_of_word),
            self.tile.digit.eq(digit),
            self.tile.fresh.eq((in_group == 0) & (digit == 0)),
            self.tile.emit.eq(last_in & last_digit),
            self.tile.last_in.eq(last_in),
            self.tile.last_out.eq(last_out),
        ]
        next_tile, first_tile = Signal(), Signal()
        with m.If(next_tile):
            m.d.sync += [
                digit.eq(digit + 1),
                last_digit.eq(digit + 2 == layer.passes),
                first_of_visit.eq(0),
            ]
            with m.If(last_digit):
                m.d.sync += [
                    digit.eq(0),
                    last_digit.eq(layer.passes == 1),
                    in_group.eq(in_group + 1),
                    last_in.eq(in_group + 2 == layer.in_groups),
                    part_of_word.eq(part_of_word + 1),
                ]
                with m.If(part_of_word == self.config.in_slices - 1):
                    m.d.sync += [part_of_word.eq(0), offset.eq(offset + layer.width)]
                with m.If(last_in):
                    m.d.sync += [
                        in_group.eq(0),
                        last_in.eq(layer.in_groups == 1),
                        out_group.eq(out_group + 1),
                        last_out.eq(out_group + 2 == layer.out_groups),
                        part_of_word.eq(0),
                        offset.eq(0),
                    ]
        with m.If(first_tile):
            m.d.sync += [
                first_of_visit.eq(1),
                digit.eq(0),
                last_digit.eq(layer.passes == 1),
                in_group.eq(0),
                last_in.eq(layer.in_groups == 1),
                out_group.eq(0),
                last_out.eq(layer.out_groups == 1),
                part_of_word.eq(0),
                offset.eq(0),
            ]

        # --- table reads: words arrive one cycle after their address -----------------------------------
        pointer = Signal.like(self.table_addr)
        visit_pointer = Signal.like(self.table_addr)
        word = Signal(range(RECORD_WORDS + 1))  # the word that arrives is word - 1
        m.d.comb += self.table_addr.eq(pointer)

        def receive(fields: tuple[Field, ...], target: Any, words: int) -> None:
            """Read ``words`` words from ``pointer``; each goes into its fields as it arrives."""
            m.d.comb += self.table_en.eq(word < words)
            m.d.sync += [pointer.eq(pointer + 1), word.eq(word + 1)]
            with m.Switch(word):
                for n in range(words):
                    with m.Case(n + 1):
                        for field in fields:
                            if field.word == n:
                                bits = self.table_data[field.lsb : field.lsb + field.width]
                                m.d.sync += target[field.name].eq(bits)

        # --- states --------------------------------------------------------------------------------------
        header = {f.name: Signal(f.width, name=f"header_{f.name}") for f in HEADER_FIELDS}
        m.d.comb += self.activation_bits.eq(header["activation_bits"])
        is_conv = self.visit.kind == KIND_CONV
        config_matches = (
            (header["input_lanes"] == self.config.input_lanes)
            & (header["output_lanes"] == self.config.output_lanes)
            & (header["load_kernels"] == self.config.load_kernels)
            & (header["activation_bits"] <= self.config.activation_bits)
            & (header["mask_bits"] <= self.config.mask_bits_max)
        )

        @contextmanager
        def state(name: str) -> Iterator[None]:
            """A state that a broken frame leaves at once."""
            with m.State(name):
                yield
                with m.If(self.input_error != 0):
                    m.d.sync += [self.error.eq(self.input_error), self.busy.eq(0)]
                    m.next = "IDLE"

        def hand_over() -> None:
            m.d.comb += self.go.eq(1)
            with m.If(is_conv & ~(last_digit & last_in & last_out)):
                m.d.comb += [next_tile.eq(1), self.load_start.eq(1), self.load_rewind.eq(~last_digit)]
                m.next = "READY"
            with m.Else():
                m.d.sync += [pointer.eq(visit_pointer), word.eq(0)]
                m.next = "VISIT"

        def prepare() -> None:
            m.d.comb += [first_tile.eq(1), self.load_start.eq(is_conv), self.load_rebase.eq(1)]
            m.next = "READY"

        m.d.sync += self.done.eq(0)
        ready = self.loaded | ~is_conv
        with m.FSM(name="state"):
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [self.busy.eq(1), self.error.eq(0), pointer.eq(0), word.eq(0)]
                m.next = "HEADER"
            with m.State("HEADER"):
                receive(HEADER_FIELDS, header, HEADER_WORDS_USED)
                with m.If(word == HEADER_WORDS_USED):
                    m.next = "CHECK"
            with m.State("CHECK"):
                base = header["visits_base"]
                m.d.sync += [visit_pointer.eq(base), pointer.eq(base), word.eq(0)]
                m.next = "VISIT"
                wrong_version = header["version"] != TABLE_VERSION
                if self.config.row_groups:
                    wrong_version &= header["version"] != TABLE_VERSION_ROW_GROUPS
                with m.If((header["magic"] != TABLE_MAGIC) | wrong_version):
                    m.d.sync += [self.error.eq(ERROR_TABLE_MAGIC), self.busy.eq(0)]
                    m.next = "IDLE"
                with m.Elif(~config_matches):
                    m.d.sync += [self.error.eq(ERROR_TABLE_CONFIG), self.busy.eq(0)]
                    m.next = "IDLE"
            with state("VISIT"):
                receive(VISIT_FIELDS, self.visit, VISIT_WORDS)
                with m.If(word == VISIT_WORDS):
                    m.d.sync += [
                        visit_pointer.eq(visit_pointer + VISIT_WORDS),
                        pointer.eq(self.visit.layer * RECORD_WORDS),
                        word.eq(0),
                    ]
                    m.next = "DISPATCH"
            with state("DISPATCH"):
                with m.If(self.visit.kind == KIND_END):
                    m.next = "FINISH"
                with m.Elif(self.visit.new_layer):
                    m.next = "LAYER"
                with m.Else():
                    prepare()
            with state("LAYER"):
                receive(layer_fields(self.config), layer, LAYER_WORDS_USED)
                with m.If(word == LAYER_WORDS_USED):
                    m.next = "PREPARE"
            with state("PREPARE"):
                prepare()
            with state("READY"):
                drained_if_new = drained | ~(self.visit.new_layer & first_of_visit)
                m.d.comb += self.starved.eq(~ready & ~active & drained_if_new)
                with m.If(self.visit.new_layer & first_of_visit):
                    with m.If(ready & drained):
                        m.d.comb += self.adopt.eq(1)
                        m.next = "HAND_OVER"
                with m.Elif(ready & free):
                    hand_over()
            with m.State("HAND_OVER"):
                hand_over()
            with state("FINISH"):
                with m.If(free):
                    m.d.sync += [self.busy.eq(0), self.done.eq(1)]
                    m.next = "IDLE"
        with m.If(self.adopt):
            m.d.sync += self.layer.eq(layer)
        return m
