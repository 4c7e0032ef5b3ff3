"""Model of an accumulator lane: one addition."""

from kestrel.hw.spec.widths import ACCUMULATOR_BITS, ACCUMULATOR_MIN


def wrap(value: int) -> int:
    """``value`` modulo 2**32, as a signed number."""
    return (value - ACCUMULATOR_MIN) % (1 << ACCUMULATOR_BITS) + ACCUMULATOR_MIN


class AccumulatorLane:
    """A registered sum."""

    def __init__(self) -> None:
        self.acc: int | None = None

    def step(self, *, sum: int, partial: int, fresh: int, digit: int, rst: int = 0) -> dict[str, int | None]:
        """One cycle; ``partial`` is the 32 bits as they lie in the memory."""
        del rst
        outputs = {"acc": self.acc}
        self.acc = wrap((0 if fresh else partial) + (sum << digit))
        return outputs
