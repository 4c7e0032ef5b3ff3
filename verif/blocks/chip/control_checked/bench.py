"""Bench of the control of a chip that checks its ROMs after every reset: that of ``control``."""

from kestrel.verif.blocks.chip.control.bench import (
    any_course,
    every_bit_of_a_size_and_every_error,
    every_cause_at_every_moment,
    every_command_in_every_state,
    frames_and_checks,
)

__all__ = [
    "any_course", "every_bit_of_a_size_and_every_error", "every_cause_at_every_moment",
    "every_command_in_every_state", "frames_and_checks",
]  # fmt: skip
