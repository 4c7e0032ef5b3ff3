"""FPGAs: what they hold, and how many of their block RAMs a memory takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.memories import Memory

Shapes = tuple[tuple[int, int], ...]

SHAPES_18K: Shapes = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""Words and bits of a word that a block RAM of 18 kbit can have, in ECP5 (DP16KD). The last has one port that
reads and one that writes."""

SHAPES_4K: Shapes = ((2048, 2), (1024, 4), (512, 8), (256, 16))
"""The same for the block RAM of iCE40."""

DISTRIBUTED_WORDS, DISTRIBUTED_BITS = 16, 4
DISTRIBUTED_LUTS = 6
"""A cell of distributed memory of ECP5 (TRELLIS_DPR16X4): words, bits, and the look-up tables it takes."""

DISTRIBUTED_PER_BLOCK = 16
"""So many of them or fewer are preferred to a block RAM, as yosys decides for memories of two ports."""


@dataclass(frozen=True)
class Device:
    """An FPGA. ``lut4``: look-up tables of four inputs; a carry cell takes the place of two. ``blocks`` block
    RAMs of the shapes ``shapes``; ``dsp`` multipliers of at least 16 x 16 bits. ``single_blocks``: besides
    them, memories of one port, 16,384 words of 16 bits. ``distributed``: look-up tables may be memory."""

    name: str
    part: str
    lut4: int
    flip_flops: int
    dsp: int
    blocks: int
    shapes: Shapes
    block_kbit: int
    single_blocks: int = 0
    distributed: bool = True


DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("ecp5-25", "LFE5U-25F", 24_288, 24_288, 28, 56, SHAPES_18K, 18),
        Device("ecp5-45", "LFE5U-45F", 43_848, 43_848, 72, 108, SHAPES_18K, 18),
        Device("ecp5-85", "LFE5U-85F", 83_640, 83_640, 156, 208, SHAPES_18K, 18),
        Device("ice40-up5k", "iCE40UP5K", 5_280, 5_280, 8, 30, SHAPES_4K, 4,
               single_blocks=4, distributed=False),
    )
}
"""The devices by name, with the resources that their data sheets and nextpnr's device tables give."""

SINGLE_WORDS, SINGLE_BITS = 16_384, 16


def find_device(name: str) -> Device:
    """Raises InputError for an unknown name."""
    if name not in DEVICES:
        raise InputError(f"device {name!r} is not known; allowed: {', '.join(DEVICES)}")
    return DEVICES[name]


@dataclass(frozen=True)
class Placed:
    """What all instances of a memory take: ``blocks`` block RAMs, or ``luts`` look-up tables, or
    ``single_blocks`` memories of one port."""

    blocks: int = 0
    luts: int = 0
    single_blocks: int = 0


def place(memory: Memory, device: Device) -> Placed:
    """What a memory takes, at least: every column of a word may have the shape that suits it.

    This is how yosys divides a word too; ``docs/estimate.md`` has its counts beside these.
    """
    if device.single_blocks and memory.kind == "single":
        each = -(-memory.words // SINGLE_WORDS) * -(-memory.word_bits // SINGLE_BITS)
        return Placed(single_blocks=memory.instances * each)
    blocks = _blocks(memory, device.shapes)
    cells = -(-memory.words // DISTRIBUTED_WORDS) * -(-memory.word_bits // DISTRIBUTED_BITS)
    if device.distributed and memory.kind == "dual" and cells <= DISTRIBUTED_PER_BLOCK * blocks:
        return Placed(luts=memory.instances * cells * DISTRIBUTED_LUTS)
    return Placed(blocks=memory.instances * blocks)


ENABLE_BITS = 9
"""Bits of a word of a block RAM that share a write enable, where words have several."""


def _blocks(memory: Memory, shapes: Shapes) -> int:
    """The fewest blocks of one instance."""
    lane_bits = memory.word_bits // memory.lanes
    if memory.lanes == 1 or lane_bits > ENABLE_BITS:
        return memory.lanes * _columns(memory.words, lane_bits, shapes)
    # A block holds several lanes of one word only where it has an enable for each.
    together = tuple((depth, wide // ENABLE_BITS) for depth, wide in shapes if wide >= ENABLE_BITS)
    alone = _columns(memory.words, lane_bits, shapes)
    return min(memory.lanes * alone, _columns(memory.words, memory.lanes, together) if together else 1 << 30)


@cache
def _columns(words: int, bits: int, shapes: Shapes) -> int:
    """The fewest blocks for a word of so many bits: columns of the widths that the shapes offer."""
    fewest = [0] * (bits + 1)
    for width in range(1, bits + 1):
        fewest[width] = min(
            -(-words // depth) + fewest[max(0, width - wide)] for depth, wide in shapes
        )
    return fewest[bits]
