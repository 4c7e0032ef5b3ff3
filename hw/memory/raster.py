"""Raster walk: the words of a strip in the order of a stream, row by row, pixel by pixel, word by word."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.spec.engine_config import BANKS, EngineConfig


def raster_layout(config: EngineConfig) -> data.StructLayout:
    """A strip and the circular region in which it lies; ``ends_image`` says that the strip ends with the
    map's last row."""
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
    """Give the raster the strip of a visit, in the region ``read`` or ``write`` of its layer."""
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
    """Says where the word lies that comes next in a stream, and whether it is the last of something.

    Every output comes from registers that were found one word ahead: what streams need not wait for a
    comparison.

    Members
    -------
    go : In(1)                                 Begins ``strip``; ``step`` has no effect in this cycle.
    strip : In(raster_layout)                  The strip. rows, ends_image, bank and slot are taken with
                                               ``go``; the other fields must stay until the strip's last
                                               word.
    step : In(1)                               On to the next word.
    bank : Out(2)                              The bank in which the word lies.
    address : Out(feature_address_bits)        The word's address in that bank.
    ends_pixel : Out(1)                        The word is its pixel's last one.
    ends_strip : Out(1)                        The word is the strip's last one.
    ends_image : Out(1)                        The word is the map's last one.
    next_address : Out(feature_address_bits)   Only with ``config.row_groups``: the address of the same pixel
                                               in the region's next slot, where a pixel has one word.
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
        self._words_left = Signal.like(self.strip.words, name="words_left")
        self._column = Signal.like(self.strip.width, name="column")
        self._rows_left = Signal.like(self.strip.rows, name="rows_left")
        self._in_last_word = Signal(name="in_last_word")
        self._in_last_column = Signal(name="in_last_column")
        self._in_last_row = Signal(name="in_last_row")
        self._of_image = Signal(name="of_image")  # the strip ends with the map's last row
        self._bank = Signal(2, name="bank")
        self._slot = Signal(address, name="slot")
        self._pixel = Signal(address, name="pixel")  # address of the pixel's first word
        self._address = Signal(address, name="address")
        # With row groups: the same of the region's next slot.
        self._next_slot = Signal(address, name="next_slot")
        self._next_pixel = Signal(address, name="next_pixel")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.step):
            self._next_word(m)
        with m.If(self.go):
            self._begin(m)
        ends_strip = self._in_last_word & self._in_last_column & self._in_last_row
        m.d.comb += [
            self.bank.eq(self._bank),
            self.address.eq(self._address),
            self.ends_pixel.eq(self._in_last_word),
            self.ends_strip.eq(ends_strip),
            self.ends_image.eq(ends_strip & self._of_image),
        ]
        if self.row_groups:
            m.d.comb += self.next_address.eq(self._next_pixel)
        return m

    def _after(self, m: Module, place: Value) -> Value:
        """The same place of the next slot in the circular region."""
        advanced = Signal.like(self._slot)
        m.d.comb += advanced.eq(place + self.strip.stride)
        return Mux(advanced == self.strip.end, self.strip.base, advanced)

    def _next_word(self, m: Module) -> None:
        """On to the pixel's next word, to the next pixel, or to the next row."""
        strip = self.strip
        m.d.sync += [
            self._words_left.eq(self._words_left - 1),
            self._in_last_word.eq(self._words_left == 2),
            self._address.eq(self._address + strip.width),
        ]
        with m.If(self._in_last_word):
            m.d.sync += [
                self._words_left.eq(strip.words),
                self._in_last_word.eq(strip.words == 1),
                self._column.eq(self._column + 1),
                self._in_last_column.eq(self._column + 2 == strip.width),
                self._pixel.eq(self._pixel + 1),
                self._address.eq(self._pixel + 1),
            ]
            if self.row_groups:
                m.d.sync += self._next_pixel.eq(self._next_pixel + 1)
            with m.If(self._in_last_column):
                self._next_row(m)

    def _next_row(self, m: Module) -> None:
        """On to the next row: rows 3k, 3k + 1, 3k + 2 share a slot address."""
        strip = self.strip
        wraps = self._bank == BANKS - 1
        following = Signal.like(self._slot)
        after = self._next_slot if self.row_groups else self._after(m, self._slot)
        m.d.comb += following.eq(Mux(wraps, after, self._slot))
        if self.row_groups:
            next_following = Signal.like(self._slot)
            m.d.comb += next_following.eq(Mux(wraps, self._after(m, self._next_slot), self._next_slot))
            m.d.sync += [self._next_slot.eq(next_following), self._next_pixel.eq(next_following)]
        m.d.sync += [
            self._column.eq(0),
            self._in_last_column.eq(strip.width == 1),
            self._rows_left.eq(self._rows_left - 1),
            self._in_last_row.eq(self._rows_left == 2),
            self._bank.eq(Mux(wraps, 0, self._bank + 1)),
            self._slot.eq(following),
            self._pixel.eq(following),
            self._address.eq(following),
        ]

    def _begin(self, m: Module) -> None:
        """Begin the strip that is given."""
        strip = self.strip
        m.d.sync += [
            self._words_left.eq(strip.words),
            self._in_last_word.eq(strip.words == 1),
            self._column.eq(0),
            self._in_last_column.eq(strip.width == 1),
            self._rows_left.eq(strip.rows),
            self._in_last_row.eq(strip.rows == 1),
            self._of_image.eq(strip.ends_image),
            self._bank.eq(strip.bank),
            self._slot.eq(strip.slot),
            self._pixel.eq(strip.slot),
            self._address.eq(strip.slot),
        ]
        if self.row_groups:
            after = self._after(m, strip.slot)
            m.d.sync += [self._next_slot.eq(after), self._next_pixel.eq(after)]
