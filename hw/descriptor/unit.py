"""Descriptor unit (NIP): the last feature map, region by region, becomes a descriptor.

A frame, state by state with its cycles, after the one in which ``go`` is high (docs/arithmetic.md says what
is computed):

    HEADER       12      the descriptor ROM's header, held to the unit and to the map
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
"""

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.handover import feature_address_bits, layer_layout, visit_layout
from kestrel.hw.common.place import place
from kestrel.hw.descriptor.header import DescriptorHeader
from kestrel.hw.descriptor.multiply import SHIFT_ORIGIN
from kestrel.hw.descriptor.output import DescriptorOutput
from kestrel.hw.descriptor.reciprocal import DescriptorReciprocal
from kestrel.hw.descriptor.squares import REGION, DescriptorSquares
from kestrel.hw.descriptor.vectors import DescriptorVectors, Pass
from kestrel.hw.descriptor.whitening import DescriptorWhitening
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_ERROR_BITS,
    DESCRIPTOR_ERROR_MAP,
    DESCRIPTOR_ERROR_PARTIAL,
    DESCRIPTOR_ERROR_REGIONS,
    DESCRIPTOR_ERROR_ROM,
    DESCRIPTOR_ERROR_SEQUENCE,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_REGIONS_MAX,
    DESCRIPTOR_SUMMED_MAX,
    DESCRIPTOR_WORD_BITS,
    REGION_FIELDS,
    REGION_WORDS,
    DescriptorConfig,
)
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import bits_for

DESCRIPTOR_COMMAND = data.StructLayout(
    {"first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1, "output": 2}
)
"""What a frame is: first and last crop of its rotation, a frame of the first and of the last rotation;
output: DESCRIPTOR_OUTPUT_BYTES, _BITS or _SUMS, the same in all frames of a descriptor."""


class State(IntEnum):
    REST = 0
    HEADER = 1
    CHECK = 2
    REGION = 3
    SQUARES = 4
    RECIPROCAL = 5
    PASS = 6
    WHITEN = 7
    OUTPUT = 8
    END = 9
    FAIL = 10


class DescriptorUnit(wiring.Component):
    """See the module's docstring.

    Takes the place of the feature output in a frame that ends in a descriptor: the map must lie whole in the
    memory, so the frame has a single output visit of all rows. Only the frame with ``last_crop`` and
    ``last_rotation`` sends anything. A reset, one cycle of it, is also what aborts it: whatever was summed is
    then forgotten.

    Members
    -------
    go : In(1)               begin; ``visit``, ``command`` are taken with it
    visit, layer : In        as in the feature output; ``layer`` must stay until ``ending``
    command : In(DESCRIPTOR_COMMAND)
    active : Out(1)          from the cycle after ``go``
    ending : Out(1)          one cycle at a good end, after the last beat was taken; ``active`` falls after it
    error : Out(3)           instead of ``ending``, for one cycle: cause (DESCRIPTOR_ERRORS); nothing sent
    read_en, address : Out, banks : In   as in the feature output: the feature memory, one cycle latency;
                             the address is that of every bank
    rom_en, rom_addr : Out, rom_data : In   the descriptor ROM, one cycle latency
    tdata, tlast, tvalid : Out, tready : In   the descriptor, a byte a beat
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
                "tdata": Out(8),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, descriptor, layer = self.config, self.descriptor, self.layer
        header = DescriptorHeader(config, descriptor)
        squares = DescriptorSquares(config)
        reciprocal = DescriptorReciprocal()
        vectors = DescriptorVectors(descriptor)
        output = DescriptorOutput(descriptor)
        place(m, "header", header)
        place(m, "squares", squares)
        place(m, "reciprocal", reciprocal)
        place(m, "vectors", vectors)
        place(m, "output", output)
        whitening = DescriptorWhitening(descriptor) if descriptor.whitening else None

        state = Signal(State)
        command = Signal(DESCRIPTOR_COMMAND, reset_less=True)
        raw = command.output == DESCRIPTOR_OUTPUT_SUMS
        m.d.comb += [self.active.eq(state != State.REST), self.ending.eq(state == State.END)]

        # --- the ROM: one word after the other from ``pointer`` on ---------------------------------------
        pointer = Signal.like(self.rom_addr, reset_less=True)
        region_step = Signal(2)
        region_pointer = Signal.like(pointer, reset_less=True)
        m.d.comb += [
            self.rom_addr.eq(pointer),
            self.rom_en.eq(
                header.rom_en | output.rom_en | (whitening.rom_en if whitening else 0)
                | ((state == State.REGION) & (region_step < REGION_WORDS))
            ),
        ]  # fmt: skip
        with m.If(self.rom_en):
            m.d.sync += pointer.eq(pointer + 1)

        # --- what goes on from frame to frame ------------------------------------------------------------
        summing, turning = Signal(), Signal()  # more crops, or more rotations, are to come
        begun_first = Signal(reset_less=True)  # what is summed belongs to the first rotation
        misplaced = Signal(reset_less=True)  # the command continues nothing
        partial = Signal(reset_less=True)
        first_bank, first_slot = Signal(2, reset_less=True), Signal.like(self.address, reset_less=True)
        summed = Signal(range(DESCRIPTOR_SUMMED_MAX + DESCRIPTOR_REGIONS_MAX + 1), reset_less=True)
        regions_left = Signal.like(header.regions, reset_less=True)
        fresh = Signal(reset_less=True)

        def accept() -> None:
            new = self.command
            continues = Mux(
                new.first_crop,
                new.first_rotation | (turning & ~summing),
                summing & (new.first_rotation == begun_first),
            )
            m.d.sync += [
                command.eq(new),
                partial.eq((self.visit.first_row != 0) | (self.visit.rows != layer.height)),
                first_bank.eq(self.visit.read_bank),
                first_slot.eq(self.visit.read_slot),
                misplaced.eq(~continues),
                fresh.eq(new.first_crop),
            ]
            with m.If(new.first_crop):
                m.d.sync += summed.eq(0)

        # --- the parts and their connections -------------------------------------------------------------
        mode, after_reciprocal = Signal(Pass, reset_less=True), Signal(Pass, reset_less=True)
        region = Signal(REGION, reset_less=True)
        of_channels = (mode == Pass.SUM) | (mode == Pass.COPY)
        sends = state == State.OUTPUT
        m.d.comb += [
            header.layer.eq(layer),
            header.raw.eq(raw),
            header.rom_data.eq(self.rom_data[:DESCRIPTOR_WORD_BITS]),
            #
            squares.region.eq(region),
            squares.first_bank.eq(first_bank),
            squares.first_slot.eq(first_slot),
            squares.layer.eq(layer),
            squares.banks.eq(self.banks),
            self.read_en.eq(squares.read_en),
            self.address.eq(squares.address),
            #
            reciprocal.add.eq(squares.valid | vectors.add),
            reciprocal.value.eq(Mux(squares.valid, squares.squares, vectors.value)),
            #
            vectors.mode.eq(mode),
            vectors.fresh.eq(Mux(mode == Pass.SUM, fresh, command.first_rotation)),
            vectors.last_index.eq(Mux(of_channels, header.last_channel, header.last_dimension)),
            vectors.amount.eq(reciprocal.amount),
            vectors.reciprocal.eq(reciprocal.reciprocal),
            vectors.rewind.eq(squares.go),
            vectors.square_valid.eq(squares.valid),
            vectors.square.eq(squares.squares),
            vectors.read.eq(output.read),
            vectors.read_best.eq(raw & sends),
            vectors.read_index.eq(output.read_index),
            vectors.x.eq(header.gain),
            vectors.x_amount.eq(SHIFT_ORIGIN),
            vectors.y.eq(output.y),
            #
            output.kind.eq(command.output),
            output.last_index.eq(header.last_dimension),
            output.low.eq(header.low),
            output.element.eq(vectors.element),
            output.rom_data.eq(self.rom_data[:DESCRIPTOR_WORD_BITS]),
            output.product.eq(vectors.product),
            output.tready.eq(self.tready),
            self.tdata.eq(output.tdata),
            self.tlast.eq(output.tlast),
            self.tvalid.eq(output.tvalid),
        ]
        if whitening is not None:
            place(m, "whitening", whitening)
            m.d.comb += [
                whitening.last_channel.eq(header.last_channel),
                whitening.last_dimension.eq(header.last_dimension),
                whitening.pairs.eq(header.pairs),
                whitening.summed.eq(summed),
                whitening.rom_data.eq(self.rom_data),
                whitening.element.eq(vectors.element),
                whitening.shifted.eq(vectors.shifted),
                whitening.product.eq(vectors.product),
                vectors.row_valid.eq(whitening.row_valid),
                vectors.row_index.eq(whitening.row_index),
                vectors.row.eq(whitening.row),
            ]
            with m.If(~sends):
                m.d.comb += [
                    vectors.read.eq(whitening.read),
                    vectors.read_index.eq(whitening.read_index),
                    vectors.x.eq(whitening.x),
                    vectors.x_amount.eq(whitening.x_amount),
                    vectors.y.eq(whitening.y),
                ]

        # --- the course of a frame -----------------------------------------------------------------------
        error = Signal.like(self.error, reset_less=True)
        begins_pass = Signal()
        m.d.comb += self.error.eq(Mux(state == State.FAIL, error, 0))
        m.d.sync += vectors.start.eq(begins_pass)

        def begin_pass(following: Pass) -> None:
            m.d.comb += begins_pass.eq(1)
            m.d.sync += [mode.eq(following), state.eq(State.PASS)]
            if following in (Pass.SQUARE_ROWS, Pass.SQUARE_BEST):
                m.d.comb += reciprocal.clear.eq(1)

        def begin_reciprocal(following: Pass) -> None:
            m.d.comb += reciprocal.go.eq(1)
            m.d.sync += [after_reciprocal.eq(following), state.eq(State.RECIPROCAL)]

        def begin_region(pointer_now: Value) -> None:
            m.d.sync += [state.eq(State.REGION), region_step.eq(0), pointer.eq(pointer_now)]

        def begin_output() -> None:
            m.d.comb += output.go.eq(1)
            m.d.sync += [state.eq(State.OUTPUT), pointer.eq(header.thresholds_base)]

        def fail(cause: int) -> None:
            m.d.sync += [state.eq(State.FAIL), error.eq(cause)]

        with m.Switch(state):
            with m.Case(State.REST), m.If(self.go):
                accept()
                m.d.comb += header.go.eq(1)
                m.d.sync += [state.eq(State.HEADER), pointer.eq(0)]
            with m.Case(State.HEADER), m.If(header.done):
                m.d.sync += [
                    state.eq(State.CHECK),
                    summed.eq(summed + header.regions),
                    regions_left.eq(header.regions),
                ]
            with m.Case(State.CHECK):
                begin_region(header.regions_base)
                causes = (
                    (header.bad_rom, DESCRIPTOR_ERROR_ROM),
                    (header.bad_map, DESCRIPTOR_ERROR_MAP),
                    (partial, DESCRIPTOR_ERROR_PARTIAL),
                    (misplaced, DESCRIPTOR_ERROR_SEQUENCE),
                    (summed > DESCRIPTOR_SUMMED_MAX, DESCRIPTOR_ERROR_REGIONS),
                )
                for bad, cause in reversed(causes):
                    with m.If(bad):
                        fail(cause)
            with m.Case(State.REGION):
                m.d.sync += region_step.eq(region_step + 1)
                for field in REGION_FIELDS:
                    with m.If(region_step == field.word + 1):
                        value = self.rom_data[field.lsb : field.lsb + field.width]
                        m.d.sync += region[field.name].eq(value)
                with m.If(region_step == REGION_WORDS + 1):
                    outside = (
                        (region.height == 0)
                        | (region.width == 0)
                        | (region.top + region.height > layer.height)
                        | (region.left + region.width > layer.width)
                    )
                    m.d.sync += [state.eq(State.SQUARES), region_pointer.eq(pointer)]
                    with m.If(outside):
                        fail(DESCRIPTOR_ERROR_ROM)
                    with m.Else():
                        m.d.comb += [squares.go.eq(1), reciprocal.clear.eq(1)]
            with m.Case(State.SQUARES), m.If(squares.last):
                begin_reciprocal(Pass.SUM)
            with m.Case(State.RECIPROCAL), m.If(reciprocal.done):
                m.d.comb += begins_pass.eq(1)
                m.d.sync += [mode.eq(after_reciprocal), state.eq(State.PASS)]
            with m.Case(State.PASS), m.If(vectors.done), m.Switch(mode):
                with m.Case(Pass.SUM):
                    m.d.sync += [fresh.eq(0), regions_left.eq(regions_left - 1)]
                    with m.If(regions_left != 1):
                        begin_region(region_pointer)
                    with m.Elif(~command.last_crop):
                        m.d.sync += state.eq(State.END)
                    with m.Elif(header.whitens):
                        if whitening is not None:
                            m.d.comb += [whitening.go.eq(1), vectors.unseen.eq(1)]
                            m.d.sync += [state.eq(State.WHITEN), pointer.eq(header.whitening_base)]
                    with m.Else():
                        begin_pass(Pass.COPY)
                with m.Case(Pass.COPY, Pass.TURN):
                    with m.If(~command.last_rotation):
                        m.d.sync += state.eq(State.END)
                    with m.Elif(raw):
                        begin_output()
                    with m.Else():
                        begin_pass(Pass.SQUARE_BEST)
                with m.Case(Pass.SQUARE_ROWS):
                    begin_reciprocal(Pass.TURN)
                with m.Case(Pass.SQUARE_BEST):
                    begin_reciprocal(Pass.UNIT)
                with m.Case(Pass.UNIT):
                    begin_output()
            if whitening is not None:
                with m.Case(State.WHITEN), m.If(whitening.done):
                    begin_pass(Pass.SQUARE_ROWS)
            with m.Case(State.OUTPUT), m.If(output.done):
                m.d.sync += state.eq(State.END)
            with m.Case(State.END):
                m.d.sync += [
                    state.eq(State.REST),
                    summing.eq(~command.last_crop),
                    turning.eq(Mux(command.last_crop, ~command.last_rotation, turning)),
                    begun_first.eq(command.first_rotation),
                ]
            with m.Case(State.FAIL):
                m.d.sync += [state.eq(State.REST), summing.eq(0), turning.eq(0)]
        return m
