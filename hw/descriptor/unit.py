"""Descriptor unit (NIP): a feature map, region by region, becomes a descriptor.

A map, state by state with its cycles, after the one in which ``go`` is high (docs/arithmetic.md says what is
computed):

    HEADER       12      the descriptor ROM's header is read and compared with the unit and the map
    CHECK         1
    for each region
      REGION      4      its record
      SQUARES    ...     sums of squares by channel, and their total (``nip_squares``)
      RECIPROCAL 58      of the total
      PASS       C + 13  each channel's share of the total, rooted, added to ``sums``
    with the last crop
      PASS       C + 2   ``best`` = maximum of ``sums`` and ``best``; or, with whitening:
      WHITEN     ...     (``nip_whitening``)
      PASS       D + 5   squares of the rows
      RECIPROCAL 58
      PASS       D + 13  ``best`` = maximum of the normalised rows and ``best``
    and the last rotation
      PASS       D + 5   squares of ``best``
      RECIPROCAL 58
      PASS       D + 13  ``sums`` = ``best``, normalised
      OUTPUT     ...     (``nip_output``; of sums at once, out of ``best``)
    END           1      ``ending``

``kestrel.sw.retrieval.pooling.cycles`` adds this up; the cycles counted in the benches are the same.

A frame of several maps has an output visit for each. The ROM holds for each what it holds for one, one after
the other; the unit remembers which comes next. Their descriptors follow each other as one packet.

With ``config.batch`` a map may consist of several images, one below the other, which are crops that follow
each other: CHECK and the regions come once for each of them.
"""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.descriptor.command import DESCRIPTOR_COMMAND
from kestrel.hw.descriptor.course import Course
from kestrel.hw.descriptor.multiply import SHIFT_ORIGIN
from kestrel.hw.descriptor.parts import Parts, place_parts
from kestrel.hw.descriptor.passes import Pass
from kestrel.hw.spec.descriptor import DESCRIPTOR_ERROR_BITS, DESCRIPTOR_WORD_BITS, DescriptorConfig
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import BYTE, bits_for


class DescriptorUnit(wiring.Component):
    """Makes a descriptor of feature maps, in the course of frames that the module's docstring shows.

    It takes the place of the feature output in a frame that ends in a descriptor: each map must lie whole in
    the memory, so it has a single output visit of all rows. Only the frame with ``last_crop`` and
    ``last_rotation`` sends anything. One cycle of reset aborts it: whatever was summed is then forgotten.

    Members
    -------
    go : In(1)               Begins a map; ``visit`` and ``command`` are taken in this cycle.
    visit : In(visit_layout)        The output visit: it must cover the whole map, and says where row 0 lies.
    layer : In(layer_layout)        The record of the output: the map's size, channels and place. It must stay
                                    until ``ending`` or ``error``.
    command : In(DESCRIPTOR_COMMAND)   What the frame is, and what is to be sent; the same for all its maps.
    active : Out(1)          High from the cycle after ``go`` to that of ``ending`` or ``error``.
    ending : Out(1)          High in one cycle at a good end, after the last byte was taken.
    error : Out(3)           The cause (DESCRIPTOR_ERRORS), in one cycle instead of ``ending``; 0 otherwise.
                             Nothing has been sent then.
    read_en : Out(1)         Reads the feature memory.
    address : Out(feature_address_bits)   The address in every bank of the feature memory.
    banks : In(3 x word_bits)       The words of the banks, one cycle after ``read_en``.
    rom_en : Out(1)          Reads the descriptor ROM.
    rom_addr : Out           The word's address in the descriptor ROM, as wide as its ``rom_words`` need.
    rom_data : In(word_bits of the ROM)    The word, one cycle after ``rom_en``.
    tdata : Out(8), tlast : Out(1), tvalid : Out(1), tready : In(1)
                             The descriptor as an AXI4-Stream, a byte a beat; ``tlast`` with the last one.
    """

    def __init__(self, config: EngineConfig, descriptor: DescriptorConfig) -> None:
        self.config = config
        self.descriptor = descriptor
        super().__init__(
            {
                "go": In(1),
                "visit": In(visit_layout(config)),
                "layer": In(layer_layout(config)),
                "command": In(DESCRIPTOR_COMMAND),
                "active": Out(1),
                "ending": Out(1),
                "error": Out(DESCRIPTOR_ERROR_BITS),
                "read_en": Out(1),
                "address": Out(feature_address_bits(config)),
                "banks": In(data.ArrayLayout(config.word_bits, BANKS)),
                "rom_en": Out(1),
                "rom_addr": Out(bits_for(descriptor.rom_words - 1)),
                "rom_data": In(descriptor.word_bits),
                "tdata": Out(BYTE),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = place_parts(m, self.config, self.descriptor)
        course = Course(self, parts)
        course.add_to(m)
        self._connect_header(m, parts, course)
        self._connect_squares(m, parts, course)
        self._connect_vectors(m, parts, course)
        self._connect_output(m, parts, course)
        self._connect_whitening(m, parts, course)
        return m

    def _connect_header(self, m: Module, parts: Parts, course: Course) -> None:
        """The header's reader to the ROM."""
        m.d.comb += [
            parts.header.layer.eq(self.layer),
            parts.header.raw.eq(course.raw),
            parts.header.rom_data.eq(self.rom_data[:DESCRIPTOR_WORD_BITS]),
        ]
        if self.config.batch:  # it knows of one image
            m.d.comb += parts.header.layer.height.eq(course.map_height)

    def _connect_squares(self, m: Module, parts: Parts, course: Course) -> None:
        """The sums of squares to the feature memory."""
        squares = parts.squares
        m.d.comb += [
            squares.region.eq(course.region),
            squares.first_bank.eq(course.first_bank),
            squares.first_slot.eq(course.first_slot),
            squares.layer.eq(self.layer),
            squares.banks.eq(self.banks),
            self.read_en.eq(squares.read_en),
            self.address.eq(squares.address),
        ]
        if self.config.batch:
            m.d.comb += squares.region.top.eq(course.region.top + course.image_row)

    def _connect_vectors(self, m: Module, parts: Parts, course: Course) -> None:
        """The passes over the vectors, and the total that they and the sums of squares add to."""
        header, squares, reciprocal, vectors = parts.header, parts.squares, parts.reciprocal, parts.vectors
        of_channels = (course.mode == Pass.SUM) | (course.mode == Pass.COPY)
        m.d.comb += [
            reciprocal.add.eq(squares.valid | vectors.add),
            reciprocal.value.eq(Mux(squares.valid, squares.squares, vectors.value)),
            vectors.mode.eq(course.mode),
            vectors.fresh.eq(Mux(course.mode == Pass.SUM, course.fresh, course.command.first_rotation)),
            vectors.last_index.eq(Mux(of_channels, header.last_channel, header.last_dimension)),
            vectors.amount.eq(reciprocal.amount),
            vectors.reciprocal.eq(reciprocal.reciprocal),
            vectors.rewind.eq(squares.go),
            vectors.square_valid.eq(squares.valid),
            vectors.square.eq(squares.squares),
        ]
        if course.map is not None:
            m.d.comb += vectors.map.eq(course.map)

    def _connect_output(self, m: Module, parts: Parts, course: Course) -> None:
        """The output to the vectors, which also multiply for it, and to the stream."""
        header, vectors, output = parts.header, parts.vectors, parts.output
        m.d.comb += [
            vectors.read.eq(output.read),
            vectors.read_best.eq(course.raw & course.sends),
            vectors.read_index.eq(output.read_index),
            vectors.x.eq(header.gain),
            vectors.x_amount.eq(SHIFT_ORIGIN),
            vectors.y.eq(output.y),
            output.kind.eq(course.command.output),
            output.last_index.eq(header.last_dimension),
            output.low.eq(header.low),
            output.element.eq(vectors.element),
            output.rom_data.eq(self.rom_data[:DESCRIPTOR_WORD_BITS]),
            output.product.eq(vectors.product),
            output.tready.eq(self.tready),
            self.tdata.eq(output.tdata),
            self.tlast.eq(output.tlast if course.map is None else output.tlast & ~header.more),
            self.tvalid.eq(output.tvalid),
        ]

    def _connect_whitening(self, m: Module, parts: Parts, course: Course) -> None:
        """The whitening to the vectors, whose reads and multiplier it has while the output does not send."""
        header, vectors, whitening = parts.header, parts.vectors, parts.whitening
        if whitening is None:
            return
        m.d.comb += [
            whitening.last_channel.eq(header.last_channel),
            whitening.last_dimension.eq(header.last_dimension),
            whitening.pairs.eq(header.pairs),
            whitening.summed.eq(course.summed),
            whitening.rom_data.eq(self.rom_data),
            whitening.element.eq(vectors.element),
            whitening.shifted.eq(vectors.shifted),
            whitening.product.eq(vectors.product),
            vectors.row_valid.eq(whitening.row_valid),
            vectors.row_index.eq(whitening.row_index),
            vectors.row.eq(whitening.row),
        ]
        with m.If(~course.sends):
            m.d.comb += [
                vectors.read.eq(whitening.read),
                vectors.read_index.eq(whitening.read_index),
                vectors.x.eq(whitening.x),
                vectors.x_amount.eq(whitening.x_amount),
                vectors.y.eq(whitening.y),
            ]
