"""What the decoders must satisfy: digits that add up to the tap, as few of them as possible."""

from functools import cache
from itertools import product

from kestrel.hw.spec.masks import DIGIT_MAGNITUDES, MASK_MAGNITUDES, PASSES
from kestrel.hw.spec.widths import SCALAR_BITS, SCALAR_MAX, TAPS


def mask_value(code: int, mask_bits: int) -> int:
    """The tap's value. Sign and magnitude; with one bit the code is the sign; minus zero is 0."""
    sign, magnitude = divmod(code, 1 << (mask_bits - 1))
    return MASK_MAGNITUDES[mask_bits][magnitude] * (1 - 2 * sign)


def split_kernel(code: int, mask_bits: int) -> tuple[int, list[int]]:
    """Scalar and tap values of a kernel as it is stored."""
    alpha, code = code & SCALAR_MAX, code >> SCALAR_BITS
    below = (1 << mask_bits) - 1
    return alpha, [mask_value(code >> tap * mask_bits & below, mask_bits) for tap in range(TAPS)]


def centre_kernel(code: int, tap: int) -> tuple[int, list[int]]:
    """Scalar and digits of a 1x1 kernel as it is stored: nothing but +-2**tap in the middle."""
    digits = [0] * TAPS
    digits[4] = -(1 << tap) if code >> SCALAR_BITS & 1 else 1 << tap
    return code & SCALAR_MAX, digits


@cache
def fewest_digits(magnitude: int, passes: int) -> int:
    """The least number of digits other than 0 that add up to ``magnitude``, found by trying all."""
    values = sorted({sign * m for m in DIGIT_MAGNITUDES for sign in (1, -1)})
    return min(
        sum(digit != 0 for digit in digits)
        for digits in product(values, repeat=passes)
        if sum(digit * 2**p for p, digit in enumerate(digits)) == magnitude
    )


def check_digits(value: int, mask_bits: int, digits: list[int]) -> str:
    """What is wrong with the digits of a tap of this value, or nothing."""
    if len(digits) != PASSES[mask_bits]:
        return f"{len(digits)} digits for {mask_bits} mask bits"
    total = sum(digit * 2**p for p, digit in enumerate(digits))
    if total != value:
        return f"digits {digits} make {total}, not {value}"
    used = sum(digit != 0 for digit in digits)
    if used != fewest_digits(abs(value), len(digits)):
        return f"digits {digits} of {value} are more than needed"
    return ""
