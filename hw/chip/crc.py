"""CRC-32 of several bits a cycle, as equations (the CRC of zlib and Ethernet).

Amaranth has a CRC in ``amaranth.lib.crc``. It is not used here because the self-check (``rom_check``) is
larger with it, and slower. Measured with ``amaranth.lib.crc`` / with these equations, in NanGate45 (area in
um^2, longest path in ns, gates sized for 2.0 ns) and in an ECP5 (LUT4):

    configuration   area             path             LUT4
    nano            5,017 / 4,968    0.623 / 0.610      867 / 810
    edge            5,304 / 5,252    0.764 / 0.587    1,015 / 975
    asic            5,842 / 5,680    0.655 / 0.660    1,383 / 1,276
"""

from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat

CRC_BITS = 32
POLYNOMIAL = 0xEDB88320
"""The polynomial 0x04C11DB7 with its bits reversed, because the lowest bit of a byte goes in first."""

INITIAL = 0xFFFFFFFF
FINAL = 0xFFFFFFFF


def crc_step(state: int, value: int, bits: int) -> int:
    """The register after it has taken ``bits`` bits of ``value``, the lowest first. The result is linear over
    GF(2) in the register and in the value."""
    for n in range(bits):
        low = (state ^ value >> n) & 1
        state = state >> 1 ^ (POLYNOMIAL if low else 0)
    return state


def crc_next(state: Any, value: Any) -> Any:
    """The register after it has taken all bits of ``value``, the lowest first. Both are signals, the
    register of CRC_BITS; every bit of the result is an exclusive or of bits of both."""
    bits = len(value)
    effects = [(state[n], crc_step(1 << n, 0, bits)) for n in range(CRC_BITS)]
    effects += [(value[n], crc_step(0, 1 << n, bits)) for n in range(bits)]
    return Cat(reduce(xor, [s for s, effect in effects if effect >> n & 1]) for n in range(CRC_BITS))
