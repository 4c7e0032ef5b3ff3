"""Raster walk: the words of a strip in the order of a stream, row by row, pixel by pixel, word by word."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.spec.engine_config import BANKS, EngineConfig


def raster_layout(config: EngineConfig) -> data.StructLayout:
    """A strip and the region in which it lies; ``ends_image``: the strip ends with the map's last row."""
    address = feature_address_bits(config)
    visit, layer = visit_layout(config), layer_layout(config)
    return data.StructLayout(
        {
            "rows": visit["rows"].shape,
            "ends_image": 1,
            "width": layer["width"].shape,
            "words": layer["in_groups"].shape,
            "bank": 2,
            "slot": address,
            "base": address,
            "end": address,
            "stride": address,
        }
    )


def connect_raster(m: Module, raster: "Raster", visit: data.View, layer: data.View, region: str) -> None:
    """The strip of a visit, in the circular region ``read`` or ``write`` of its layer."""
    m.d.comb += [
        raster.strip.rows.eq(visit.rows),
        raster.strip.ends_image.eq(visit.first_row + visit.rows == layer.height),
        raster.strip.width.eq(layer.width),
        raster.strip.words.eq(layer.in_groups),
        raster.strip.bank.eq(visit[f"{region}_bank"]),
        raster.strip.slot.eq(visit[f"{region}_slot"]),
        raster.strip.base.eq(layer[f"{region}_base"]),
        raster.strip.end.eq(layer[f"{region}_end"]),
        raster.strip.stride.eq(layer[f"{region}_stride"]),
    ]


class Raster(wiring.Component):
    """Where the word lies that comes next in a stream, and whether it is the last of something.

    Every output comes from registers, found one word ahead: what streams need not wait for a comparison.

    Members
    -------
    go : In(1)                 begin ``strip``; ``step`` counts no more in this cycle
    strip : In(raster_layout)  rows, ends_image, bank, slot are taken with ``go``; the others must stay
    step : In(1)               on to the next word
    bank, address : Out        of this word
    ends_pixel : Out(1)        it is its pixel's last one
    ends_strip, ends_image : Out(1)
    next_address : Out         of the same pixel in the region's next slot, where a pixel has one word; only
                               in an engine with row groups
    """

    def __init__(self, config: EngineConfig) -> None:
        self.row_groups = config.row_groups
        address = feature_address_bits(config)
        super().__init__(
            {
                "go": In(1),
                "strip": In(raster_layout(config)),
                "step": In(1),
                "bank": Out(2),
                "address": Out(address),
                "ends_pixel": Out(1),
                "ends_strip": Out(1),
                "ends_image": Out(1),
                **({"next_address": Out(address)} if config.row_groups else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        strip = self.strip

        words_left = Signal.like(strip.words)
        column = Signal.like(strip.width)
        rows_left = Signal.like(strip.rows)
        in_last_word, in_last_column, in_last_row = Signal(), Signal(), Signal()
        of_image = Signal()
        slot = Signal.like(strip.slot)
        pixel = Signal.like(slot)  # address of the pixel's first word
        address = Signal.like(slot)
        bank = Signal(2)
        next_slot = Signal.like(slot)
        next_pixel = Signal.like(slot)

        def after(place: Value) -> Value:
            advanced = Signal.like(slot)
            m.d.comb += advanced.eq(place + strip.stride)
            return Mux(advanced == strip.end, strip.base, advanced)

        with m.If(self.step):
            m.d.sync += [
                words_left.eq(words_left - 1),
                in_last_word.eq(words_left == 2),
                address.eq(address + strip.width),
            ]
            with m.If(in_last_word):
                m.d.sync += [
                    words_left.eq(strip.words),
                    in_last_word.eq(strip.words == 1),
                    column.eq(column + 1),
                    in_last_column.eq(column + 2 == strip.width),
                    pixel.eq(pixel + 1),
                    address.eq(pixel + 1),
                ]
                if self.row_groups:
                    m.d.sync += next_pixel.eq(next_pixel + 1)
                with m.If(in_last_column):
                    # Rows 3k, 3k + 1, 3k + 2 share a slot address.
                    wraps = bank == BANKS - 1
                    following = Signal.like(slot)
                    m.d.comb += following.eq(Mux(wraps, next_slot if self.row_groups else after(slot), slot))
                    if self.row_groups:
                        next_following = Signal.like(slot)
                        m.d.comb += next_following.eq(Mux(wraps, after(next_slot), next_slot))
                        m.d.sync += [next_slot.eq(next_following), next_pixel.eq(next_following)]
                    m.d.sync += [
                        column.eq(0),
                        in_last_column.eq(strip.width == 1),
                        rows_left.eq(rows_left - 1),
                        in_last_row.eq(rows_left == 2),
                        bank.eq(Mux(wraps, 0, bank + 1)),
                        slot.eq(following),
                        pixel.eq(following),
                        address.eq(following),
                    ]
        with m.If(self.go):
            m.d.sync += [
                words_left.eq(strip.words),
                in_last_word.eq(strip.words == 1),
                column.eq(0),
                in_last_column.eq(strip.width == 1),
                rows_left.eq(strip.rows),
                in_last_row.eq(strip.rows == 1),
                of_image.eq(strip.ends_image),
                bank.eq(strip.bank),
                slot.eq(strip.slot),
                pixel.eq(strip.slot),
                address.eq(strip.slot),
            ]
            if self.row_groups:
                m.d.sync += [next_slot.eq(after(strip.slot)), next_pixel.eq(after(strip.slot))]
        ends_strip = in_last_word & in_last_column & in_last_row
        m.d.comb += [
            self.bank.eq(bank),
            self.address.eq(address),
            self.ends_pixel.eq(in_last_word),
            self.ends_strip.eq(ends_strip),
            self.ends_image.eq(ends_strip & of_image),
        ]
        if self.row_groups:
            m.d.comb += self.next_address.eq(next_pixel)
        return m
