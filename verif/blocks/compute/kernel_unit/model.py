"""Model of a kernel unit: nine taps, an adder tree, one multiplier."""

from collections.abc import Sequence

from kestrel.hw.spec.masks import DIGIT_BITS, decode_digit
from kestrel.verif.blocks.support.kernel import Kernel


class KernelUnit:
    """The unit register by register; a register that was never loaded is None.

    Digits are codes of ``digit_bits`` bits."""

    def __init__(self, digit_bits: int = DIGIT_BITS) -> None:
        self.digit_bits = digit_bits
        self.shadow: Kernel | None = None
        self.digits: tuple[int, ...] | None = None
        self.alpha: int | None = None
        self.tap_sum: int | None = None
        self.product: int | None = None

    def step(
        self, *, window: Sequence[int], load: int, kernel: Kernel, swap: int, swap_alpha: int, rst: int = 0
    ) -> dict[str, int | None]:
        """One cycle. A reset changes nothing: these are data registers."""
        del rst
        outputs = {"product": self.product}
        known = self.tap_sum is not None and self.alpha is not None
        self.product = self.tap_sum * self.alpha if known else None  # type: ignore[operator]
        self.tap_sum = (
            None
            if self.digits is None
            else sum(
                decode_digit(code, self.digit_bits) * x for code, x in zip(self.digits, window, strict=True)
            )
        )
        if swap and self.shadow is not None:
            self.digits = self.shadow.digits
        if swap_alpha and self.shadow is not None:
            self.alpha = self.shadow.alpha
        if load:
            self.shadow = kernel
        return outputs
