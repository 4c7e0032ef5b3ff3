"""Feature memory: two parts, each of three row banks. One part is read while the other is written."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits
from kestrel.hw.common.memories import ram_1rw
from kestrel.hw.common.place import delayed
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import bits_for


def feature_write(config: EngineConfig) -> data.StructLayout:
    """One write: a word in one bank of one part, with an enable a lane. With ``config.writes_banks`` up to
    one word in each bank: ``en`` has a bit a bank, and address, lanes and data are given for each bank."""
    if config.writes_banks:
        return data.StructLayout(
            {
                "en": BANKS,
                "part": 1,
                "addr": data.ArrayLayout(feature_address_bits(config), BANKS),
                "lanes": data.ArrayLayout(config.word_lanes, BANKS),
                "data": data.ArrayLayout(config.word_bits, BANKS),
            }
        )
    return data.StructLayout(
        {
            "en": 1,
            "part": 1,
            "bank": 2,
            "addr": feature_address_bits(config),
            "lanes": config.word_lanes,
            "data": config.word_bits,
        }
    )


class FeatureMemory(wiring.Component):
    """Six single-port memories. Row r of a map lies in bank r mod 3, so the three rows of a column are read
    at once, each at its own address.

    A part must not be read and written in one cycle; the write would win.

    Members
    -------
    read_en : In(1)                                 Reads a word of every bank.
    read_part : In(1)                               The part that is read.
    read_addresses : In(3 x feature_address_bits)   The word's address in each bank.
    banks : Out(3 x word_bits)                      The words, one cycle after ``read_en``.
    write : In(feature_write)                       What is written in this cycle.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "read_en": In(1),
                "read_part": In(1),
                "read_addresses": In(data.ArrayLayout(feature_address_bits(config), BANKS)),
                "banks": Out(data.ArrayLayout(config.word_bits, BANKS)),
                "write": In(feature_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        write = self.write
        if config.writes_banks:
            enables = [write.en[bank] for bank in range(BANKS)]
            addresses, lanes, values = write.addr, write.lanes, write.data
        else:
            enables = [write.en & (write.bank == bank) for bank in range(BANKS)]
            addresses, lanes, values = ([v] * BANKS for v in (write.addr, write.lanes, write.data))
        was_part = delayed(m, self.read_part, 1, "was_part")
        for bank in range(BANKS):
            words = []
            for part in range(2):
                address_bits = bits_for(config.feature_words[part] - 1)
                writing = Signal(name=f"writing_{part}_{bank}")
                m.d.comb += writing.eq(enables[bank] & (write.part == part))
                address = Mux(writing, addresses[bank], self.read_addresses[bank])
                word = Signal(config.word_bits, name=f"word_{part}_{bank}")
                ram_1rw(
                    m,
                    f"part_{part}_bank_{bank}",
                    lanes=config.word_lanes,
                    lane_bits=config.activation_bits,
                    depth=config.feature_words[part],
                    en=writing | (self.read_en & (self.read_part == part)),
                    we=Mux(writing, lanes[bank], 0),
                    addr=address[:address_bits],
                    wdata=values[bank],
                    rdata=word,
                )
                words.append(word)
            m.d.comb += self.banks[bank].eq(Mux(was_part, words[1], words[0]))
        return m
