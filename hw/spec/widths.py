"""Widths of pixels, activations, scalars, biases and shifts, and the layout of the weight stream."""

from math import ceil, log2

TAPS = 9
"""Taps of a kernel, 3x3, numbered row by row from the top left."""

CENTRE = TAPS // 2
"""The tap in the middle, which is all that a 1x1 kernel has."""

BYTE = 8
"""Bits of a byte."""

PIXEL_BITS = 8
"""Width of a pixel's channel in the image stream."""
ACTIVATION_BITS_MIN = 4
ACTIVATION_BITS_MAX = 8

SCALAR_BITS = 8
"""The unsigned scalar alpha of a kernel."""

SCALAR_MAX = (1 << SCALAR_BITS) - 1

SCALAR_WIDTHS = (8, 4, 3, 2)
"""The bits q in which a layer may store the scalar of a kernel. With 8 it is the scalar itself, with fewer
the number of an entry in the layer's *table* of 2**q scalars."""

BIAS_BITS = 12
"""Width of a bias, which is signed."""
BIAS_MIN = -(1 << (BIAS_BITS - 1))
BIAS_MAX = (1 << (BIAS_BITS - 1)) - 1

BIAS_FRACTION = 3
"""Fraction bits F of a bias below the output's unit: a bias counts in steps of 2**-F output units."""

SHIFT_BITS = 4
"""Width of a layer's shift s, from SHIFT_MIN to SHIFT_MAX."""
SHIFT_MIN = BIAS_FRACTION
SHIFT_MAX = (1 << SHIFT_BITS) - 1

ACCUMULATOR_BITS = 32
"""Width of an accumulator, which is signed."""
ACCUMULATOR_MIN = -(1 << (ACCUMULATOR_BITS - 1))
ACCUMULATOR_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1

# --------------------------------------------------------------------------------------------------------
# Weight stream
#
# A layer is a sequence of tiles: for each output group (P_o channels), for each input group (P_i channels).
# A tile is, least significant bit first and without gaps:
#   tables       2**q x 8 bits         only in a layer's first tile, if its scalars have q < 8 bits
#   pad values   n_in x 8 bits         only in a layer with has_pad
#   kernels      n_out x n_in, output channel outermost: alpha (8 bits), then nine mask codes of b bits, or,
#                where the kernels are 1x1, one sign
#   biases       n_out x 12 bits       only in the last input group's tile
# and is then filled with zeros to a whole ROM word. n_in and n_out count the channels that exist.
#
# In a layer with a shortcut the tiles of the shortcut come before those of the convolution in every output
# group, and have neither pad values nor biases. A projection has a tile for each input group of its map. An
# identity has *diagonal* tiles, with one kernel for each output channel; one tile for an output group, or,
# where P_i < P_o, one for each P_i of its channels.
#
# For an engine with scalar_tables the kernels of an output channel come in blocks of load_kernels, the last
# one smaller: first the masks of all kernels of the block, then their scalars, q bits each. Of a diagonal
# tile each kernel is a block. A layer with a shortcut has the shortcut's table first, then its own.
# --------------------------------------------------------------------------------------------------------

PAD_BITS = PIXEL_BITS
"""Width of a pad value in the weight stream."""


def kernel_bits(mask_bits: int, scalar_bits: int = SCALAR_BITS) -> int:
    """Bits of one 3x3 kernel as it is stored: its scalar, in ``scalar_bits``, and nine mask codes."""
    return scalar_bits + TAPS * mask_bits


def centre_kernel_bits(scalar_bits: int = SCALAR_BITS) -> int:
    """Bits of a 1x1 kernel as it is stored: its scalar, in ``scalar_bits``, and a sign."""
    return scalar_bits + 1


def table_entries(scalar_bits: int) -> int:
    """Entries of the table among which scalars of so many bits choose; 0 where they need none."""
    return 0 if scalar_bits == SCALAR_BITS else 1 << scalar_bits


TABLE_ENTRIES_MAX = max(table_entries(bits) for bits in SCALAR_WIDTHS)
"""Entries of the largest table."""


def scalar_table_bits(scalar_bits: int) -> int:
    """Bits of a table of scalars as it is stored."""
    return table_entries(scalar_bits) * SCALAR_BITS

SHORTCUT_SHIFT_MAX = 4
"""The largest shift of a shortcut's products: two places in the kernel unit, where its tap is +-1, +-2 or
+-4, and two in the accumulator."""


def tile_bits(
    n_in: int,
    n_out: int,
    mask_bits: int,
    has_pad: bool,
    has_bias: bool,
    *,
    centre: bool = False,
    scalar_bits: int = SCALAR_BITS,
) -> int:
    """Bits of a tile of ``n_in`` x ``n_out`` kernels (1x1 if ``centre``) without tables, before it is filled
    up to a whole ROM word."""
    kernel = centre_kernel_bits(scalar_bits) if centre else kernel_bits(mask_bits, scalar_bits)
    return n_in * PAD_BITS * has_pad + n_in * n_out * kernel + n_out * BIAS_BITS * has_bias


def diagonal_bits(kernels: int, scalar_bits: int = SCALAR_BITS) -> int:
    """Bits of a diagonal tile, which has one 1x1 kernel for each of its output channels, without tables."""
    return kernels * centre_kernel_bits(scalar_bits)


ROM_BITS_PER_KERNEL = 64
"""Bits of a ROM word for each kernel that is loaded in a cycle; not less than the widest kernel has (8 +
9 * 5 = 53)."""


def bits_for(maximum: int) -> int:
    """The width of an unsigned number from 0 to ``maximum``."""
    return max(1, int(maximum).bit_length())


def tree_levels(lanes: int) -> int:
    """Levels of two-input adders that add up ``lanes`` numbers."""
    return ceil(log2(lanes)) if lanes > 1 else 0
