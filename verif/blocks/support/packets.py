"""What the stream's sink has received, as words."""

from typing import Any

import numpy as np

from kestrel.verif.simulate.frame import words_for


def as_words(value: int, bits: int) -> list[int]:
    """A port's value as 32-bit words."""
    return [value >> (32 * n) & 0xFFFFFFFF for n in range(words_for(bits))]


def packet_words(packet: Any, lanes: int) -> list[int]:
    """A packet of cocotbext-axi's sink, of ``lanes`` bytes a beat, as ``maps_from_beats`` takes it: for each
    beat TDATA, TKEEP and TLAST. The sink ends a packet at TLAST."""
    data = np.frombuffer(bytes(packet.tdata), np.uint8).reshape(-1, lanes)
    keep = np.array(packet.tkeep, np.uint8).reshape(-1, lanes)
    rows: list[int] = []
    for n, (values, kept) in enumerate(zip(data, keep, strict=True)):
        rows += as_words(int.from_bytes(values.tobytes(), "little"), 8 * lanes)
        rows += as_words(int.from_bytes(np.packbits(kept, bitorder="little").tobytes(), "little"), lanes)
        rows.append(int(n == len(data) - 1))
    return rows
