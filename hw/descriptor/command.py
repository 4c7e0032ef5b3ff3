"""What a frame is for the descriptor unit, and whether it may follow the frame before it."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

DESCRIPTOR_COMMAND = data.StructLayout(
    {"first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1, "output": 2}
)
"""What a frame is: the first or last crop of its rotation, and a frame of the first or last rotation.
``output`` is DESCRIPTOR_OUTPUT_BYTES, _BITS or _SUMS, the same in all frames of a descriptor."""


class Continuation:
    """What one frame leaves to the next: the crops of a rotation must follow each other, then those of the
    next rotation. A frame that begins a descriptor may come at any time."""

    def __init__(self) -> None:
        self.summing = Signal()  # more crops of the rotation are to come
        self.turning = Signal()  # more rotations are to come
        self.begun_first = Signal(reset_less=True)  # what is summed belongs to the first rotation

    def allows(self, command: data.View) -> Value:
        """Whether a frame with this command continues what there is, or begins anew."""
        return Mux(
            command.first_crop,
            command.first_rotation | (self.turning & ~self.summing),
            self.summing & (command.first_rotation == self.begun_first),
        )

    def leave(self, m: Module, command: data.View) -> None:
        """At the good end of a frame with this command."""
        m.d.sync += [
            self.summing.eq(~command.last_crop),
            self.turning.eq(Mux(command.last_crop, ~command.last_rotation, self.turning)),
            self.begun_first.eq(command.first_rotation),
        ]

    def forget(self, m: Module) -> None:
        """At a bad end: only a frame that begins a descriptor may follow."""
        m.d.sync += [self.summing.eq(0), self.turning.eq(0)]
