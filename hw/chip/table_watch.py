"""Table watch: looks at the schedule table's words as they are read, for what cannot be."""

from collections.abc import Callable

from amaranth.hdl import Const, Module, Mux, Signal, Value
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

        def bits(fields: tuple[Field, ...], name: str) -> Value:
            place = _field(fields, name)
            return word[place.lsb : place.lsb + place.width]

        read = Signal()
        address = Signal.like(self.addr, reset_less=True)
        base = Signal.like(self.addr)  # of the visits; before it is known everything counts as a visit
        m.d.sync += read.eq(self.en & self.frame)
        with m.If(self.en):
            m.d.sync += address.eq(self.addr)

        visit_bits = bits_for(visit_words(config) - 1)
        of_record = address[:RECORD_BITS]
        is_record = (address < base) & (address[RECORD_BITS:] != 0)
        is_visit = (address >= base) & (address[RECORD_BITS:] != 0)
        read_part = Signal()
        wrong = Signal()
        beyond = Signal()
        with m.If(address == _field(HEADER_FIELDS, "visits_base").word):
            visits = bits(HEADER_FIELDS, "visits_base")
            m.d.comb += wrong.eq(
                (visits[:RECORD_BITS] != 0) | (visits < 2 * RECORD_WORDS) | (visits >= config.table_words)
            )
            with m.If(read):
                m.d.sync += base.eq(visits)
        with m.If(is_record):
            height, width = bits(LAYER_FIELDS, "height"), bits(LAYER_FIELDS, "width")
            with m.Switch(of_record):
                with m.Case(_field(LAYER_FIELDS, "height").word):
                    m.d.comb += wrong.eq((height == 0) | (width == 0) | (width > config.max_width))
                with m.Case(_field(LAYER_FIELDS, "read_part").word):
                    with m.If(read):
                        m.d.sync += read_part.eq(bits(LAYER_FIELDS, "read_part"))
                for part, name in ((read_part, "read"), (~read_part, "write")):
                    with m.Case(*self._edges(LAYER_FIELDS, name)):
                        m.d.comb += beyond.eq(word > self._size(part))
                if config.residual:
                    self._watch_shortcut(m, bits, read, wrong, beyond)
        with m.If(is_visit & (address[:visit_bits] == _field(VISIT_FIELDS, "layer").word)):
            layer = bits(VISIT_FIELDS, "layer")
            ends = bits(VISIT_FIELDS, "kind") == KIND_END
            m.d.comb += wrong.eq(~ends & ((layer == 0) | (layer >= base[RECORD_BITS:])))
        runs_on = (self.words != 0) & (address >= self.words)
        # Held for a cycle: from here the way leads into the reset of most registers of the chip.
        m.d.sync += [
            self.inconsistent.eq(read & (wrong | runs_on)),
            self.exceeded.eq(read & beyond),
        ]
        return m

    def _size(self, part: Value) -> Value:
        """Words of a bank of a part of the feature memory."""
        first, second = self.config.feature_words
        return Mux(part, Const(second, TABLE_WORD_BITS), Const(first, TABLE_WORD_BITS))

    @staticmethod
    def _edges(fields: tuple[Field, ...], region: str) -> tuple[int, int]:
        """The words of a layer record that say where a region begins and ends."""
        return _field(fields, f"{region}_base").word, _field(fields, f"{region}_end").word

    def _watch_shortcut(
        self, m: Module, bits: Callable[[tuple[Field, ...], str], Value], read: Signal, wrong: Signal,
        beyond: Signal,
    ) -> None:  # fmt: skip
        """Within the switch over a record's words: those that say where a shortcut's map lies. Its kind and
        part come first."""
        fields = RESIDUAL_LAYER_FIELDS
        has_shortcut, part = Signal(), Signal(name="shortcut_part")
        with m.Case(_field(fields, "shortcut").word):
            kind = bits(fields, "shortcut")
            m.d.comb += wrong.eq(kind > SHORTCUT_PROJECTION)
            with m.If(read):
                m.d.sync += [has_shortcut.eq(kind != SHORTCUT_NONE), part.eq(bits(fields, "shortcut_part"))]
        with m.Case(*self._edges(fields, "shortcut")):
            m.d.comb += beyond.eq(has_shortcut & (self.data > self._size(part)))
        with m.Case(_field(fields, "shortcut_width").word):
            width = bits(fields, "shortcut_width")
            m.d.comb += wrong.eq(has_shortcut & ((width == 0) | (width > self.config.max_width)))
