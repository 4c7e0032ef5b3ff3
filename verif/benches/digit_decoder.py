"""Bench of the digit decoder: every code of every width, every digit."""

import cocotb
from cocotb.triggers import Timer

from hw.spec import DIGIT_BITS, MASK_BITS, PASSES, decode_digit
from verif.cocotb_support import Scoreboard, fail
from verif.models.kernel_decoder import check_digits, mask_value

CODE_BITS = max(MASK_BITS)
MINUS_ZERO = 1 << (DIGIT_BITS - 1)


@cocotb.test()
async def every_code(dut):
    with Scoreboard[tuple[int, int, int]]("code") as board:
        for mask_bits in MASK_BITS:
            # Codes of more than mask_bits bits too: the decoder is to ignore what lies above.
            for code in range(1 << CODE_BITS):
                own = code & ((1 << mask_bits) - 1)
                value = mask_value(own, mask_bits)
                digits = []
                for digit in range(PASSES[mask_bits]):
                    dut.mask_bits.value = mask_bits
                    dut.code.value = code
                    dut.digit.value = digit
                    await Timer(1, unit="ns")
                    register = dut.value.value.to_unsigned()
                    if register == MINUS_ZERO:
                        raise fail(f"code {code:#x} of {mask_bits} bits, digit {digit}: minus zero")
                    digits.append(decode_digit(register))
                if complaint := check_digits(value, mask_bits, digits):
                    raise fail(f"code {code:#x} of {mask_bits} bits: {complaint}")
                board.expect([(mask_bits, code, value)])
                board.receive((mask_bits, code, sum(digit << p for p, digit in enumerate(digits))))
    assert board.checked == len(MASK_BITS) << CODE_BITS
