"""Reads records of the schedule table, word by word, into registers."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

from kestrel.hw.spec.records import RECORD_WORDS, Field


class TableReader:
    """Presents the addresses of a record's words one after the other. A word arrives one cycle after its
    address, so that a record of n words takes n + 1 cycles.

    Attributes
    ----------
    pointer : Signal    Address of the next word, of the table's address width.
    word : Signal       Words of the record whose addresses have been presented: word - 1 arrives now.
    """

    def __init__(self, address: Signal) -> None:
        self.pointer = Signal.like(address, name="pointer")
        self.word = Signal(range(RECORD_WORDS + 1))

    def begin(self, m: Module, address: Value | int) -> None:
        """The record at this address is read from the next cycle on."""
        m.d.sync += [self.pointer.eq(address), self.word.eq(0)]

    def receive(
        self, m: Module, fields: tuple[Field, ...], target: data.View | Mapping[str, Any], words: int,
        en: Value, table_data: Value,
    ) -> Value:  # fmt: skip
        """Read ``words`` words of the record that has begun, each into its ``fields`` of ``target`` as it
        arrives. Returns whether the last one arrives in this cycle."""
        m.d.comb += en.eq(self.word < words)
        m.d.sync += [self.pointer.eq(self.pointer + 1), self.word.eq(self.word + 1)]
        with m.Switch(self.word):
            for n in range(words):
                with m.Case(n + 1):
                    for field in fields:
                        if field.word == n:
                            bits = table_data[field.lsb : field.lsb + field.width]
                            m.d.sync += target[field.name].eq(bits)
        return self.word == words
