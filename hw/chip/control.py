"""Control of the chip: when a frame or a self-check starts, how it ends, and what is told of it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.chip.register_file import register_layout
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.registers import BY_NAME, CORE_CAUSES, REGISTER_BITS
from kestrel.hw.spec.status import ERROR_BITS

_CAUSES = [f.name for f in BY_NAME["error"].fields]
REFUSED = 1 << _CAUSES.index("write_busy")
"""In the layout of register error, which has no gaps."""


class Control(wiring.Component):
    """Whatever ends a frame other than well does so by ``core_abort``: the core is reset, the streams are
    brought to a frame's boundary, the cause is set. So a frame that follows finds the chip as after a reset.

    Members
    -------
    request : In(register control)   bits of one cycle
    continuous, image : In           registers mode and image
    core_busy, core_done, core_error : In   of the core; inconsistent, exceeded : In   of the table watch
    waiting, closing : In            of the streams; closing: something still has to go out
    check_busy, check_done, identified, image_height, image_width, good_* : In   of the self-check
    write_refused : In(1)
    core_start, core_abort, check_start, check_abort : Out, one cycle each
    busy, checking, check_good, check_bad : Out
    frames : Out(32)
    causes : Out(register error), interrupts : Out(register irq_status)   to be set in this cycle
    """

    def __init__(self, chip: ChipConfig) -> None:
        self.chip = chip
        super().__init__(
            {
                "request": In(register_layout(BY_NAME["control"])),
                "continuous": In(1),
                "image": In(register_layout(BY_NAME["image"])),
                "core_busy": In(1),
                "core_done": In(1),
                "core_error": In(ERROR_BITS),
                "inconsistent": In(1),
                "exceeded": In(1),
                "waiting": In(1),
                "closing": In(1),
                "check_busy": In(1),
                "check_done": In(1),
                "identified": In(1),
                "image_height": In(16),
                "image_width": In(16),
                "good_table": In(1),
                "good_weights": In(1),
                "good_descriptor": In(1),
                "errors": In(register_layout(BY_NAME["error"])),
                "write_refused": In(1),
                "core_start": Out(1),
                "core_abort": Out(1),
                "check_start": Out(1),
                "check_abort": Out(1),
                "busy": Out(1),
                "checking": Out(1),
                "check_good": Out(1),
                "check_bad": Out(1),
                "frames": Out(REGISTER_BITS),
                "causes": Out(register_layout(BY_NAME["error"])),
                "interrupts": Out(register_layout(BY_NAME["irq_status"])),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # --- starts --------------------------------------------------------------------------------------
        starting = Signal()  # the core becomes busy in the next cycle
        startup = Signal(init=int(self.chip.startup_check))  # the check after a reset is still to start
        checking = self.checking
        idle = Signal()
        asked = Signal()
        wrong_size = Signal()
        unchecked = Signal()
        m.d.comb += [
            self.busy.eq(self.core_busy | starting | self.closing | self.check_busy | checking | startup),
            idle.eq(~self.busy),
            asked.eq(
                idle & ~self.request.abort & ~self.request.soft_reset
                & (self.request.start | (self.continuous & self.waiting & ~self.errors.as_value().any()))
            ),
            wrong_size.eq(
                (self.image.as_value() != 0)
                & ((self.image.height != self.image_height) | (self.image.width != self.image_width))
            ),
            unchecked.eq(self.check_bad | (~self.check_good if self.chip.startup_check else 0)),
            self.causes.not_checked.eq(asked & unchecked),
            self.causes.image_size.eq(asked & wrong_size),
        ]  # fmt: skip
        m.d.sync += starting.eq(asked & ~unchecked & ~wrong_size)
        m.d.comb += self.core_start.eq(starting & ~self.core_abort)

        # --- ends ----------------------------------------------------------------------------------------
        was_busy = Signal()
        failed = Signal()  # the core gave up
        m.d.sync += was_busy.eq(self.core_busy & ~self.core_abort)
        running = self.core_busy | starting
        m.d.comb += [
            failed.eq(was_busy & ~self.core_busy & ~self.core_done),
            self.causes.aborted.eq(self.request.abort & (running | checking)),
            self.causes.table_inconsistent.eq(running & self.inconsistent),
            self.causes.memory_exceeded.eq(running & self.exceeded),
            self.core_abort.eq(
                self.request.abort
                | self.request.soft_reset
                | failed
                | (running & (self.inconsistent | self.exceeded))
            ),
            self.interrupts.done.eq(self.core_done),
        ]
        for cause in CORE_CAUSES:
            m.d.comb += self.causes[cause.name].eq(failed & (self.core_error == cause.bit))
        with m.If(self.core_done):
            m.d.sync += self.frames.eq(self.frames + 1)

        # --- self-check ----------------------------------------------------------------------------------
        m.d.comb += [
            self.check_start.eq(
                (self.request.check & idle | startup) & self.identified & ~self.request.abort
            ),
            self.check_abort.eq(self.request.abort & checking),
            self.interrupts.checked.eq(self.check_done),
            # A refused write has been told of by its answer.
            self.interrupts.error.eq((self.causes.as_value() & ~REFUSED).any()),
            self.causes.write_busy.eq(self.write_refused),
        ]
        good = self.good_table & self.good_weights & self.good_descriptor
        with m.If(self.check_start):
            m.d.sync += [checking.eq(1), startup.eq(0), self.check_good.eq(0), self.check_bad.eq(0)]
        with m.If(self.check_done):
            m.d.sync += [checking.eq(0), self.check_good.eq(good), self.check_bad.eq(~good)]
            m.d.comb += [
                self.causes.table_crc.eq(~self.good_table),
                self.causes.weights_crc.eq(~self.good_weights),
                self.causes.descriptor_crc.eq(~self.good_descriptor),
            ]
        with m.If(self.request.abort):
            m.d.sync += [checking.eq(0), startup.eq(0)]
        return m
