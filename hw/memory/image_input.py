"""Image input: 8-bit pixels from the stream, rounded to A bits, into the first region."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from kestrel.hw.common.place import place
from kestrel.hw.memory.pixel_stream import check_frame_end, image_ports, rounded_bytes
from kestrel.hw.memory.raster import Raster, connect_raster
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS, EngineConfig
from kestrel.hw.spec.widths import bits_for


class ImageInput(wiring.Component):
    """Takes rows * width pixels, channel-interleaved, ``stream_bytes`` channels a beat, one beat a cycle.

    A memory word (the channels of a pixel, or a part of them) begins with a new beat: bytes of a beat
    beyond the word's channels are ignored, so that RGBX pixels fit a four-byte stream. For a layer in row
    groups each pixel is written into all three banks: as group 2 of the row above, group 1 of its own row
    and group 0 of the row below (``ROW_GROUPS``). The visit's write slot and bank are then those of the row
    above.

    TLAST must come with the frame's last beat and with no other. After a frame that is too long the rest
    is read and thrown away up to its TLAST, before the next frame is taken.

    Members
    -------
    go : In(1)                    Begins a visit, described by ``visit`` and ``layer``.
    visit : In(visit_layout)      Which rows of the image are taken, and where they go; taken with ``go``.
    layer : In(layer_layout)      The record of the input: ``in_groups`` counts the words of a pixel,
                                  ``last_in_lanes`` the channels of its last one. It must stay until
                                  ``ending``.
    activation_bits : In(4)       A of the network that runs.
    active : Out(1)               High from the cycle after ``go`` to that of ``ending`` or ``error``.
    ending : Out(1)               High in the cycle after the visit's last beat, in which that beat's word is
                                  written and no beat is taken.
    error : Out(4)                The cause (ERRORS), in one cycle instead of ``ending``; 0 otherwise.
    tdata : In(8 * stream_bytes)  The beat, its first channel in the lowest byte.
    tvalid : In(1)                A beat is offered.
    tlast : In(1)                 The beat is the image's last one.
    tready : Out(1)               The beat is taken.
    write : Out(feature_write)    The word that is written into part 0 of the feature memory.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(image_ports(config))
        lanes = config.word_lanes
        self._taking = Signal(name="taking")  # beats of the visit are still to come
        self._flushing = Signal(name="flushing")  # the rest of a frame that is too long is thrown away
        beats = -(-lanes // config.stream_bytes)
        self._position = Signal(bits_for(beats - 1), name="position")  # beat within the word
        self._word_lanes = Signal(range(lanes + 1), name="word_lanes")  # channels in the word
        self._taken = Signal(name="taken")  # a beat is taken
        self._word_end = Signal(name="word_end")  # it is its word's last one

    def elaborate(self, platform: object) -> Module:
        m = Module()
        raster = Raster(self.config)
        place(m, "raster", raster)
        connect_raster(m, raster, self.visit, self.layer, "write")
        self._take(m, raster)
        pixels = rounded_bytes(m, self.config, self.tdata, self.activation_bits)
        word = self._assemble(m, pixels)
        self._write(m, raster, word)
        return m

    def _take(self, m: Module, raster: Raster) -> None:
        """Take the visit's beats, and find out whether the frame ends where it should."""
        strip_end = Signal()
        image_end = Signal()
        closing = Signal()  # the cycle after the visit's last beat
        position, word_end = self._position, self._word_end
        m.d.comb += [
            self.tready.eq(self._taking | self._flushing),
            self._taken.eq(self._taking & ~self._flushing & self.tvalid),
            self._word_lanes.eq(Mux(raster.ends_pixel, self.layer.last_in_lanes, self.config.word_lanes)),
            word_end.eq((position + 1) * self.config.stream_bytes >= self._word_lanes),
            strip_end.eq(word_end & raster.ends_strip),
            # The frame ends in the image's last row, which need not be in this visit.
            image_end.eq(word_end & raster.ends_image),
            raster.go.eq(self.go),
            raster.step.eq(self._taken & word_end),
        ]
        # What the last beat says is acted on in the next cycle: the sequencer goes on in that of ``ending``.
        m.d.sync += [closing.eq(0), self.ending.eq(0), self.error.eq(0)]
        with m.If(self._taken):
            m.d.sync += position.eq(Mux(word_end, 0, position + 1))
            with m.If(strip_end | self.tlast):
                m.d.sync += [self._taking.eq(0), closing.eq(1)]
            check_frame_end(
                m,
                tlast=self.tlast,
                image_end=image_end,
                error=self.error,
                flushing=self._flushing,
                ending=self.ending,
                visit_end=strip_end,
            )
        with m.If(self._flushing & self.tvalid & self.tlast):
            m.d.sync += self._flushing.eq(0)
        with m.If(closing):
            m.d.sync += self.active.eq(0)
        with m.If(self.go):
            m.d.sync += [self.active.eq(1), self._taking.eq(1), position.eq(0)]

    def _assemble(self, m: Module, pixels: list[Signal]) -> Signal:
        """The word: each beat's pixels into their lanes, 0 into those beyond the word's channels."""
        a, width = self.config.activation_bits, self.config.stream_bytes
        word = Signal(self.config.word_bits, reset_less=True)
        with m.If(self._taken):
            for lane in range(self.config.word_lanes):
                here = self._position == lane // width
                exists = lane < self._word_lanes
                with m.If(here | (self._position == 0)):
                    m.d.sync += word.word_select(lane, a).eq(Mux(here & exists, pixels[lane % width], 0))
        return word

    def _write(self, m: Module, raster: Raster, word: Signal) -> None:
        """Write the word in the cycle after its last beat."""
        write_en = Signal()
        address = Signal.like(raster.address, reset_less=True)
        next_address = Signal.like(raster.address, reset_less=True)
        bank = Signal(2, name="write_bank", reset_less=True)
        m.d.comb += self.write.part.eq(0)
        m.d.sync += write_en.eq(self._taken & self._word_end)
        with m.If(self._taken):
            m.d.sync += [address.eq(raster.address), bank.eq(raster.bank)]
        if self.config.row_groups:
            with m.If(self._taken):
                m.d.sync += next_address.eq(raster.next_address)
            self._write_groups(m, word, write_en, bank, address, next_address)
            return
        if self.config.writes_banks:
            for n in range(BANKS):
                m.d.comb += [
                    self.write.en[n].eq(write_en & (bank == n)),
                    self.write.addr[n].eq(address),
                    self.write.lanes[n].eq(~0),
                    self.write.data[n].eq(word),
                ]
            return
        m.d.comb += [
            self.write.en.eq(write_en),
            self.write.bank.eq(bank),
            self.write.addr.eq(address),
            self.write.lanes.eq(~0),
            self.write.data.eq(word),
        ]

    def _write_groups(
        self, m: Module, word: Signal, write_en: Signal, bank: Signal, address: Signal, next_address: Signal
    ) -> None:
        """Write the word into its bank, or for a layer in row groups a copy for each group into all three."""
        config = self.config
        grouped = self.layer.row_groups != 0
        lanes, bits = config.group_lanes, config.group_lanes * config.activation_bits
        copies = Cat(word[:bits].replicate(ROW_GROUPS), word[ROW_GROUPS * bits :])
        for n in range(BANKS):
            group = Signal(config.word_lanes, name=f"lanes_{n}")
            with m.Switch(bank):
                for above in range(BANKS):
                    number = (2 - (n - above)) % ROW_GROUPS
                    with m.Case(above):
                        m.d.comb += group.eq(((1 << lanes) - 1) << number * lanes)
            m.d.comb += [
                self.write.en[n].eq(write_en & (grouped | (bank == n))),
                self.write.addr[n].eq(Mux(grouped & (n < bank), next_address, address)),
                self.write.lanes[n].eq(Mux(grouped, group, (1 << config.word_lanes) - 1)),
                self.write.data[n].eq(Mux(grouped, copies, word)),
            ]
