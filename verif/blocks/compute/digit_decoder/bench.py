"""Bench of the digit decoder: every code of every width, every digit."""

import cocotb
from cocotb.triggers import Timer

from kestrel.hw.spec.masks import PASSES, decode_digit
from kestrel.verif.blocks.compute.kernel_decoder.model import check_digits, mask_value
from kestrel.verif.blocks.support.lockstep import bench_config
from kestrel.verif.blocks.support.simulator import Scoreboard, fail

CONFIG = bench_config()
CODE_BITS, DIGIT_BITS = CONFIG.mask_bits_max, CONFIG.digit_bits
MINUS_ZERO = 1 << (DIGIT_BITS - 1) if DIGIT_BITS > 1 else None  # a single bit has no zero


@cocotb.test()
async def every_code(dut):
    with Scoreboard[tuple[int, int, int]]("code") as board:
        for mask_bits in CONFIG.mask_widths:
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
                    register = int(dut.value.value)  # a bit has no to_unsigned
                    if register == MINUS_ZERO:
                        raise fail(f"code {code:#x} of {mask_bits} bits, digit {digit}: minus zero")
                    digits.append(decode_digit(register, DIGIT_BITS))
                if complaint := check_digits(value, mask_bits, digits):
                    raise fail(f"code {code:#x} of {mask_bits} bits: {complaint}")
                board.expect([(mask_bits, code, value)])
                board.receive((mask_bits, code, sum(digit << p for p, digit in enumerate(digits))))
    assert board.checked == len(CONFIG.mask_widths) << CODE_BITS
