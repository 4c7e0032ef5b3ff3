"""CRC-32 of several bits a cycle, as equations (the CRC of zlib and Ethernet)."""

from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat

CRC_BITS = 32
POLYNOMIAL = 0xEDB88320
"""0x04C11DB7, its bits reversed: the bits of a byte go in from the lowest on."""

INITIAL = 0xFFFFFFFF
FINAL = 0xFFFFFFFF


def crc_step(state: int, value: int, bits: int) -> int:
    """The register after ``bits`` bits of ``value``, the lowest first. Linear over GF(2) in both."""
    for n in range(bits):
        low = (state ^ value >> n) & 1
        state = state >> 1 ^ (POLYNOMIAL if low else 0)
    return state


def crc_next(state: Any, value: Any) -> Any:
    """The same for signals: every bit an exclusive or."""
    bits = len(value)
    effects = [(state[n], crc_step(1 << n, 0, bits)) for n in range(CRC_BITS)]
    effects += [(value[n], crc_step(0, 1 << n, bits)) for n in range(bits)]
    return Cat(reduce(xor, [s for s, effect in effects if effect >> n & 1]) for n in range(CRC_BITS))
