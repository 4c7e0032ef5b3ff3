"""Self-check: reads what the table says of the ROMs, and computes their CRC-32."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.crc import CRC_BITS, FINAL, INITIAL, crc_next
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.records import TABLE_WORD_BITS
from kestrel.hw.spec.table import IDENTITY_FIELDS, IDENTITY_WORDS
from kestrel.hw.spec.widths import bits_for

PIECE_BITS = 32
"""Bits that go into a CRC in one cycle."""

TABLE_CRC_WORD = next(f.word for f in IDENTITY_FIELDS if f.name == "table_crc")


@dataclass(frozen=True)
class Rom:
    """A ROM that is checked. ``word_bits`` is a multiple of PIECE_BITS, ``depth`` counts words."""

    name: str
    depth: int
    word_bits: int

    @property
    def address_bits(self) -> int:
        return bits_for(self.depth - 1)

    @property
    def pieces(self) -> int:
        return self.word_bits // PIECE_BITS

    def cycles(self, words: int) -> int:
        """Cycles that the CRC of so many words takes."""
        return self.pieces * words + 4


def checked_roms(chip: ChipConfig) -> tuple[Rom, ...]:
    """The chip's ROMs in the order in which they are checked."""
    config = chip.engine
    roms = (
        Rom("table", config.table_words, TABLE_WORD_BITS),
        Rom("weights", config.weight_words, config.rom_word_bits),
    )
    return (
        (*roms, Rom("descriptor", chip.descriptor.rom_words, chip.descriptor.word_bits))
        if chip.descriptor
        else roms
    )


IDENTITY = data.StructLayout({f.name: f.width for f in IDENTITY_FIELDS})


class RomCheck(wiring.Component):
    """After a reset it reads the identity words of the table's header; ``check`` computes every CRC.

    It takes one piece of PIECE_BITS a cycle: a ROM of N words of B pieces takes N * B + 4 cycles
    (``Rom.cycles``). The table's word with its own CRC counts as 0. A word count of 0, or one beyond the ROM,
    is a mismatch.

    Members
    -------
    check : In(1)           Begins a check; ignored while ``busy``.
    busy : Out(1)           This unit is reading the ROMs.
    done : Out(1)           High in one cycle: a check has ended.
    good : Out(1 a ROM)     Whether each ROM's CRC was the expected one in the check that has ended.
    crcs : Out(CRC_BITS a ROM)   The CRC of each ROM.
    identity : Out(IDENTITY)     What the table's header says of the image, the ROMs and their CRCs.
    identified : Out(1)     ``identity`` has been read.
    NAME_en : Out(1), NAME_addr : Out(address_bits), NAME_data : In(word_bits)
                            Reads each ROM, named as in ``checked_roms``; the word comes one cycle after
                            ``NAME_en``.
    """

    def __init__(self, chip: ChipConfig) -> None:
        self.roms = checked_roms(chip)
        ports: dict[str, Any] = {
            "check": In(1),
            "busy": Out(1),
            "done": Out(1),
            "good": Out(data.StructLayout({rom.name: 1 for rom in self.roms})),
            "crcs": Out(data.StructLayout({rom.name: CRC_BITS for rom in self.roms})),
            "identity": Out(IDENTITY),
            "identified": Out(1),
        }
        for rom in self.roms:
            ports[f"{rom.name}_en"] = Out(1)
            ports[f"{rom.name}_addr"] = Out(rom.address_bits)
            ports[f"{rom.name}_data"] = In(rom.word_bits)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Counts words; one bit more than an address, so that a full ROM has an end.
        address = Signal(max(bits_for(rom.depth) for rom in self.roms) + 1)
        for rom in self.roms:
            m.d.comb += getattr(self, f"{rom.name}_addr").eq(address)

        piece = Signal(PIECE_BITS, reset_less=True)
        has_piece = Signal()
        count = Signal(range(max(2, *(rom.pieces for rom in self.roms))))
        crc = Signal(CRC_BITS, reset_less=True)
        words = Signal.like(self.identity.table_words, reset_less=True)
        m.d.sync += [has_piece.eq(0), self.done.eq(0)]
        with m.If(has_piece):
            m.d.sync += crc.eq(crc_next(crc, piece))

        m.d.comb += self.busy.eq(1)
        first, table = IDENTITY_FIELDS[0].word, self.roms[0]
        with m.FSM():
            with m.State("RESET"):
                m.d.sync += address.eq(first)
                m.next = "IDENTIFY"
            with m.State("IDENTIFY"):
                m.d.comb += getattr(self, f"{table.name}_en").eq(1)
                m.d.sync += address.eq(address + 1)
                for f in IDENTITY_FIELDS:
                    with m.If(address == f.word + 1):
                        bits = self.table_data[f.lsb : f.lsb + f.width]
                        m.d.sync += self.identity[f.name].eq(bits)
                with m.If(address == first + IDENTITY_WORDS):
                    m.d.sync += self.identified.eq(1)
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.check):
                    m.d.sync += self.good.eq(0)
                    m.next = f"BEGIN_{table.name}"
            for rom, following in zip(self.roms, (*self.roms[1:], None), strict=True):
                wanted = self.identity[f"{rom.name}_words"]
                expected = self.identity[f"{rom.name}_crc"]
                with m.State(f"BEGIN_{rom.name}"):
                    m.d.sync += [address.eq(0), words.eq(wanted), count.eq(0), crc.eq(INITIAL)]
                    m.next = f"FIRST_{rom.name}"
                with m.State(f"FIRST_{rom.name}"):
                    m.d.comb += getattr(self, f"{rom.name}_en").eq(1)
                    m.d.sync += address.eq(1)
                    possible = (words != 0) & (words <= rom.depth)
                    m.d.sync += self.good[rom.name].eq(possible)
                    m.next = f"PIECES_{rom.name}"
                    with m.If(~possible):
                        m.next = f"END_{rom.name}"
                with m.State(f"PIECES_{rom.name}"):
                    self._pieces(m, rom, address, words, count, piece, has_piece)
                with m.State(f"LAST_{rom.name}"):
                    m.next = f"END_{rom.name}"  # the last piece is being taken in
                with m.State(f"END_{rom.name}"):
                    m.d.sync += [
                        self.crcs[rom.name].eq(crc ^ FINAL),
                        self.good[rom.name].eq(self.good[rom.name] & ((crc ^ FINAL) == expected)),
                    ]
                    if following:
                        m.next = f"BEGIN_{following.name}"
                    else:
                        m.d.sync += self.done.eq(1)
                        m.next = "IDLE"
        return m

    def _pieces(
        self, m: Module, rom: Rom, address: Any, words: Any, count: Any, piece: Any, has_piece: Any
    ) -> None:
        """Cut the word that was read into pieces; with the last piece the next word is read."""
        word = getattr(self, f"{rom.name}_data")
        m.d.sync += has_piece.eq(1)
        last = count == rom.pieces - 1
        chosen = word.word_select(count, PIECE_BITS)
        if rom is self.roms[0]:
            chosen = Mux(address == TABLE_CRC_WORD + 1, 0, chosen)
        m.d.sync += [piece.eq(chosen), count.eq(Mux(last, 0, count + 1))]
        with m.If(last):
            m.d.comb += getattr(self, f"{rom.name}_en").eq(1)
            m.d.sync += address.eq(address + 1)
            with m.If(address == words):
                m.next = f"LAST_{rom.name}"
