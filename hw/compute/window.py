"""The sliding window: from a stream of pixel columns to 3x3 windows, pad values replacing the outside.

A column is three vertically adjacent pixels of P_i channels, read from three row banks at once. Columns of
a row follow each other, and rows follow each other, without a gap; what lies outside the image costs no
cycle, because the tap is replaced by the pad value.

    cycle 0   the reader presents addresses (``pixel``, ``edges``, ...)
    cycle 1   the banks' words arrive; rows are put in order, the input group is selected
    cycle 2   ``right``: the newest column
    cycle 3   ``centre`` holds the pixel's own column, ``right`` the next one, ``left`` the previous one
    cycle 4   ``window``

At the end of a row ``right`` already holds the next row's first column; the tap is outside the image and is
replaced. So a pixel never waits for its right neighbour, not even across passes.

In a layer that runs in row groups each group of lanes works on a row of its own. Its first row lies at the
image's upper edge in group 0 alone; in which group its last row lies, the layer says (``row_groups``).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.pixel import EDGES, pixel_layout
from kestrel.hw.common.place import delayed
from kestrel.hw.common.weight_buses import pad_bus
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.timing import WINDOW_LATENCY
from kestrel.hw.spec.widths import TAPS, bits_for


class Window(wiring.Component):
    """Forms the windows of the pixels that the reader presents, as the module's docstring describes.

    Members
    -------
    pixel : In(pixel_layout)      The pixel whose column's addresses are presented in this cycle.
    edges : In(EDGES)             The edges of the image on which that pixel lies.
    top_bank : In(2)              The bank that holds the row above that pixel.
    slice : In                    The number of its input group within the words, 0 to ``in_slices`` - 1.
    lanes : In                    The channels of its input group, 1 to P_i; the windows of lanes beyond are
                                  0.
    banks : In(3 x word_bits)     The words of the banks, one cycle after their addresses.
    has_pad : In(1)               The layer uses the pad values; otherwise it pads with 0.
    row_groups : In(2)            Only with ``config.row_groups``: 0, or of a layer in row groups the number
                                  of rows of its last triple.
    load : In(pad_bus)            Pad values for the shadow registers.
    ahead : Out(pixel_layout)     The pixel of the window that comes in the next cycle.
    window : Out(P_i * 9 * A)     The windows of the input lanes, lane 0 in the low bits, WINDOW_LATENCY
                                  cycles after ``pixel``.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        grouped = {"row_groups": In(2)} if config.row_groups else {}
        super().__init__(
            grouped
            | {
                "pixel": In(pixel_layout(config)),
                "edges": In(EDGES),
                "top_bank": In(2),
                "slice": In(bits_for(config.in_slices - 1)),
                "lanes": In(bits_for(config.input_lanes)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "has_pad": In(1),
                "load": In(pad_bus(config)),
                "ahead": Out(pixel_layout(config)),
                "window": Out(config.input_lanes * TAPS * config.activation_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        a, lanes = config.activation_bits, config.input_lanes
        width = a * lanes

        pixels = [self.pixel]
        for stage in range(1, WINDOW_LATENCY):
            pixels.append(delayed(m, pixels[-1], 1, f"pixel_{stage}"))
        m.d.comb += self.ahead.eq(pixels[3])

        # Cycle 1: row r of the column is in bank (top_bank + r) mod 3.
        top_bank = delayed(m, self.top_bank, 1, "top_bank")
        which = delayed(m, self.slice, 1, "slice")
        right = Signal(data.ArrayLayout(width, 3), reset_less=True)
        for row in range(3):
            with m.Switch(top_bank):
                for bank in range(BANKS):
                    with m.Case(bank):
                        word = self.banks[(bank + row) % BANKS]
                        m.d.sync += right[row].eq(word.word_select(which, width))

        # Cycles 2 and 3.
        centre = Signal.like(right, reset_less=True)
        left = Signal.like(right, reset_less=True)
        m.d.sync += [centre.eq(right), left.eq(centre)]
        edges = delayed(m, self.edges, 3, "edges", reset_less=True)
        in_lanes = delayed(m, self.lanes, 3, "lanes", reset_less=True)

        shadow = Signal(data.ArrayLayout(a, lanes), reset_less=True)
        pads = Signal(data.ArrayLayout(a, lanes), reset_less=True)
        k = config.load_kernels
        for lane in range(lanes):
            with m.If(self.load.block[lane // k]):
                m.d.sync += shadow[lane].eq(self.load.values[lane % k])
        with m.If(pixels[2].valid & pixels[2].first):
            m.d.sync += pads.eq(Mux(self.has_pad, shadow.as_value(), Const(0, a * lanes)))

        taps = []
        top, bottom = edges.top, edges.bottom
        outside_column = (edges.left, Const(0, 1), edges.right)
        for lane in range(lanes):
            exists = lane < in_lanes
            if config.row_groups:
                group = min(lane // config.group_lanes, ROW_GROUPS - 1)
                plain = self.row_groups == 0
                top = edges.top & (plain | (group == 0))
                bottom = edges.bottom & (plain | (self.row_groups == group + 1))
            outside_row = (top, Const(0, 1), bottom)
            for row in range(3):
                for column, source in enumerate((left, centre, right)):
                    outside = outside_row[row] | outside_column[column]
                    value = Mux(outside, pads[lane], source[row].word_select(lane, a))
                    taps.append(Mux(exists, value, 0))
        window = Signal.like(self.window, reset_less=True)
        m.d.sync += window.eq(Cat(*taps))
        m.d.comb += self.window.eq(window)
        return m
