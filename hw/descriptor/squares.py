"""The descriptor unit's reader of the feature memory: sums of squares of a region, channel by channel."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, feature_address_bits, layer_layout
from kestrel.hw.common.place import delayed
from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS, REGION_FIELDS
from kestrel.hw.spec.engine_config import BANKS, EngineConfig

REGION = data.StructLayout({field.name: field.width for field in REGION_FIELDS})
"""A region of the map, in pixels (REGION_FIELDS)."""


class DescriptorSquares(wiring.Component):
    """Walks through a region once for each word of its pixels (P lanes): it reads a word a cycle, and
    squares and adds up its lanes.

    From the cycle t in which ``go`` is high:

        t + 1 .. t + 1 + top   SEEK    the region's first row is looked for, a row a cycle
        then, for each word    READ    n = height * width cycles of reading
                               PAUSE   max(P - 1, 1) cycles without, except after the last word
        c                      the word's last pixel is read
        c + 1                  it arrives and is put in order
        c + 2, c + 3           squared, added
        c + 4 ..               the channels' sums, lane 0 first, one a cycle; meanwhile the next word's pixels
                               are on their way

    Members
    -------
    go : In(1)                              Begins a region.
    region : In(REGION)                     The region, of one pixel at least; it must stay until ``last``.
    first_bank : In(2)                      The bank of the map's row 0; it must stay until ``last``.
    first_slot : In(feature_address_bits)   The slot of the map's row 0; it must stay until ``last``.
    layer : In(layer_layout)                The record of the output, whose read region holds the whole map;
                                            it must stay until ``last``.
    read_en : Out(1)                        Reads the feature memory.
    address : Out(feature_address_bits)     The address in every bank of the feature memory.
    banks : In(3 x word_bits)               The words of the banks, one cycle after ``read_en``.
    valid : Out(1)                          A channel's sum is given.
    last : Out(1)                           It is the last channel's.
    squares : Out(32)                       The sum of the squares of the channel's activations.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1),
                "region": In(REGION),
                "first_bank": In(2),
                "first_slot": In(feature_address_bits(config)),
                "layer": In(layer_layout(config)),
                "read_en": Out(1),
                "address": Out(feature_address_bits(config)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "valid": Out(1),
                "last": Out(1),
                "squares": Out(DESCRIPTOR_SQUARES_BITS),
            }
        )
        slot = feature_address_bits(config)
        # Where the walk is, and the beginning of the region's first row.
        self._bank, self._top_bank = (Signal(2, name=name, reset_less=True) for name in ("bank", "top_bank"))
        self._slot, self._top_slot = (
            Signal(slot, name=name, reset_less=True) for name in ("slot", "top_slot")
        )
        self._offset = Signal(slot, name="offset", reset_less=True)  # of word and first column in the slot
        self._address = Signal(slot, name="word_address", reset_less=True)
        self._rows_left = Signal.like(self.region.height, name="rows_left", reset_less=True)
        self._columns_left = Signal.like(self.region.width, name="columns_left", reset_less=True)
        self._groups_left = Signal.like(self.layer.in_groups, name="groups_left", reset_less=True)
        self._fresh = Signal(name="fresh", reset_less=True)  # the pixel is its word's first one
        self._ends_word = Signal(name="ends_word")  # the pixel is its word's last one
        self._next_slot = Signal(slot, name="next_slot")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._walk(m)
        word, arrives = self._take(m)
        self._add(m, word, arrives)
        return m

    # --- the walk ----------------------------------------------------------------------------------------

    def _walk(self, m: Module) -> None:
        """Through the rows above the region, then through the region once a word."""
        region, layer = self.region, self.layer
        pause = max(self.config.word_lanes - 1, 1)
        waiting = Signal(range(pause + 1))
        rows_ahead = Signal.like(region.top, reset_less=True)
        after = advanced(self._slot, layer, "read")
        m.d.comb += [
            self._next_slot.eq(Mux(self._bank == BANKS - 1, after, self._slot)),
            self.address.eq(self._address),
        ]
        with m.FSM():
            with m.State("REST"), m.If(self.go):
                m.d.sync += [
                    rows_ahead.eq(region.top),
                    self._bank.eq(self.first_bank),
                    self._slot.eq(self.first_slot),
                    self._offset.eq(region.left),
                    self._groups_left.eq(layer.in_groups),
                ]
                m.next = "SEEK"
            with m.State("SEEK"):
                m.d.sync += rows_ahead.eq(rows_ahead - 1)
                self._next_row(m)
                with m.If(rows_ahead == 0):
                    m.d.sync += [self._top_bank.eq(self._bank), self._top_slot.eq(self._slot)]
                    self._begin_word(m, self._bank, self._slot)
            with m.State("READ"):
                m.d.comb += self.read_en.eq(1)
                self._read(m)
                with m.If(self._ends_word):
                    m.d.sync += waiting.eq(pause)
                    m.next = "PAUSE"
                    with m.If(self._groups_left == 1):
                        m.next = "REST"
            with m.State("PAUSE"):
                m.d.sync += waiting.eq(waiting - 1)
                with m.If(waiting == 1):
                    self._begin_word(m, self._top_bank, self._top_slot)

    def _begin_word(self, m: Module, bank: Value, slot: Value) -> None:
        """On to the region's first pixel, whose row lies in this bank and slot."""
        m.d.sync += [
            self._fresh.eq(1),
            self._bank.eq(bank),
            self._slot.eq(slot),
            self._address.eq(slot + self._offset),
            self._rows_left.eq(self.region.height),
            self._columns_left.eq(self.region.width),
        ]
        m.next = "READ"

    def _next_row(self, m: Module) -> None:
        """On to the next row of the map: to the next bank, behind the last one to the next slot."""
        m.d.sync += [
            self._bank.eq(Mux(self._bank == BANKS - 1, 0, self._bank + 1)),
            self._slot.eq(self._next_slot),
        ]

    def _read(self, m: Module) -> None:
        """Read the pixel's word; on to the next pixel, the next row or the next word."""
        ends_row = self._columns_left == 1
        m.d.comb += self._ends_word.eq(ends_row & (self._rows_left == 1))
        m.d.sync += [
            self._address.eq(self._address + 1),
            self._columns_left.eq(self._columns_left - 1),
            self._fresh.eq(0),
        ]
        with m.If(ends_row):
            m.d.sync += [
                self._columns_left.eq(self.region.width),
                self._rows_left.eq(self._rows_left - 1),
                self._address.eq(self._next_slot + self._offset),
            ]
            self._next_row(m)
        with m.If(self._ends_word):
            m.d.sync += [
                self._groups_left.eq(self._groups_left - 1),
                self._offset.eq(self._offset + self.layer.width),
            ]

    # --- squares -----------------------------------------------------------------------------------------

    def _take(self, m: Module) -> tuple[Signal, Signal]:
        """The word that was read, out of the bank in which it lies, and when it arrives."""
        word = Signal(self.config.word_bits, reset_less=True)
        arrives = delayed(m, self.read_en, 1, "arrives")
        arrives_bank = delayed(m, self._bank, 1, "arrives_bank", reset_less=True)
        with m.If(arrives), m.Switch(arrives_bank):
            for n in range(BANKS):
                with m.Case(n):
                    m.d.sync += word.eq(self.banks[n])
        return word, arrives

    def _add(self, m: Module, word: Signal, arrives: Signal) -> None:
        """Square the word's lanes and add them up; send the sums when the word has been seen whole."""
        lanes, bits = self.config.word_lanes, self.config.activation_bits
        adds = delayed(m, arrives, 2, "adds")
        starts = delayed(m, self._fresh, 3, "starts", reset_less=True)
        closes = delayed(m, self._ends_word, 3, "closes")
        closes_map = delayed(m, self._groups_left == 1, 3, "closes_map", reset_less=True)
        of_map = Signal(reset_less=True)  # the sums are those of the map's last word
        left = Signal(range(lanes + 1))  # sums still to be sent
        sums = [Signal(DESCRIPTOR_SQUARES_BITS, name=f"sum_{n}", reset_less=True) for n in range(lanes)]
        for n in range(lanes):
            square = Signal(2 * bits, name=f"square_{n}", reset_less=True)
            m.d.sync += square.eq(squared(word.word_select(n, bits)))
            with m.If(adds):
                m.d.sync += sums[n].eq(Mux(starts, 0, sums[n]) + square)
            with m.Elif(self.valid):
                m.d.sync += sums[n].eq(sums[n + 1] if n + 1 < lanes else 0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(closes):
            m.d.sync += [of_map.eq(closes_map), left.eq(Mux(closes_map, self.layer.last_in_lanes, lanes))]
        m.d.comb += [
            self.valid.eq(left != 0),
            self.last.eq((left == 1) & of_map),
            self.squares.eq(sums[0]),
        ]


def squared(value: Value) -> Value:
    """value * value, where each product of two different bits is formed once, for half of the gates."""
    rows = [Mux(value[n], Cat(Const(1, 2), value[n + 1 :]) << 2 * n, 0) for n in range(len(value))]
    return sum(rows[1:], rows[0])
