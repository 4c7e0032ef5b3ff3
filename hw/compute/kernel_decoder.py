"""From mask codes to the digits of one pass."""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from kestrel.hw.common.place import place
from kestrel.hw.common.weight_buses import kernel_layout
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.masks import MASK_MAGNITUDES, PASSES, encode_digit, mask_digits
from kestrel.hw.spec.widths import CENTRE, SCALAR_BITS, TAPS, kernel_bits


def digit_table(mask_bits: int, digit: int, digit_bits: int) -> list[int]:
    """Register code, of ``digit_bits`` bits, of digit number ``digit`` for every mask code."""
    codes = []
    for code in range(1 << mask_bits):
        negative = code >> (mask_bits - 1)
        magnitude = MASK_MAGNITUDES[mask_bits][code & ((1 << (mask_bits - 1)) - 1)]
        value = mask_digits(magnitude, PASSES[mask_bits])[digit]
        codes.append(encode_digit(-value if negative else value, digit_bits))
    return codes


class DigitDecoder(wiring.Component):
    """Decodes one tap, without registers.

    Members
    -------
    code : In(mask_bits_max)     The tap's mask code; bits beyond ``mask_bits`` are not looked at.
    mask_bits : In(3)            Bits of a mask code in this layer.
    digit : In(2)                Which digit of the code is wanted. Without masks of several digits it is not
                                 looked at.
    value : Out(digit_bits)      The digit as the weight registers hold it.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "code": In(config.mask_bits_max),
                "mask_bits": In(3),
                "digit": In(2),
                "value": Out(config.digit_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.Switch(self.mask_bits):
            for bits in self.config.mask_widths:
                several = self.config.passes_max > 1
                with m.Case(bits), m.Switch(Cat(self.code[:bits], self.digit if several else ())):
                    for digit in range(PASSES[bits]):
                        for code, value in enumerate(digit_table(bits, digit, self.config.digit_bits)):
                            with m.Case(digit << bits | code):
                                m.d.comb += self.value.eq(value)
        return m


class KernelDecoder(wiring.Component):
    """Decodes one kernel, without registers.

    Members
    -------
    code : In(kernel_bits)          The kernel as it is stored: alpha, then nine mask codes of ``mask_bits``
                                    bits. It is as wide as a kernel of the widest masks.
    mask_bits : In(3)               Bits of a mask code in this layer.
    digit : In(2)                   Which digit of the mask codes is wanted.
    kernel : Out(kernel_layout)     Alpha and the nine digits.

    With ``config.residual``:

    centre : In(1)                  The kernel is 1x1: alpha, then a sign. Its digit is that of the centre
                                    tap, the others are 0; ``mask_bits`` and ``digit`` are not looked at.
    tap : In(2)                     The digit of a 1x1 kernel is +-2**tap. As many taps count as digits have
                                    magnitudes (``digit_bits``).

    With ``config.scalar_tables`` the code has no alpha but begins with the masks, and there is:

    scalar : In(8)                  Alpha.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        centre = {"centre": In(1), "tap": In(2)} if config.residual else {}
        scalar = {"scalar": In(SCALAR_BITS)} if config.scalar_tables else {}
        self._masks = 0 if config.scalar_tables else SCALAR_BITS  # where the mask codes begin
        super().__init__(
            centre
            | scalar
            | {
                "code": In(self._masks + kernel_bits(config.mask_bits_max, 0)),
                "mask_bits": In(3),
                "digit": In(2),
                "kernel": Out(kernel_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        alpha = self.scalar if self.config.scalar_tables else self.code[:SCALAR_BITS]
        m.d.comb += self.kernel.alpha.eq(alpha)
        for tap in range(TAPS):
            decoder = DigitDecoder(self.config)
            place(m, f"tap_{tap}", decoder, clocked=False)
            m.d.comb += [
                decoder.mask_bits.eq(self.mask_bits),
                decoder.digit.eq(self.digit),
                self.kernel.digits[tap].eq(decoder.value),
            ]
            if self.config.residual:
                with m.If(self.centre):
                    m.d.comb += self.kernel.digits[tap].eq(self._centre_digit() if tap == CENTRE else 0)
            with m.Switch(self.mask_bits):
                for bits in self.config.mask_widths:
                    with m.Case(bits):
                        m.d.comb += decoder.code.eq(self.code[self._masks + tap * bits :][:bits])
        return m

    def _centre_digit(self) -> Value:
        """The register code of +-2**tap (``encode_digit``): the magnitude's index, and the sign above it."""
        index = self.tap + 1  # magnitude number 0 is 0
        return Cat(index[: self.config.digit_bits - 1], self.code[self._masks])
