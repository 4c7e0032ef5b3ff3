"""Image input: 8-bit pixels from the stream, rounded to A bits, into the first region."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.feature_memory import BANKS, feature_write
from hw.schedule import advanced, layer_layout, visit_layout
from hw.spec import (
    ACTIVATION_BITS_MAX,
    ACTIVATION_BITS_MIN,
    ERROR_BITS,
    ERROR_FRAME_LONG,
    ERROR_FRAME_SHORT,
    PIXEL_BITS,
    ROW_GROUPS,
    EngineConfig,
    bits_for,
)


class ImageInput(wiring.Component):
    """Takes rows * width pixels, channel-interleaved, ``stream_bytes`` channels a beat.

    A memory word (the channels of a pixel, or a part of them) begins with a new beat: bytes of a beat
    beyond the word's channels are ignored, so that RGBX pixels fit a four-byte stream. One beat a cycle.
    For a layer in row groups each pixel is written into all three banks: as group 2 of the row above, group 1
    of its own row and group 0 of the row below (hw.spec.ROW_GROUPS). ``slot`` and ``bank`` are then those of
    the row above.

    TLAST must come with the frame's last beat and with no other. After a frame that is too long the rest
    is read and thrown away up to its TLAST, before the next frame is taken.

    Members
    -------
    go, visit, layer : In     as in the reader; layer.in_groups counts words, last_in_lanes the channels
                              of a pixel's last word
    activation_bits : In(4)   A of the network that runs
    active, ending : Out      as in the reader; ``ending`` with the last beat taken
    error : Out               cause, in the cycle of the beat; ``active`` falls
    tdata, tvalid, tlast : In, tready : Out
    write : Out(feature_write)
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "activation_bits": In(4),
                "active": Out(1),
                "ending": Out(1),
                "error": Out(ERROR_BITS),
                "tdata": In(PIXEL_BITS * config.stream_bytes),
                "tvalid": In(1),
                "tlast": In(1),
                "tready": Out(1),
                "write": Out(feature_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        a, lanes, width = config.activation_bits, config.word_lanes, config.stream_bytes

        flushing = Signal()
        rows_left = Signal(16)
        ends_image = Signal()  # the visit ends with the image's last row
        column = Signal.like(layer.width)
        # Found ahead of the pixel, because the sequencer goes on in the cycle of ``ending``.
        in_last_word, in_last_column, in_last_row = Signal(), Signal(), Signal()
        words_left = Signal.like(layer.in_groups)
        bank = Signal(2)
        slot = Signal.like(self.visit.write_slot)
        next_slot = Signal.like(slot)  # only in row groups
        group_offset = Signal.like(slot)
        beats = -(-lanes // width)
        position = Signal(bits_for(beats - 1))  # beat within the word

        word_lanes = Signal(range(lanes + 1))
        word_end, pixel_end, row_end, frame_end = Signal(), Signal(), Signal(), Signal()
        taken = Signal()
        m.d.comb += [
            self.tready.eq(self.active | flushing),
            taken.eq(self.active & ~flushing & self.tvalid),
            word_lanes.eq(Mux(in_last_word, layer.last_in_lanes, lanes)),
            word_end.eq((position + 1) * width >= word_lanes),
            pixel_end.eq(word_end & in_last_word),
            row_end.eq(pixel_end & in_last_column),
            frame_end.eq(row_end & in_last_row),
        ]

        with m.If(taken):
            m.d.sync += position.eq(position + 1)
            with m.If(word_end):
                m.d.sync += [
                    position.eq(0),
                    words_left.eq(words_left - 1),
                    in_last_word.eq(words_left == 2),
                    group_offset.eq(group_offset + layer.width),
                ]
            with m.If(pixel_end):
                m.d.sync += [
                    words_left.eq(layer.in_groups),
                    in_last_word.eq(layer.in_groups == 1),
                    group_offset.eq(0),
                    column.eq(column + 1),
                    in_last_column.eq(column + 2 == layer.width),
                ]
            with m.If(row_end):
                m.d.sync += [
                    column.eq(0),
                    in_last_column.eq(layer.width == 1),
                    rows_left.eq(rows_left - 1),
                    in_last_row.eq(rows_left == 2),
                    bank.eq(Mux(bank == 2, 0, bank + 1)),
                ]
                with m.If(bank == 2):
                    if config.row_groups:
                        m.d.sync += [slot.eq(next_slot), next_slot.eq(advanced(next_slot, layer, "write"))]
                    else:
                        m.d.sync += slot.eq(advanced(slot, layer, "write"))
            # The frame ends in the image's last row, which need not be in this visit.
            image_end = Signal()
            m.d.comb += image_end.eq(frame_end & ends_image)
            with m.If(frame_end | self.tlast):
                m.d.sync += self.active.eq(0)
            with m.If(self.tlast & ~image_end):
                m.d.comb += self.error.eq(ERROR_FRAME_SHORT)
            with m.Elif(image_end & ~self.tlast):
                m.d.comb += self.error.eq(ERROR_FRAME_LONG)
                m.d.sync += flushing.eq(1)
            m.d.comb += self.ending.eq(frame_end)
        with m.If(flushing & self.tvalid & self.tlast):
            m.d.sync += flushing.eq(0)

        with m.If(self.go):
            m.d.sync += [
                self.active.eq(1),
                rows_left.eq(self.visit.rows),
                in_last_row.eq(self.visit.rows == 1),
                ends_image.eq(self.visit.first_row + self.visit.rows == layer.height),
                column.eq(0),
                in_last_column.eq(layer.width == 1),
                words_left.eq(layer.in_groups),
                in_last_word.eq(layer.in_groups == 1),
                position.eq(0),
                bank.eq(self.visit.write_bank),
                slot.eq(self.visit.write_slot),
                group_offset.eq(0),
            ]
            if config.row_groups:
                m.d.sync += next_slot.eq(advanced(self.visit.write_slot, layer, "write"))

        # x = min((p + 2**(7 - A)) >> (8 - A), 2**A - 1) for each byte, then into its lane of the word.
        pixels = []
        for byte in range(width):
            pixel = self.tdata.word_select(byte, PIXEL_BITS)
            value = Signal(a, name=f"value_{byte}")
            with m.Switch(self.activation_bits):
                for bits in range(ACTIVATION_BITS_MIN, min(a, ACTIVATION_BITS_MAX - 1) + 1):
                    with m.Case(bits):
                        rounded = (pixel + (1 << (PIXEL_BITS - 1 - bits))) >> (PIXEL_BITS - bits)
                        m.d.comb += value.eq(Mux(rounded[bits], (1 << bits) - 1, rounded))
                if a == ACTIVATION_BITS_MAX:
                    with m.Default():
                        m.d.comb += value.eq(pixel)
            pixels.append(value)

        word = Signal(lanes * a, reset_less=True)
        write_en = Signal()
        address = Signal.like(slot, reset_less=True)
        next_address = Signal.like(slot, reset_less=True)  # only in row groups
        write_bank = Signal(2, reset_less=True)
        m.d.sync += write_en.eq(taken & word_end)
        with m.If(taken):
            m.d.sync += [address.eq(slot + group_offset + column), write_bank.eq(bank)]
            if config.row_groups:  # with one word a pixel
                m.d.sync += next_address.eq(next_slot + column)
            for lane in range(lanes):
                here = position == lane // width
                exists = lane < word_lanes
                with m.If(here | (position == 0)):
                    m.d.sync += word.word_select(lane, a).eq(Mux(here & exists, pixels[lane % width], 0))
        m.d.comb += self.write.part.eq(0)
        if not config.row_groups:
            m.d.comb += [
                self.write.en.eq(write_en),
                self.write.bank.eq(write_bank),
                self.write.addr.eq(address),
                self.write.lanes.eq(~0),
                self.write.data.eq(word),
            ]
            return m

        grouped = layer.row_groups != 0
        size = config.group_lanes
        copies = Cat(word[: size * a].replicate(ROW_GROUPS), word[ROW_GROUPS * size * a :])
        for n in range(BANKS):
            group = Signal(lanes, name=f"lanes_{n}")
            with m.Switch(write_bank):
                for above in range(BANKS):
                    number = (2 - (n - above)) % ROW_GROUPS
                    with m.Case(above):
                        m.d.comb += group.eq(((1 << size) - 1) << number * size)
            m.d.comb += [
                self.write.en[n].eq(write_en & (grouped | (write_bank == n))),
                self.write.addr[n].eq(Mux(grouped & (n < write_bank), next_address, address)),
                self.write.lanes[n].eq(Mux(grouped, group, (1 << lanes) - 1)),
                self.write.data[n].eq(Mux(grouped, copies, word)),
            ]
        return m
