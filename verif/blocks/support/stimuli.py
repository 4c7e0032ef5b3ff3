"""Random values and passes for the benches of the datapath."""

from collections.abc import Iterable, Iterator
from random import Random

from kestrel.hw.spec.engine_config import ROW_GROUPS
from kestrel.hw.spec.masks import DIGIT_BITS, MASK_MAGNITUDES, PASSES_MAX, encode_digit
from kestrel.hw.spec.widths import SCALAR_MAX, TAPS
from kestrel.verif.blocks.support.kernel import Kernel
from kestrel.verif.blocks.support.lockstep import bench_config
from kestrel.verif.blocks.support.pixel import Pixel

CONFIG = bench_config()


def between(source: Random, low: int, high: int) -> int:
    """An integer from ``low`` to ``high``, the ends more often than the rest."""
    choice = source.random()
    return low if choice < 0.1 else high if choice < 0.2 else source.randint(low, high)


def activations(source: Random, bits: int, count: int = TAPS) -> list[int]:
    """Activations of ``bits`` bits."""
    return [between(source, 0, (1 << bits) - 1) for _ in range(count)]


def windows(source: Random, bits: int, lanes: int) -> list[list[int]]:
    """A window for each input lane, at times all of them full or empty."""
    choice = source.random()
    if choice < 0.1:
        return [[((1 << bits) - 1) * (choice < 0.05)] * TAPS for _ in range(lanes)]
    return [activations(source, bits) for _ in range(lanes)]


def uniform_kernel(alpha: int, digit: int, digit_bits: int = DIGIT_BITS) -> Kernel:
    """The same digit on every tap."""
    return Kernel(alpha, (encode_digit(digit, digit_bits),) * TAPS)


def kernel(source: Random, digit_bits: int = DIGIT_BITS) -> Kernel:
    """Any kernel, minus zeros among its digits; at times one of the largest."""
    if source.random() < 0.15:
        greatest = MASK_MAGNITUDES[digit_bits][-1]
        return uniform_kernel(SCALAR_MAX, source.choice((greatest, -greatest)), digit_bits)
    return Kernel(
        between(source, 0, SCALAR_MAX), tuple(source.randrange(1 << digit_bits) for _ in range(TAPS))
    )


def strip(
    height: int, width: int, *, fresh: int = 0, emit: int = 0, digit: int = 0, last_out: int = 0,
    rows: int = ROW_GROUPS, first_row: int = 0, map_height: int | None = None,
) -> list[Pixel]:  # fmt: skip
    """The pixels of one pass over a strip, of a whole map unless its first row and the map's height say
    otherwise. Only those of an engine with row groups say ``rows``, and only those of one for residual
    networks in which row they lie."""
    count = height * width
    bottom = (map_height or first_row + height) - 1
    pixels = []
    for n in range(count):
        row = first_row + n // width
        places = {"top": int(row == 0), "bottom": int(row == bottom), "odd": row % 2}
        pixels.append(
            Pixel(
                valid=1, first=int(n == 0), last=int(n == count - 1), row_end=int(n % width == width - 1),
                fresh=fresh, emit=emit, digit=digit, last_out=last_out,
                rows=rows if CONFIG.row_groups else None, **(places if CONFIG.residual else {}),
            )
        )  # fmt: skip
    return pixels


def nothing(source: Random) -> Pixel:
    """No pixel, with anything in the other fields."""
    names = ["first", "last", "row_end", "fresh", "emit", "last_out"]
    names += ["top", "bottom", "odd"] if CONFIG.residual else []
    bits = {name: source.randrange(2) for name in names}
    rows = source.randint(0, ROW_GROUPS) if CONFIG.row_groups else None
    return Pixel(valid=0, digit=source.randrange(PASSES_MAX), rows=rows, **bits)


def with_gaps(source: Random, pixels: Iterable[Pixel], probability: float) -> Iterator[Pixel]:
    """``pixels`` with cycles without one among them."""
    for pixel in pixels:
        while source.random() < probability:
            yield nothing(source)
        yield pixel


def shapes(source: Random, max_width: int, max_pixels: int) -> Iterator[tuple[int, int]]:
    """Heights and widths of strips without end: first the smallest and the widest, then any."""
    yield from ((1, 1), (2, 1), (1, 2), (2, 2), (1, max_width), (min(2, max_pixels // max_width), max_width))
    while True:
        width = source.randint(1, max_width)
        yield source.randint(1, min(6, max_pixels // width)), width
