"""What the descriptor unit does with a whole vector at once: the passes over its vectors."""

from dataclasses import dataclass
from enum import IntEnum


class Pass(IntEnum):
    """What a pass over a vector does; u(x) is the root of x * R >> 16, with the sign of x."""

    SUM = 0  # sums = (fresh ? 0 : sums) + u(squares)
    COPY = 1  # best = fresh ? sums : max(best, sums)
    TURN = 2  # best = fresh ? u(squares) : max(best, u(squares))
    SQUARE_ROWS = 3  # squares = squares ** 2, 16 bits of them
    SQUARE_BEST = 4  # squares = best ** 2, 16 bits of them
    UNIT = 5  # sums = u(squares)


@dataclass(frozen=True)
class PassKind:
    """What distinguishes the passes in the datapath. The block holds the running pass's in registers, because
    the multiplier waits for them."""

    copies: bool = False  # the new element is that of ``sums``: neither multiplied nor rooted
    squares_it: bool = False  # the new element is the square of the old one
    to_best: bool = False  # the new element is compared with that of ``best`` and written there
    to_sums: bool = False  # the new element is written to ``sums``
    reads_best: bool = False  # the old element is that of ``best``, not of ``squares``
    accumulates: bool = False  # the new element is added to that of ``sums``


PASS_KINDS: dict[Pass, PassKind] = {
    Pass.SUM: PassKind(to_sums=True, accumulates=True),
    Pass.COPY: PassKind(copies=True, to_best=True),
    Pass.TURN: PassKind(to_best=True),
    Pass.SQUARE_ROWS: PassKind(squares_it=True),
    Pass.SQUARE_BEST: PassKind(squares_it=True, reads_best=True),
    Pass.UNIT: PassKind(to_sums=True),
}
