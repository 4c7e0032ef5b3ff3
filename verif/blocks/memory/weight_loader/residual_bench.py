"""Bench of the weight loader of an engine for residual networks: tiles of all kinds in any order."""

from dataclasses import replace
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.masks import MASK_MAGNITUDES, PASSES, decode_mask
from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN, PAD_BITS, SCALAR_BITS, TAPS, diagonal_bits, tile_bits
from kestrel.verif.blocks.memory.weight_loader.loader import CONFIG, P_I, P_O, K, Load, Loader
from kestrel.verif.blocks.support.simulator import Scoreboard, rng, start

BIAS_WIDTH = 12
TAPS_MAX = MASK_MAGNITUDES[CONFIG.digit_bits][-1].bit_length() - 1
SINGLE = [bits for bits in CONFIG.mask_widths if PASSES[bits] == 1]
NO_KERNEL = (0, [0] * TAPS)


class Stream:
    """The weight stream: tiles, each filled up to a whole ROM word."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.words: list[int] = []
        self._bits: list[tuple[int, int]] = []

    def put(self, value: int, width: int) -> int:
        """Appends a value to the tile; returns it."""
        self._bits.append((value & (1 << width) - 1, width))
        return value

    def centre_kernel(self, tap: int) -> tuple[int, list[int]]:
        """Appends a 1x1 kernel; returns its scalar and its digits."""
        alpha, sign = self.source.getrandbits(SCALAR_BITS), self.source.getrandbits(1)
        self.put(alpha, SCALAR_BITS)
        self.put(sign, 1)
        digits = [0] * TAPS
        digits[TAPS // 2] = (1 - 2 * sign) << tap
        return alpha, digits

    def full_kernel(self, mask_bits: int) -> tuple[int, list[int]]:
        """The same of a 3x3 kernel that takes one pass."""
        alpha = self.put(self.source.getrandbits(SCALAR_BITS), SCALAR_BITS)
        codes = [self.put(self.source.getrandbits(mask_bits), mask_bits) for _ in range(TAPS)]
        return alpha, [decode_mask(code, mask_bits) for code in codes]

    def end_tile(self, bits: int) -> int:
        """Closes the tile, which must have so many bits; returns its first word."""
        first, word, filled = len(self.words), 0, 0
        for value, width in self._bits:
            word |= value << filled
            filled += width
        assert filled == bits
        self._bits.clear()
        for _ in range(-(-bits // CONFIG.rom_word_bits)):
            self.words.append(word & (1 << CONFIG.rom_word_bits) - 1)
            word >>= CONFIG.rom_word_bits
        return first


def diagonal(stream: Stream, source: Random) -> Load:
    """A diagonal tile anywhere in the array."""
    count = source.choice((1, min(P_I, P_O), source.randint(1, min(P_I, P_O))))
    first_out = source.choice((0, P_O - count, source.randint(0, P_O - count)))
    first_in = source.choice((0, P_I - count, source.randint(0, P_I - count)))
    tap = source.randint(0, TAPS_MAX)
    kernels = {(o, i): NO_KERNEL for o in range(P_O) for i in range(P_I)}
    kernels |= {(first_out + n, first_in + n): stream.centre_kernel(tap) for n in range(count)}
    base = stream.end_tile(diagonal_bits(count))
    tile = diagonal_inputs(source, count, tap, first_out, first_in)
    return Load(tile, base, 1 + count, 0, kernels, {}, {})


def diagonal_inputs(source: Random, count: int, tap: int, first_out: int, first_in: int) -> dict[str, int]:
    """What the loader is told of a diagonal tile; what does not count is drawn."""
    return {
        "mask_bits": source.choice(CONFIG.mask_widths), "digit": source.randrange(4), "has_pad": 0,
        "has_bias": 0, "in_lanes": source.randint(1, P_I), "out_lanes": count,
        "centre": source.randrange(2), "tap": tap, "diagonal": 1, "first_out": first_out,
        "first_in": first_in,
    }  # fmt: skip


def rectangular_inputs(
    source: Random, lanes: tuple[int, int], mask_bits: int, *, has_pad: bool, has_bias: bool, centre: bool,
    tap: int,
) -> dict[str, int]:  # fmt: skip
    """The same of a tile of kernels between all its channels. Of a 1x1 kernel neither the mask's bits nor the
    pass count; the lanes of a diagonal never do."""
    n_in, n_out = lanes
    tile = {
        "mask_bits": source.choice(CONFIG.mask_widths) if centre else mask_bits,
        "digit": source.randrange(4) if centre else 0, "has_pad": int(has_pad), "has_bias": int(has_bias),
        "in_lanes": n_in, "out_lanes": n_out,
    }  # fmt: skip
    if CONFIG.residual:
        tile |= {"centre": int(centre), "tap": tap, "diagonal": 0, "first_out": source.randrange(P_O),
                 "first_in": source.randrange(P_I)}  # fmt: skip
    return tile


def rectangular(stream: Stream, source: Random, centre: bool) -> Load:
    """A tile of kernels between all its channels, 1x1 or 3x3 ones."""
    n_in, n_out = (source.choice((1, lanes, source.randint(1, lanes))) for lanes in (P_I, P_O))
    has_pad, has_bias = source.random() < 0.3, source.random() < 0.5
    mask_bits, tap = source.choice(SINGLE), source.randint(0, TAPS_MAX)
    pads = {i: stream.put(source.getrandbits(PAD_BITS), PAD_BITS) for i in range(n_in if has_pad else 0)}
    kernels = {
        (o, i): stream.centre_kernel(tap) if centre else stream.full_kernel(mask_bits)
        for o in range(n_out)
        for i in range(n_in)
    }
    biases = {
        o: stream.put(source.randint(BIAS_MIN, BIAS_MAX), BIAS_WIDTH) for o in range(n_out if has_bias else 0)
    }
    base = stream.end_tile(tile_bits(n_in, n_out, mask_bits, has_pad, has_bias, centre=centre))
    tile = rectangular_inputs(
        source, (n_in, n_out), mask_bits, has_pad=has_pad, has_bias=has_bias, centre=centre, tap=tap
    )
    blocks = -(-n_in // K)
    return Load(
        tile, base, blocks * (n_out + has_pad), -(-n_out // K) if has_bias else 0, kernels, biases, pads
    )


def any_tile(stream: Stream, source: Random) -> Load:
    kind = source.choice(("diagonal", "centre", "full"))
    return diagonal(stream, source) if kind == "diagonal" else rectangular(stream, source, kind == "centre")


@cocotb.test()
async def tiles_of_all_kinds(dut):
    """In the order of the stream, and from any word on."""
    source = rng("kinds")
    loader = Loader(dut)
    await start(dut)
    with Scoreboard[Any]("registers") as board:
        for _ in range(6):
            stream = Stream(source)
            work = [any_tile(stream, source) for _ in range(20)]
            loader.rom = stream.words
            for number, tile in enumerate(work):
                if number and source.random() < 0.8:
                    load = replace(tile, base=None)
                else:  # another one comes before it
                    load = tile
                    await loader.load(source.choice(work), board, source, source.choice((None, 0, 2)))
                await loader.load(load, board, source, source.choice((None, 0, source.randint(0, 3))))
