"""What comes out of the chip, until the host says that it has arrived."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.memories import ram_1r1w
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.link import OFFSET_BITS, RING_BYTES, Mark
from kestrel.hw.spec.widths import BYTE, bits_for

_ADDRESS_BITS = bits_for(RING_BYTES - 1)
ENTRY_BITS = BYTE + 1


class PacketRing(wiring.Component):
    """Takes words and writes their bytes, those that TKEEP names; behind a packet's last one its end, an
    entry with its highest bit set and ``Mark.END`` or ``Mark.GIVEN_UP`` below. Entries stay readable until
    they are released.

    Members
    -------
    i_* : In              Words, AXI4-Stream with TKEEP.
    produced : Out(16)    The number of the next entry.
    where : In(16)        The number of an entry.
    known : Out(1)        It is there, or the next one.
    release : In(1)       If ``known``, the entries before ``where`` are forgotten.
    read : In(1)          Reads the entry ``read_at``.
    read_at : In(16)
    entry : Out(9)        One cycle later, until the next read.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._lanes = config.word_lanes
        super().__init__({
            "i_tdata": In(BYTE * self._lanes), "i_tkeep": In(self._lanes), "i_tlast": In(1),
            "i_tvalid": In(1), "i_tready": Out(1),
            "produced": Out(OFFSET_BITS),
            "where": In(OFFSET_BITS), "known": Out(1), "release": In(1),
            "read": In(1), "read_at": In(OFFSET_BITS), "entry": Out(ENTRY_BITS),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        released = Signal(OFFSET_BITS)
        held, beyond = Signal(OFFSET_BITS), Signal(OFFSET_BITS)
        m.d.comb += [
            held.eq(self.produced - released),
            beyond.eq(self.where - released),
            self.known.eq(beyond <= held),
        ]
        with m.If(self.release & self.known):
            m.d.sync += released.eq(self.where)

        # A word is shifted out; its end, if it has one, comes when nothing of it is left.
        word = Signal(BYTE * self._lanes, reset_less=True)
        keep = Signal(self._lanes)
        ends, good = Signal(), Signal(reset_less=True)
        write, full = Signal(), Signal()
        entry = Signal(ENTRY_BITS)
        m.d.comb += [
            full.eq(held >= RING_BYTES),
            self.i_tready.eq((keep == 0) & ~ends),
            entry.eq(Mux(keep == 0, Cat(Mux(good, Mark.END, Mark.GIVEN_UP), Const(0, BYTE - 2), Const(1, 1)),
                         word[:BYTE])),
        ]  # fmt: skip
        with m.If((keep != 0) & (~full | ~keep[0])):
            m.d.comb += write.eq(keep[0])
            m.d.sync += [word.eq(word >> BYTE), keep.eq(keep >> 1)]
        with m.Elif((keep == 0) & ends & ~full):
            m.d.comb += write.eq(1)
            m.d.sync += ends.eq(0)
        with m.If(self.i_tvalid & self.i_tready):
            m.d.sync += [
                word.eq(self.i_tdata), keep.eq(self.i_tkeep),
                ends.eq(self.i_tlast), good.eq(self.i_tkeep.any()),
            ]  # fmt: skip
        with m.If(write):
            m.d.sync += self.produced.eq(self.produced + 1)
        ram_1r1w(
            m, "entries", width=ENTRY_BITS, depth=RING_BYTES, ren=self.read,
            raddr=self.read_at[:_ADDRESS_BITS], rdata=self.entry, wen=write,
            waddr=self.produced[:_ADDRESS_BITS], wdata=entry,
        )  # fmt: skip
        return m
