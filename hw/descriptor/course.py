"""The course of a frame through the descriptor unit: its control, state by state.

Which state takes how many cycles is written in ``kestrel.hw.descriptor.unit``.
"""

from amaranth.hdl import Array, Const, Module, Signal, Value
from amaranth.lib import wiring

from kestrel.hw.descriptor.command import DESCRIPTOR_COMMAND, Continuation
from kestrel.hw.descriptor.parts import Parts
from kestrel.hw.descriptor.passes import Pass
from kestrel.hw.descriptor.squares import REGION
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_ERROR_MAP,
    DESCRIPTOR_ERROR_PARTIAL,
    DESCRIPTOR_ERROR_REGIONS,
    DESCRIPTOR_ERROR_ROM,
    DESCRIPTOR_ERROR_SEQUENCE,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_REGIONS_MAX,
    DESCRIPTOR_SUMMED_MAX,
    REGION_FIELDS,
    REGION_WORDS,
)


class Course:
    """Registers of the frame that runs, and the states that use them.

    ``unit`` is the component whose ports the states read and drive: ``go``, ``visit``, ``layer``,
    ``command``, ``active``, ``ending``, ``error`` and the ports of the descriptor ROM; and its ``config`` and
    ``descriptor``.
    """

    def __init__(self, unit: wiring.Component, parts: Parts) -> None:
        self.unit = unit
        self.parts = parts
        self.maps = maps = unit.descriptor.maps
        self.continuation = Continuation()
        # Of the frame. In a unit for several maps: the number of the next one, and the address of its header.
        self.map = Signal(range(maps), name="map") if maps > 1 else None
        self.base = Signal.like(unit.rom_addr, name="header_base") if maps > 1 else None
        self.command = Signal(DESCRIPTOR_COMMAND, reset_less=True)
        self.raw = self.command.output == DESCRIPTOR_OUTPUT_SUMS
        self.partial = Signal(reset_less=True)  # the visit is not the whole map
        self.misplaced = Signal(reset_less=True)  # the command continues nothing
        self.first_bank = Signal(2, reset_less=True)  # where row 0 of the map lies
        self.first_slot = Signal.like(unit.address, reset_less=True)
        self.cause = Signal.like(unit.error, reset_less=True)
        self.batch: bool = unit.config.batch
        if self.batch:
            # Rows of each image of the map, and the row in which the current one begins.
            self.image_rows = Signal.like(unit.visit.image_rows, reset_less=True)
            self.image_row = Signal.like(self.image_rows, reset_less=True)
        # Of the regions.
        self.all_summed = Array(  # of each map
            Signal(
                range(DESCRIPTOR_SUMMED_MAX + DESCRIPTOR_REGIONS_MAX + 1), reset_less=True,
                name="summed" if maps == 1 else f"summed_{number}",
            )
            for number in range(maps)
        )  # fmt: skip
        self.summed = self.all_summed[0 if self.map is None else self.map]
        self.regions_left = Signal.like(parts.header.regions, reset_less=True)
        self.region = Signal(REGION, reset_less=True)
        self.region_step = Signal(2)
        self.fresh = Signal(reset_less=True)  # the region is the first one of its sum
        # Of the descriptor ROM: one word after the other from ``pointer`` on.
        self.pointer = Signal.like(unit.rom_addr, reset_less=True)
        self.region_pointer = Signal.like(self.pointer, reset_less=True)
        self.reads_region = Signal()
        # Of the passes over the vectors.
        self.mode = Signal(Pass, reset_less=True)
        self.after_reciprocal = Signal(Pass, reset_less=True)
        self.begins_pass = Signal()
        self.sends = Signal()  # the output uses the vectors

    def add_to(self, m: Module) -> None:
        """Add the states and their registers to the unit's module."""
        unit, parts = self.unit, self.parts
        reads = parts.header.rom_en | parts.output.rom_en | self.reads_region
        if parts.whitening is not None:
            reads |= parts.whitening.rom_en
        m.d.comb += [unit.rom_addr.eq(self.pointer), unit.rom_en.eq(reads), unit.active.eq(1)]
        with m.If(unit.rom_en):
            m.d.sync += self.pointer.eq(self.pointer + 1)
        m.d.sync += parts.vectors.start.eq(self.begins_pass)
        with m.FSM():
            with m.State("REST"):
                self._rest(m)
            with m.State("HEADER"):
                self._header(m)
            with m.State("CHECK"):
                self._check(m)
            with m.State("REGION"):
                self._region(m)
            with m.State("SQUARES"), m.If(parts.squares.last):
                self._begin_reciprocal(m, Pass.SUM)
            with m.State("RECIPROCAL"), m.If(parts.reciprocal.done):
                self._begin_pass(m, self.after_reciprocal)
            with m.State("PASS"), m.If(parts.vectors.done):
                self._after_pass(m)
            if parts.whitening is not None:
                with m.State("WHITEN"), m.If(parts.whitening.done):
                    self._begin_squares(m, Pass.SQUARE_ROWS)
            with m.State("OUTPUT"):
                m.d.comb += self.sends.eq(1)
                with m.If(parts.output.done):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += unit.ending.eq(1)
                self._end(m)
                m.next = "REST"
            with m.State("FAIL"):
                m.d.comb += unit.error.eq(self.cause)
                self.continuation.forget(m)
                self._back_to_first_map(m)
                m.next = "REST"

    # --- states ------------------------------------------------------------------------------------------

    def _rest(self, m: Module) -> None:
        """Wait for a frame; take what ``go`` brings."""
        visit, new = self.unit.visit, self.unit.command
        m.d.comb += self.unit.active.eq(0)
        with m.If(self.unit.go):
            m.d.comb += self.parts.header.go.eq(1)
            misplaced = ~self.continuation.allows(new)
            if self.map is not None:
                misplaced &= self.map == 0
            m.d.sync += [
                self.pointer.eq(0 if self.base is None else self.base),
                self.command.eq(new),
                self.partial.eq((visit.first_row != 0) | (visit.rows != self.unit.layer.height)),
                self.first_bank.eq(visit.read_bank),
                self.first_slot.eq(visit.read_slot),
                self.misplaced.eq(misplaced),
                self.fresh.eq(new.first_crop),
            ]
            if self.batch:
                m.d.sync += [self.image_rows.eq(visit.image_rows), self.image_row.eq(0)]
            with m.If(new.first_crop):
                m.d.sync += self.summed.eq(0)
            m.next = "HEADER"

    def _header(self, m: Module) -> None:
        """Wait until the header has been read."""
        header = self.parts.header
        with m.If(header.done):
            self._begin_image(m)

    def _begin_image(self, m: Module) -> None:
        """On to the regions of an image, if there may be so many more."""
        header = self.parts.header
        m.d.sync += [self.summed.eq(self.summed + header.regions), self.regions_left.eq(header.regions)]
        m.next = "CHECK"

    @property
    def map_height(self) -> Value:
        """Rows of the map, or of each image in it."""
        return self.image_rows if self.batch else self.unit.layer.height

    def _check(self, m: Module) -> None:
        """Refuse a frame that cannot be described; of several causes the first one is told."""
        header = self.parts.header
        bad_rom = header.bad_rom
        if self.map is not None:
            bad_rom |= header.more & (self.map == self.maps - 1)
        causes = (
            (bad_rom, DESCRIPTOR_ERROR_ROM),
            (header.bad_map, DESCRIPTOR_ERROR_MAP),
            (self.partial, DESCRIPTOR_ERROR_PARTIAL),
            (self.misplaced, DESCRIPTOR_ERROR_SEQUENCE),
            (self.summed > DESCRIPTOR_SUMMED_MAX, DESCRIPTOR_ERROR_REGIONS),
        )
        self._begin_region(m, header.regions_base)
        for bad, cause in reversed(causes):
            with m.If(bad):
                self._fail(m, cause)

    def _region(self, m: Module) -> None:
        """Read the region's record, whose words arrive a cycle after their addresses, and check it."""
        region, step, layer = self.region, self.region_step, self.unit.layer
        m.d.comb += self.reads_region.eq(step < REGION_WORDS)
        m.d.sync += step.eq(step + 1)
        for field in REGION_FIELDS:
            with m.If(step == field.word + 1):
                value = self.unit.rom_data[field.lsb : field.lsb + field.width]
                m.d.sync += region[field.name].eq(value)
        with m.If(step == REGION_WORDS + 1):
            outside = (
                (region.height == 0)
                | (region.width == 0)
                | (region.top + region.height > self.map_height)
                | (region.left + region.width > layer.width)
            )
            m.d.sync += self.region_pointer.eq(self.pointer)
            with m.If(outside):
                self._fail(m, DESCRIPTOR_ERROR_ROM)
            with m.Else():
                m.d.comb += [self.parts.squares.go.eq(1), self.parts.reciprocal.clear.eq(1)]
                m.next = "SQUARES"

    def _after_pass(self, m: Module) -> None:
        """What follows the pass that ends, by its mode."""
        with m.Switch(self.mode):
            with m.Case(Pass.SUM):
                self._after_region(m)
            with m.Case(Pass.COPY, Pass.TURN):
                with m.If(~self.command.last_rotation):
                    m.next = "END"
                with m.Elif(self.raw):
                    self._begin_output(m)
                with m.Else():
                    self._begin_squares(m, Pass.SQUARE_BEST)
            with m.Case(Pass.SQUARE_ROWS):
                self._begin_reciprocal(m, Pass.TURN)
            with m.Case(Pass.SQUARE_BEST):
                self._begin_reciprocal(m, Pass.UNIT)
            with m.Case(Pass.UNIT):
                self._begin_output(m)

    def _after_region(self, m: Module) -> None:
        """A region has been added: the next region, or what the frame does with the sums of the crops."""
        m.d.sync += [self.fresh.eq(0), self.regions_left.eq(self.regions_left - 1)]
        following: Value = Const(0)
        if self.batch:
            following = Signal(len(self.image_row) + 1, name="next_image_row")
            m.d.comb += following.eq(self.image_row + self.image_rows)
        with m.If(self.regions_left != 1):
            self._begin_region(m, self.region_pointer)
        if self.batch:
            with m.Elif(following < self.unit.layer.height):
                m.d.sync += self.image_row.eq(following)
                self._begin_image(m)
        with m.Elif(~self.command.last_crop):
            m.next = "END"
        if self.parts.whitening is not None:
            with m.Elif(self.parts.header.whitens):
                m.d.comb += [self.parts.whitening.go.eq(1), self.parts.vectors.unseen.eq(1)]
                m.d.sync += self.pointer.eq(self.parts.header.whitening_base)
                m.next = "WHITEN"
        with m.Else():
            self._begin_pass(m, Pass.COPY)

    def _end(self, m: Module) -> None:
        """The map is done: on to the frame's next one, or the frame is."""
        if self.map is None or self.base is None:
            self.continuation.leave(m, self.command)
            return
        header = self.parts.header
        with m.If(header.more):
            m.d.sync += [self.map.eq(self.map + 1), self.base.eq(header.following)]
        with m.Else():
            self.continuation.leave(m, self.command)
            self._back_to_first_map(m)

    def _back_to_first_map(self, m: Module) -> None:
        if self.map is not None and self.base is not None:
            m.d.sync += [self.map.eq(0), self.base.eq(0)]

    # --- steps from state to state -----------------------------------------------------------------------

    def _begin_region(self, m: Module, record: Value) -> None:
        """On to the region whose record lies at this address of the ROM."""
        m.d.sync += [self.region_step.eq(0), self.pointer.eq(record)]
        m.next = "REGION"

    def _begin_pass(self, m: Module, mode: Value | Pass) -> None:
        """On to a pass over the vectors."""
        m.d.comb += self.begins_pass.eq(1)
        m.d.sync += self.mode.eq(mode)
        m.next = "PASS"

    def _begin_squares(self, m: Module, mode: Pass) -> None:
        """On to a pass that squares a vector, of which the reciprocal takes the total."""
        m.d.comb += self.parts.reciprocal.clear.eq(1)
        self._begin_pass(m, mode)

    def _begin_reciprocal(self, m: Module, following: Pass) -> None:
        """On to the reciprocal of the total, and from there to the pass that multiplies by it."""
        m.d.comb += self.parts.reciprocal.go.eq(1)
        m.d.sync += self.after_reciprocal.eq(following)
        m.next = "RECIPROCAL"

    def _begin_output(self, m: Module) -> None:
        """On to the output."""
        m.d.comb += self.parts.output.go.eq(1)
        m.d.sync += self.pointer.eq(self.parts.header.thresholds_base)
        m.next = "OUTPUT"

    def _fail(self, m: Module, cause: int) -> None:
        """On to the bad end of the frame."""
        m.d.sync += self.cause.eq(cause)
        m.next = "FAIL"
