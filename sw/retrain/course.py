"""What changes during training: the learning rate, and the number of mask bits."""

import math
from collections.abc import Callable, Sequence

from kestrel.hw.spec.errors import InputError

STEP_AT = (0.5, 0.75)
STEP_FACTOR = 0.1

RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * min(done, 1.0))) / 2,
    "step": lambda done: STEP_FACTOR ** sum(done >= at for at in STEP_AT),
}
"""The factor on the rate as a function of the share of steps done. ``step`` means a tenth after half of the
steps and a hundredth after three quarters."""

GRADUAL = ("none", "bits", "layers")
GRADUAL_SHARE = 0.5
"""The share of the steps after which every layer has its own mask width."""


def rate_factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Factor on the rate in step 0..steps - 1: it rises linearly over ``warmup`` steps, then as scheduled."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return RATES[schedule]((step - warmup) / max(1, steps - warmup))


def check_schedule(schedule: str, gradual: str) -> None:
    """Raises InputError for a name that is not known."""
    if schedule not in RATES:
        raise InputError(f"schedule {schedule!r}; allowed: {', '.join(RATES)}")
    if gradual not in GRADUAL:
        raise InputError(f"gradual {gradual!r}; allowed: {', '.join(GRADUAL)}")


def mask_bits_at(
    gradual: str, target: Sequence[int], step: int, steps: int, most: Sequence[int]
) -> tuple[int, ...]:
    """The mask bits of every layer in a step. ``most`` are the widest that each can have.

    With ``bits``, all layers start at the most bits and lose one bit at a time. With ``layers``, all layers
    start there too and reach their own widths one after the other, the first layer first. The periods are
    equal, and every layer has its own width after GRADUAL_SHARE of the steps.
    """
    span = GRADUAL_SHARE * steps
    if gradual == "none" or step >= span:
        return tuple(target)
    if gradual == "bits":
        periods = max(top - bits for top, bits in zip(most, target, strict=True))
        now = max(most) - int(step / span * (periods + 1)) if periods else max(most)
        return tuple(max(bits, min(now, top)) for top, bits in zip(most, target, strict=True))
    reached = int(step / span * len(target))
    return tuple(
        bits if n < reached else top for n, (top, bits) in enumerate(zip(most, target, strict=True))
    )
