"""The descriptor unit's way into the feature memory: sums of squares of a region, channel by channel."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import advanced, feature_address_bits, layer_layout
from kestrel.hw.common.place import delayed
from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS, REGION_FIELDS
from kestrel.hw.spec.engine_config import BANKS, EngineConfig

REGION = data.StructLayout({field.name: field.width for field in REGION_FIELDS})


class DescriptorSquares(wiring.Component):
    """Walks a region once a word of the pixels (P lanes): a word a cycle, squared and added up by lane.

    From the cycle t in which ``go`` is high:

        t + 1 .. t + 1 + top   the region's first row is looked for, a row a cycle
        then, for each word    n = height * width cycles of reading, and max(P - 1, 1) without
        c                      the word's last pixel is read
        c + 1                  it arrives and is put in order
        c + 2, c + 3           squared, added
        c + 4 ..               the channels' sums, lane 0 first, one a cycle; meanwhile the next word's pixels
                               are on their way

    Members
    -------
    go : In(1), region : In(REGION)      ``region`` must stay until ``last``; it has a pixel at least
    first_bank, first_slot : In          where row 0 of the map lies; must stay likewise
    layer : In                           record of the output, likewise; its read region holds the whole map
    read_en, address : Out, banks : In   the feature memory
    valid, last : Out(1), squares : Out(32)
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, layer, region = self.config, self.layer, self.region
        lanes, bits = config.word_lanes, config.activation_bits

        # --- the walk ------------------------------------------------------------------------------------
        seeking, reading = Signal(), Signal()
        rows_ahead = Signal.like(region.top, reset_less=True)
        pause = max(lanes - 1, 1)
        waiting = Signal(range(pause + 1))
        groups_left = Signal.like(layer.in_groups, reset_less=True)
        rows_left = Signal.like(region.height, reset_less=True)
        columns_left = Signal.like(region.width, reset_less=True)
        bank, top_bank = Signal(2, reset_less=True), Signal(2, reset_less=True)
        slot = Signal.like(self.address, reset_less=True)
        top_slot = Signal.like(slot, reset_less=True)
        offset = Signal.like(slot, reset_less=True)  # of the word and the region's first column in the slot
        address = Signal.like(slot, reset_less=True)
        fresh = Signal(reset_less=True)

        wraps = bank == BANKS - 1
        next_bank = Mux(wraps, 0, bank + 1)
        next_slot = Signal.like(slot)
        m.d.comb += next_slot.eq(Mux(wraps, advanced(slot, layer, "read"), slot))

        def begin(bank_now: Value, slot_now: Value) -> None:
            m.d.sync += [
                reading.eq(1),
                fresh.eq(1),
                bank.eq(bank_now),
                slot.eq(slot_now),
                address.eq(slot_now + offset),
                rows_left.eq(region.height),
                columns_left.eq(region.width),
            ]

        with m.If(seeking):
            with m.If(rows_ahead == 0):
                m.d.sync += [seeking.eq(0), top_bank.eq(bank), top_slot.eq(slot)]
                begin(bank, slot)
            with m.Else():
                m.d.sync += [rows_ahead.eq(rows_ahead - 1), bank.eq(next_bank), slot.eq(next_slot)]
        ends_row, ends_word = columns_left == 1, Signal()
        ends_map = groups_left == 1
        m.d.comb += ends_word.eq(reading & ends_row & (rows_left == 1))
        with m.If(reading):
            m.d.sync += [address.eq(address + 1), columns_left.eq(columns_left - 1), fresh.eq(0)]
            with m.If(ends_row):
                m.d.sync += [
                    columns_left.eq(region.width),
                    rows_left.eq(rows_left - 1),
                    bank.eq(next_bank),
                    slot.eq(next_slot),
                    address.eq(next_slot + offset),
                ]
        with m.If(ends_word):
            m.d.sync += [
                reading.eq(0),
                groups_left.eq(groups_left - 1),
                offset.eq(offset + layer.width),
                waiting.eq(Mux(ends_map, 0, pause)),
            ]
        with m.If(waiting != 0):
            m.d.sync += waiting.eq(waiting - 1)
            with m.If(waiting == 1):
                begin(top_bank, top_slot)
        with m.If(self.go):
            m.d.sync += [
                seeking.eq(1),
                rows_ahead.eq(region.top),
                bank.eq(self.first_bank),
                slot.eq(self.first_slot),
                offset.eq(region.left),
                groups_left.eq(layer.in_groups),
            ]
        m.d.comb += [self.read_en.eq(reading), self.address.eq(address)]

        # --- squares -------------------------------------------------------------------------------------
        arrives = delayed(m, reading, 1, "arrives")
        arrives_bank = delayed(m, bank, 1, "arrives_bank", reset_less=True)
        word = Signal(config.word_bits, reset_less=True)
        with m.If(arrives), m.Switch(arrives_bank):
            for n in range(BANKS):
                with m.Case(n):
                    m.d.sync += word.eq(self.banks[n])
        adds = delayed(m, arrives, 2, "adds")
        starts = delayed(m, fresh, 3, "starts", reset_less=True)
        closes = delayed(m, ends_word, 3, "closes")
        closes_map = delayed(m, ends_map, 3, "closes_map", reset_less=True)

        of_map = Signal(reset_less=True)
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
            m.d.sync += [of_map.eq(closes_map), left.eq(Mux(closes_map, layer.last_in_lanes, lanes))]
        m.d.comb += [
            self.valid.eq(left != 0),
            self.last.eq((left == 1) & of_map),
            self.squares.eq(sums[0]),
        ]
        return m


def squared(value: Value) -> Value:
    """value * value, each product of two different bits formed once: half of a multiplier's gates."""
    rows = [Mux(value[n], Cat(Const(1, 2), value[n + 1 :]) << 2 * n, 0) for n in range(len(value))]
    return sum(rows[1:], rows[0])
