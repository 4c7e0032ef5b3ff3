"""Mask codes: sign and magnitude, the sign in the top bit; and the digits in which the array applies them."""

MASK_BITS = (1, 2, 3, 4, 5)

MASK_MAGNITUDES: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (0, 1),
    3: (0, 1, 2, 4),
    4: tuple(range(8)),
    5: tuple(range(16)),
}
"""Magnitude of each magnitude code, by mask bits. With one bit the code is the sign alone."""

DIGIT_MAGNITUDES = (0, 1, 2, 4)
"""What one tap of the array multiplies by in one pass: a shift or nothing, and a sign."""

DIGIT_BITS = 3
"""A digit in the weight registers: sign (top bit) and the index into DIGIT_MAGNITUDES, which is the code of a
3-bit mask. Engines for 1-bit or 2-bit masks only hold digits as codes of such a mask."""

PASSES: dict[int, int] = {1: 1, 2: 1, 3: 1, 4: 2, 5: 3}
"""Passes of the array by mask bits; pass p adds its digits times 2**p."""

PASSES_MAX = max(PASSES.values())


def mask_values(mask_bits: int) -> tuple[int, ...]:
    """Every value a tap may take, ascending."""
    magnitudes = MASK_MAGNITUDES[mask_bits]
    return tuple(sorted({sign * m for m in magnitudes for sign in (1, -1)}))


def encode_mask(value: int, mask_bits: int) -> int:
    """Code of one tap; "minus zero" is never produced.

    Raises ValueError if ``value`` is not one of ``mask_values(mask_bits)``.
    """
    magnitudes = MASK_MAGNITUDES[mask_bits]
    if abs(value) not in magnitudes:
        raise ValueError(f"mask value {value} has no {mask_bits}-bit code; allowed {mask_values(mask_bits)}")
    return (int(value < 0) << (mask_bits - 1)) | magnitudes.index(abs(value))


def decode_mask(code: int, mask_bits: int) -> int:
    """Value of one tap's code; the reserved "minus zero" decodes to 0."""
    sign = code >> (mask_bits - 1)
    magnitude = MASK_MAGNITUDES[mask_bits][code & ((1 << (mask_bits - 1)) - 1)]
    return -magnitude if sign else magnitude


def mask_digits(magnitude: int, passes: int) -> tuple[int, ...]:
    """Signed digits d with sum(d[p] * 2**p) == magnitude, each of them 0, +-1, +-2 or +-4.

    Of the possible forms the one with fewest non-zero digits is taken (ties: the first found, lowest
    digits first), which keeps the array's activity low. Raises ValueError when no form exists.
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
    """Register code of a digit in ``bits`` bits: sign in the top bit, index of the magnitude below; zero is
    0. Raises ValueError if these bits have no such digit."""
    return encode_mask(digit, bits)


def decode_digit(code: int, bits: int = DIGIT_BITS) -> int:
    """Value of a digit's register code."""
    return decode_mask(code, bits)
