"""Image input in 2x2 blocks: pairs of 8-bit pixels from the stream, rounded to A bits, as ``hw.spec.blocks``
says into the map of 27 channels.

Pixels 2x and 2x + 1 of a row, with pixel 2x - 1 kept from the pair before, are what pixel x of the map gets
of that row. From the cycle t in which the pair's last beat is taken:

    t              the nine activations move into the registers that are written
    t + 1 ..       one word a cycle (``pair_words``), while the beats of the next pair come
    t + n          the n-th and last word; the next pair's last beat may be taken from this cycle on

An odd row is set 1 of its own row of blocks and set 2 of the next one. These lie in two banks, in words of
the same number and in different lanes of them, so that one cycle serves both. In the first row of the image
set 2 is written with pad values besides, in the last one of an odd height set 1.
"""

from itertools import product

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from kestrel.hw.common.handover import advanced
from kestrel.hw.memory.block_pair import Pair, last_word, pair_registers, write_pair
from kestrel.hw.memory.pixel_stream import check_frame_end, image_ports, rounded_bytes
from kestrel.hw.spec.blocks import COLOURS, pair_words, set_words
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import bits_for


class BlockInput(wiring.Component):
    """Takes a visit's rows of the image, three colours a pixel, ``stream_bytes`` colours a beat.

    A pixel begins with a new beat. TLAST and frames that are too long are dealt with as in ``ImageInput``.
    The stream waits only where the words of a pair take longer than the beats of the next one
    (``block_input_cycles``).

    A visit's ``first_row`` and ``rows`` count rows of blocks, and ``write_bank`` and ``write_slot`` are those
    of its first one. The last odd row of a visit has already written into the row of blocks after it, should
    there be one; the next visit goes on there. With ``config.batch`` a visit may reach from one image into
    the next, whose first row of blocks lies below the last one of the image before; ``first_row`` is then
    counted within the first of these images.

    Members
    -------
    As those of ``ImageInput``. Of ``layer``, height and width are the image's, ``out_width`` is the map's
    width, and ``block_pad_0``, ``_1`` and ``_2`` are the activations outside the image; in_groups and
    last_in_lanes are not looked at. ``ending`` is high in the cycle in which the visit's last word is
    written. After an ``error`` the words of the last pair may still be written.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(image_ports(config))
        self._taking = Signal(name="taking")  # beats of the visit are still to come
        self._flushing = Signal(name="flushing")  # the rest of a frame that is too long is thrown away
        self._finishing = Signal(name="finishing")  # the visit's last words are being written
        self._writing = Signal(name="writing")
        self._taken = Signal(name="taken")  # a beat is taken
        self._beats = -(-COLOURS // config.stream_bytes)  # of a pixel
        self._position = Signal(bits_for(self._beats - 1), name="position")  # beat within the pixel
        self._pixel_end = Signal(name="pixel_end")  # it is the pixel's last one
        self._pair_end = Signal(name="pair_end")  # it is the pair's last one
        # The pixel whose beats come.
        self._second = Signal(name="second")  # it is its pair's second one
        self._in_first_pair = Signal(name="in_first_pair")
        self._columns_left = Signal.like(self.layer.width, name="columns_left")
        self._in_last_column = Signal(name="in_last_column")
        # Its row of the image.
        self._odd = Signal(name="odd")
        self._top = Signal(name="top")
        self._rows_left = Signal.like(self.layer.height, name="rows_left")  # to the end of the image
        self._in_last_row = Signal(name="in_last_row")
        # Its row of blocks, and the next one.
        self._block_rows_left = Signal.like(self.visit.rows, name="block_rows_left")  # to the visit's end
        if config.batch:
            self._ends_frame = Signal(name="ends_frame")  # the visit ends with the last image
        self._in_last_block_row = Signal(name="in_last_block_row")
        self._bank = Signal(2, name="bank")
        self._slot = Signal.like(self.visit.write_slot, name="slot")
        self._next_slot = Signal.like(self._slot, name="next_slot")
        # Where its pair's first word goes in these rows.
        self._address = Signal.like(self._slot, name="address")
        self._next_address = Signal.like(self._slot, name="next_address")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pair = pair_registers(self.config, self._slot)
        self._take(m, pair)
        with m.If(self._taken & self._pixel_end):
            self._next_pixel(m)
        with m.If(self.go):
            self._begin(m)
        with m.If(self._writing):
            m.d.sync += [
                pair.word.eq(pair.word + 1),
                pair.in_last_word.eq(pair.word + 1 == last_word(self.config, pair)),
                pair.address.eq(pair.address + self.layer.out_width),
                pair.next_address.eq(pair.next_address + self.layer.out_width),
            ]
        self._collect(m, pair)
        write_pair(m, self.config, pair, self.layer, self._writing, self.write)
        return m

    def _take(self, m: Module, pair: Pair) -> None:
        """Take the visit's beats, and find out whether the frame ends where it should."""
        visit_end, image_end = Signal(), Signal()
        row_end = self._pixel_end & self._in_last_column
        waits = self._pair_end & self._writing & ~pair.in_last_word
        m.d.comb += [
            self._pixel_end.eq(self._position == self._beats - 1),
            self._pair_end.eq(self._pixel_end & (self._second | self._in_last_column)),
            self.tready.eq((self._taking & ~waits) | self._flushing),
            self._taken.eq(self._taking & ~waits & ~self._flushing & self.tvalid),
        ]
        if self.config.batch:
            m.d.comb += [
                image_end.eq(visit_end & self._ends_frame),
                visit_end.eq(row_end & self._in_last_block_row & (self._odd | self._in_last_row)),
            ]
        else:
            m.d.comb += [
                image_end.eq(row_end & self._in_last_row),
                visit_end.eq(row_end & (self._in_last_row | (self._odd & self._in_last_block_row))),
            ]
        m.d.comb += self.ending.eq(self._finishing & pair.in_last_word)
        m.d.sync += self.error.eq(0)
        with m.If(self.ending | (self.error != 0)):
            m.d.sync += [self.active.eq(0), self._finishing.eq(0)]
        with m.If(self._writing & pair.in_last_word):
            m.d.sync += self._writing.eq(0)
        with m.If(self._taken):
            m.d.sync += self._position.eq(Mux(self._pixel_end, 0, self._position + 1))
            with m.If(self._pair_end):
                m.d.sync += self._writing.eq(1)
            with m.If(visit_end | self.tlast):
                m.d.sync += self._taking.eq(0)
            check_frame_end(
                m,
                tlast=self.tlast,
                image_end=image_end,
                error=self.error,
                flushing=self._flushing,
                ending=self._finishing,
                visit_end=visit_end,
            )
        with m.If(self._flushing & self.tvalid & self.tlast):
            m.d.sync += self._flushing.eq(0)
        with m.If(self.go):
            # After an error words of the frame before may be left.
            m.d.sync += [self.active.eq(1), self._taking.eq(1), self._writing.eq(0), self._position.eq(0)]

    # --- the walk over the image -------------------------------------------------------------------------

    def _next_pixel(self, m: Module) -> None:
        """On to the pair's second pixel, to the next pair, or to the next row."""
        m.d.sync += [
            self._second.eq(~self._second),
            self._columns_left.eq(self._columns_left - 1),
            self._in_last_column.eq(self._columns_left == 2),
        ]
        with m.If(self._second):
            m.d.sync += [
                self._in_first_pair.eq(0),
                self._address.eq(self._address + 1),
                self._next_address.eq(self._next_address + 1),
            ]
        with m.If(self._in_last_column):
            self._next_row(m)

    def _next_row(self, m: Module) -> None:
        """On to the next row, in the same row of blocks or in the next one."""
        self._begin_row(m)
        m.d.sync += [
            self._odd.eq(~self._odd),
            self._top.eq(0),
            self._rows_left.eq(self._rows_left - 1),
            self._in_last_row.eq(self._rows_left == 2),
        ]
        ends_blocks = self._odd
        if self.config.batch:
            ends_blocks = self._odd | self._in_last_row
            with m.If(self._in_last_row):
                m.d.sync += [
                    self._odd.eq(0),
                    self._top.eq(1),
                    self._rows_left.eq(self.layer.height),
                    self._in_last_row.eq(self.layer.height == 1),
                ]
        with m.If(ends_blocks):
            bank = Mux(self._bank == BANKS - 1, 0, self._bank + 1)
            m.d.sync += [
                self._block_rows_left.eq(self._block_rows_left - 1),
                self._in_last_block_row.eq(self._block_rows_left == 2),
            ]
            self._begin_blocks(m, bank, self._next_slot)
        with m.Else():
            first = set_words(self.config, 1).start  # a product with 0 would have an operand of no bits
            offset = first * self.layer.out_width if first else 0
            m.d.sync += [
                self._address.eq(self._slot + offset),
                self._next_address.eq(self._next_slot + offset),
            ]

    def _begin(self, m: Module) -> None:
        """Begin the visit that is given."""
        visit = self.visit
        rows_left = Signal.like(self._rows_left, name="rows_left_first")
        m.d.comb += rows_left.eq(self.layer.height - (visit.first_row << 1))
        m.d.sync += [
            self._odd.eq(0),
            self._top.eq(visit.first_row == 0),
            self._rows_left.eq(rows_left),
            self._in_last_row.eq(rows_left == 1),
            self._block_rows_left.eq(visit.rows),
            self._in_last_block_row.eq(visit.rows == 1),
        ]
        if self.config.batch:
            m.d.sync += self._ends_frame.eq(visit.ends_frame)
        self._begin_row(m)
        self._begin_blocks(m, visit.write_bank, visit.write_slot)

    def _begin_row(self, m: Module) -> None:
        m.d.sync += [
            self._second.eq(0),
            self._in_first_pair.eq(1),
            self._columns_left.eq(self.layer.width),
            self._in_last_column.eq(self.layer.width == 1),
        ]

    def _begin_blocks(self, m: Module, bank: Value, slot: Value) -> None:
        """On to the row of blocks in ``bank`` and ``slot``: rows 3k, 3k + 1, 3k + 2 share a slot address."""
        after = advanced(slot, self.layer, "write")
        m.d.sync += [
            self._bank.eq(bank),
            self._slot.eq(slot),
            self._next_slot.eq(Mux(bank == BANKS - 1, after, slot)),
            self._address.eq(slot),
        ]

    # --- pairs and their words ---------------------------------------------------------------------------

    def _collect(self, m: Module, pair: Pair) -> None:
        """Keep colours until their pair is complete; then let the pair be written."""
        config, a = self.config, self.config.activation_bits
        values = rounded_bytes(m, config, self.tdata, self.activation_bits)
        held = [Signal(a, name=f"held_{n}", reset_less=True) for n in range(COLOURS)]
        first = [Signal(a, name=f"first_{n}", reset_less=True) for n in range(COLOURS)]  # of the pair
        left, middle, right = pair.colours[2], pair.colours[0], pair.colours[1]
        for n in range(COLOURS):
            beat, byte = divmod(n, config.stream_bytes)
            pad = self.layer[f"block_pad_{n}"]
            arriving = values[byte]
            if beat < self._beats - 1:
                arriving = held[n]
                with m.If(self._taken & (self._position == beat)):
                    m.d.sync += held[n].eq(values[byte])
            with m.If(self._taken & self._pixel_end & ~self._second):
                m.d.sync += first[n].eq(arriving)
            with m.If(self._taken & self._pair_end):
                m.d.sync += [
                    middle[n].eq(Mux(self._second, first[n], arriving)),
                    right[n].eq(Mux(self._second, arriving, pad)),
                    left[n].eq(Mux(self._in_first_pair, pad, right[n])),
                ]
        ends_at_once = Signal()
        with m.Switch(Cat(self._odd, self._top, self._in_last_row)):
            for kind, (last, top, odd) in enumerate(product((False, True), repeat=3)):
                with m.Case(kind):
                    words = pair_words(config, odd=odd, top=top, last=last)
                    m.d.comb += ends_at_once.eq(len(words) == 1)
        with m.If(self._taken & self._pair_end):
            m.d.sync += [
                pair.word.eq(Mux(self._odd, set_words(config, 1).start, 0)),
                pair.in_last_word.eq(ends_at_once),
                pair.address.eq(self._address),
                pair.next_address.eq(self._next_address),
                pair.bank.eq(self._bank),
                pair.sets.eq(Mux(self._odd, 0b010, Cat(1, self._in_last_row, self._top))),
                pair.pads.eq(Mux(self._odd, 0, Cat(0, self._in_last_row, self._top))),
                pair.below.eq(self._odd & ~self._in_last_row),
            ]
