"""Table watch: looks at the schedule table's words as they are read, for what cannot be."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import RECORD_WORDS, TABLE_WORD_BITS, Field
from kestrel.hw.spec.table import (
    HEADER_FIELDS,
    KIND_END,
    LAYER_FIELDS,
    RESIDUAL_LAYER_FIELDS,
    SHORTCUT_NONE,
    SHORTCUT_PROJECTION,
    VISIT_FIELDS,
    visit_words,
)
from kestrel.hw.spec.widths import bits_for

RECORD_BITS = bits_for(RECORD_WORDS - 1)


def _field(fields: tuple[Field, ...], name: str) -> Field:
    return next(f for f in fields if f.name == name)


class TableWatch(wiring.Component):
    """A word is judged two cycles after it was read, by address: below ``visits_base`` records, from there
    on visits. It costs the frame no cycle.

    inconsistent   the visits do not begin at a record's end within the table; an empty or too wide map, also
                   that of a shortcut; a shortcut of a kind that there is not; a visit to a record that is not
                   there; a visit read beyond the table's last word
    exceeded       a region that ends beyond its part of the feature memory

    Members
    -------
    en, addr, data : In      the table's port
    frame : In(1)            read by the sequencer, which may not read beyond ``words``
    words : In(32)           words of the table; 0: not known
    inconsistent, exceeded : Out   one cycle
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "en": In(1),
                "addr": In(bits_for(config.table_words - 1)),
                "data": In(TABLE_WORD_BITS),
                "frame": In(1),
                "words": In(32),
                "inconsistent": Out(1),
                "exceeded": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, word = self.config, self.data
        read = Signal()
        address = Signal.like(self.addr, reset_less=True)
        base = Signal.like(self.addr)  # of the visits; before it is known everything counts as a visit
        m.d.sync += read.eq(self.en & self.frame)
        with m.If(self.en):
            m.d.sync += address.eq(self.addr)
        is_record = (address < base) & (address[RECORD_BITS:] != 0)
        is_visit = (address >= base) & (address[RECORD_BITS:] != 0)

        def at(fields: tuple[Field, ...], *names: str) -> Value:
            """The word read is one of a record that holds these fields."""
            words = sorted({_field(fields, name).word for name in names})
            return is_record & Cat(address[:RECORD_BITS] == number for number in words).any()

        def taken(name: str, looked: Value, value: Value) -> Signal:
            """Kept for the words that follow."""
            kept = Signal.like(value, name=name)
            with m.If(read & looked):
                m.d.sync += kept.eq(value)
            return kept

        def bits(fields: tuple[Field, ...], name: str) -> Value:
            place = _field(fields, name)
            return word[place.lsb : place.lsb + place.width]

        def empty_or_wide(width: Value) -> Value:
            return (width == 0) | (width > config.max_width)

        visits = bits(HEADER_FIELDS, "visits_base")
        is_base = address == _field(HEADER_FIELDS, "visits_base").word
        with m.If(read & is_base):
            m.d.sync += base.eq(visits)
        misplaced = (visits[:RECORD_BITS] != 0) | (visits < 2 * RECORD_WORDS) | (visits >= config.table_words)
        of_size = at(LAYER_FIELDS, "height", "width")
        no_size = (bits(LAYER_FIELDS, "height") == 0) | empty_or_wide(bits(LAYER_FIELDS, "width"))
        visit_bits = bits_for(visit_words(config) - 1)
        names_layer = is_visit & (address[:visit_bits] == _field(VISIT_FIELDS, "layer").word)
        layer = bits(VISIT_FIELDS, "layer")
        no_layer = (bits(VISIT_FIELDS, "kind") != KIND_END) & ((layer == 0) | (layer >= base[RECORD_BITS:]))
        inconsistent = [
            is_base & misplaced,
            of_size & no_size,
            names_layer & no_layer,
            (self.words != 0) & (address >= self.words),
        ]
        read_part = taken("read_part", at(LAYER_FIELDS, "read_part"), bits(LAYER_FIELDS, "read_part"))
        of_read = at(LAYER_FIELDS, "read_base", "read_end")
        of_write = at(LAYER_FIELDS, "write_base", "write_end")
        edge, part = of_read | of_write, read_part ^ of_write
        if config.residual:
            fields = RESIDUAL_LAYER_FIELDS
            of_kind, kind = at(fields, "shortcut"), bits(fields, "shortcut")
            has_shortcut = taken("has_shortcut", of_kind, kind != SHORTCUT_NONE)
            shortcut_part = taken("shortcut_part", of_kind, bits(fields, "shortcut_part"))
            inconsistent += [
                of_kind & (kind > SHORTCUT_PROJECTION),
                has_shortcut & at(fields, "shortcut_width") & empty_or_wide(bits(fields, "shortcut_width")),
            ]
            of_shortcut = has_shortcut & at(fields, "shortcut_base", "shortcut_end")
            edge, part = edge | of_shortcut, Mux(of_shortcut, shortcut_part, part)
        first, second = config.feature_words
        beyond = (edge & ~part & (word > first)) | (edge & part & (word > second))
        # Few gates behind the comparisons, as the word comes late from its memory; and held for a cycle, as
        # from here the way leads into the reset of most registers of the chip.
        m.d.sync += [
            self.inconsistent.eq(read & Cat(inconsistent).any()),
            self.exceeded.eq(read & beyond),
        ]
        return m
