"""Mask codes, which are a sign (top bit) and a magnitude; and the digits in which the array applies them."""

MASK_BITS = (1, 2, 3, 4, 5)
"""The bits that a mask code may have."""

MASK_MAGNITUDES: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (0, 1),
    3: (0, 1, 2, 4),
    4: tuple(range(8)),
    5: tuple(range(16)),
}
"""The magnitude of each magnitude code, by the bits of the mask. With one bit the code is the sign alone."""

DIGIT_MAGNITUDES = (0, 1, 2, 4)
"""What one tap of the array multiplies by in one pass, but for the sign: 0 or a power of two."""

DIGIT_BITS = 3
"""Width of a digit in the weight registers: the sign in the top bit and below it the index into
DIGIT_MAGNITUDES, which together are the code of a 3-bit mask. An engine for 1-bit or 2-bit masks holds
digits as codes of such a mask."""

PASSES: dict[int, int] = {1: 1, 2: 1, 3: 1, 4: 2, 5: 3}
"""Passes of the array by the bits of the mask; pass p adds its digits times 2**p."""

PASSES_MAX = max(PASSES.values())


def mask_values(mask_bits: int) -> tuple[int, ...]:
    """Every value that a tap may have with such a mask, ascending."""
    magnitudes = MASK_MAGNITUDES[mask_bits]
    return tuple(sorted({sign * m for m in magnitudes for sign in (1, -1)}))


def encode_mask(value: int, mask_bits: int) -> int:
    """The code of one tap; "minus zero" is never produced.

    Raises ValueError if ``value`` is not one of ``mask_values(mask_bits)``.
    """
    magnitudes = MASK_MAGNITUDES[mask_bits]
    if abs(value) not in magnitudes:
        raise ValueError(f"mask value {value} has no {mask_bits}-bit code; allowed {mask_values(mask_bits)}")
    return (int(value < 0) << (mask_bits - 1)) | magnitudes.index(abs(value))


def decode_mask(code: int, mask_bits: int) -> int:
    """The value of one tap's code; the reserved "minus zero" has the value 0."""
    sign = code >> (mask_bits - 1)
    magnitude = MASK_MAGNITUDES[mask_bits][code & ((1 << (mask_bits - 1)) - 1)]
    return -magnitude if sign else magnitude


def mask_digits(magnitude: int, passes: int) -> tuple[int, ...]:
    """Signed digits d with sum(d[p] * 2**p) == magnitude, each of them 0, +-1, +-2 or +-4.

    Of the possible forms that with the fewest non-zero digits is taken (of several the first one found,
    lowest digits first), which keeps the array's activity low. Raises ValueError when there is no form.
    """
    best: tuple[int, ...] | None = None
    choices = [sign * m for m in DIGIT_MAGNITUDES for sign in (1, -1) if m or sign > 0]

    def search(prefix: tuple[int, ...], rest: int) -> None:
        nonlocal best
        if len(prefix) == passes:
            if rest == 0 and (best is None or sum(map(bool, prefix)) < sum(map(bool, best))):
                best = prefix
            return
        for digit in choices:
            search((*prefix, digit), rest - (digit << len(prefix)))

    search((), magnitude)
    if best is None:
        raise ValueError(f"magnitude {magnitude} has no form in {passes} digits")
    return best


def encode_digit(digit: int, bits: int = DIGIT_BITS) -> int:
    """The register code of a digit in ``bits`` bits: the sign in the top bit, the index of the magnitude
    below; zero is 0. Raises ValueError if a digit of so many bits cannot have this value."""
    return encode_mask(digit, bits)


def decode_digit(code: int, bits: int = DIGIT_BITS) -> int:
    """The value of a digit's register code."""
    return decode_mask(code, bits)
