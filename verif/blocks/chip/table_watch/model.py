"""Model of the table watch: judges a word as a field of the record that it belongs to, by its address."""

from collections.abc import Mapping
from typing import Any

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import RECORD_WORDS, Field, unpack_record
from kestrel.hw.spec.table import HEADER_FIELDS, KIND_END, layer_fields, visit_fields, visit_words

_BASE_WORD = 2
"""Of the header: where the visits begin."""


class TableWatch:
    """One word a cycle, judged in the cycle after its address; the verdict is seen in the one after that."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._base: int | None = None  # None: not reset
        self._address: int | None = None  # of the word that comes in this cycle, if the sequencer reads it
        self._last: int | None = None  # of the last word that anybody read
        self._part: int | None = None  # of the map that the record's layer reads
        self._shortcut: tuple[int, int] | None = None  # its kind and part
        self._verdict: tuple[int | None, int | None] = None, None

    def step(
        self, *, en: int, addr: int, data: int, frame: int, words: int, rst: int = 0
    ) -> Mapping[str, Any]:
        """One cycle."""
        wrong: bool | None = False
        beyond: bool | None = False
        if self._base is None:
            wrong = beyond = None
        elif self._address is not None:
            wrong, beyond = self._judge(self._base, self._address, data)
            if words and self._address >= words:
                wrong = True
        inconsistent, exceeded = self._verdict
        outputs = {"inconsistent": inconsistent, "exceeded": exceeded}
        if rst:
            self._base, self._address = 0, None
            self._part, self._shortcut = 0, (0, 0)
            self._verdict = 0, 0
        else:
            self._address = addr if en and frame else None
            self._verdict = None if wrong is None else int(wrong), None if beyond is None else int(beyond)
        return outputs

    def _judge(self, base: int, address: int, data: int) -> tuple[bool | None, bool | None]:
        record, word = divmod(address, RECORD_WORDS)
        if address == _BASE_WORD:
            visits = _fields(HEADER_FIELDS, word, data)["visits_base"]
            self._base = visits & self._address_mask  # what an address can hold
            allowed = range(2 * RECORD_WORDS, self.config.table_words, RECORD_WORDS)
            return visits not in allowed, False
        if record == 0:
            return False, False
        if address >= base:
            return self._visit(base, address % visit_words(self.config), data), False
        return self._layer(word, data)

    @property
    def _address_mask(self) -> int:
        return (1 << (self.config.table_words - 1).bit_length()) - 1

    def _visit(self, base: int, word: int, data: int) -> bool:
        if word:
            return False
        visit = _fields(visit_fields(self.config), word, data)
        return visit["kind"] != KIND_END and not 0 < visit["layer"] < base // RECORD_WORDS

    def _layer(self, word: int, data: int) -> tuple[bool, bool]:
        """A word of a layer record."""
        config = self.config
        fields = _fields(layer_fields(config), word, data)
        wrong = beyond = False
        if word == 0:
            wrong = fields["height"] == 0 or not 1 <= fields["width"] <= config.max_width
        if "read_part" in fields:
            self._part = fields["read_part"]
        assert self._part is not None
        assert self._shortcut is not None
        for region, part in (("read", self._part), ("write", 1 - self._part)):
            for edge in (f"{region}_base", f"{region}_end"):
                beyond |= fields.get(edge, 0) > config.feature_words[part]
        if "shortcut" in fields:
            wrong |= fields["shortcut"] > 2
            self._shortcut = fields["shortcut"], fields["shortcut_part"]
        kind, part = self._shortcut
        if kind:
            for edge in ("shortcut_base", "shortcut_end"):
                beyond |= fields.get(edge, 0) > config.feature_words[part]
            if "shortcut_width" in fields:
                wrong |= not 1 <= fields["shortcut_width"] <= config.max_width
        return wrong, beyond


def _fields(layout: tuple[Field, ...], word: int, data: int) -> dict[str, int]:
    """The fields of one word of a record."""
    of_word = tuple(f for f in layout if f.word == word)
    return unpack_record(of_word, [0] * word + [data])
