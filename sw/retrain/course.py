"""What changes in the course of training: the rate, and how many bits masks have."""

import math
from collections.abc import Callable, Sequence

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS

STEP_AT = (0.5, 0.75)
STEP_FACTOR = 0.1

RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * min(done, 1.0))) / 2,
    "step": lambda done: STEP_FACTOR ** sum(done >= at for at in STEP_AT),
}
"""Factor on the rate by the share of the steps done. ``step``: a tenth after half, a hundredth after three
quarters."""

GRADUAL = ("none", "bits", "layers")
GRADUAL_SHARE = 0.5
"""Share of the steps after which every layer has its own width."""


def rate_factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Factor on the rate in step 0..steps - 1: rises in a line over ``warmup`` steps, then as scheduled."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return RATES[schedule]((step - warmup) / max(1, steps - warmup))


def check_schedule(schedule: str, gradual: str) -> None:
    """Raises InputError for unknown names."""
    if schedule not in RATES:
        raise InputError(f"schedule {schedule!r}; allowed: {', '.join(RATES)}")
    if gradual not in GRADUAL:
        raise InputError(f"gradual {gradual!r}; allowed: {', '.join(GRADUAL)}")


def mask_bits_at(gradual: str, target: Sequence[int], step: int, steps: int) -> tuple[int, ...]:
    """Mask bits of every layer in a step.

    ``bits``: all layers start at the most bits and lose one at a time; ``layers``: all start there and reach
    their own width one after the other, the first layer first. Equal periods, done after GRADUAL_SHARE.
    """
    most, span = MASK_BITS[-1], GRADUAL_SHARE * steps
    if gradual == "none" or step >= span:
        return tuple(target)
    if gradual == "bits":
        periods = most - min(target)
        now = most - int(step / span * (periods + 1)) if periods else most
        return tuple(max(bits, now) for bits in target)
    reached = int(step / span * len(target))
    return tuple(bits if n < reached else most for n, bits in enumerate(target))
