"""Bench of the weight loader: tiles of networks of every mask width, read from a model of the ROM."""

from random import Random
from typing import Any

import cocotb
import numpy as np

from kestrel.export.weight_rom import encode_weights
from kestrel.hw.spec.masks import DIGIT_MAGNITUDES, PASSES, decode_digit, mask_digits
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.geometry import bias_beats, tile_words, tiles, weight_beats
from kestrel.sw.planning.plan import plan_layers
from kestrel.verif.blocks.memory.weight_loader.loader import CONFIG, P_I, P_O, Load, Loader
from kestrel.verif.blocks.support.simulator import Scoreboard, reset, rng, start
from kestrel.verif.cases.random_network import random_network, stack


def loads(network: CompressedNetwork) -> list[Load]:
    """Every tile of the network, with each of its digits, in the order of the stream."""
    found: list[Load] = []
    base = 0
    for layer, outline in zip(network.layers, plan_layers(network), strict=True):
        passes = PASSES[layer.mask_bits]
        groups = -(-layer.shape.in_channels // P_I)
        new_layer = True
        for n, tile in enumerate(tiles(outline, CONFIG)):
            o0, i0 = n // groups * P_O, n % groups * P_I
            for digit in range(passes):
                kernels = {
                    (o, i): (
                        int(layer.alpha[o0 + o, i0 + i]),
                        [_digit(int(tap), layer.mask_bits, digit) for tap in layer.mask[o0 + o, i0 + i].flat],
                    )
                    for o in range(tile.n_out)
                    for i in range(tile.n_in)
                }
                inputs = {
                    "mask_bits": layer.mask_bits, "digit": digit, "has_pad": int(outline.has_pad),
                    "has_bias": int(tile.last_in), "in_lanes": tile.n_in, "out_lanes": tile.n_out,
                    **({"scalar_bits": layer.scalar_bits} if CONFIG.scalar_tables else {}),
                }  # fmt: skip
                found.append(
                    Load(
                        inputs, base if new_layer else None,
                        weight_beats(tile, outline, CONFIG), bias_beats(tile, CONFIG), kernels,
                        {o: int(layer.bias[o0 + o]) for o in range(tile.n_out)} if tile.last_in else {},
                        {i: int(network.pad[i0 + i]) for i in range(tile.n_in)} if outline.has_pad else {},
                        rewind=digit > 0,
                    )
                )  # fmt: skip
                new_layer = False
            base += tile_words(tile, outline, CONFIG)
    return found


def _digit(tap: int, mask_bits: int, digit: int) -> int:
    if PASSES[mask_bits] == 1:
        assert abs(tap) in DIGIT_MAGNITUDES
        return tap
    form = mask_digits(abs(tap), PASSES[mask_bits])[digit]
    return -form if tap < 0 else form


def store(loader: Loader, source: Random, mask_bits: int) -> list[Load]:
    """A new network in the loader's ROM; returns its loads."""
    channels = [source.randint(1, 2 * max(P_I, P_O) + 1) for _ in range(3)]
    pad = None if source.random() < 0.7 else [0] * channels[0]
    widths = (mask_bits, source.choice(CONFIG.mask_widths))
    draw = np.random.default_rng(source.getrandbits(32))
    network = random_network(draw, stack(channels), widths, pad=pad, tables=CONFIG.scalar_tables)
    loader.rom = encode_weights(network, CONFIG).words.to_ints()
    return loads(network)


@cocotb.test()
async def tiles_in_the_order_of_the_stream(dut):
    source = rng("tiles")
    loader = Loader(dut)
    await start(dut)
    with Scoreboard[Any]("registers") as board:
        for mask_bits in CONFIG.mask_widths * 2:
            for load in store(loader, source, mask_bits):
                await loader.load(load, board, source, source.choice((None, 0, source.randint(0, 3))))


@cocotb.test()
async def resets_and_clears_in_the_middle(dut):
    source = rng("resets")
    loader = Loader(dut)
    await start(dut)
    with Scoreboard[Any]("registers") as board:
        for mask_bits in CONFIG.mask_widths * 3:
            work = store(loader, source, mask_bits)
            await loader.cycle(start=1, rebase=1, base=0)
            for _ in range(source.randrange(12)):
                await loader.cycle(mask_bits=mask_bits, in_lanes=P_I, out_lanes=P_O)
            loader.block.drive(loader.quiet)
            await reset(dut, 2)
            await loader.cycle(clear=1)
            for _ in range(3):
                await loader.cycle()
            zero = {key: (0, [decode_digit(0, CONFIG.digit_bits)] * TAPS) for key in loader.kernels}
            board.expect([zero])
            board.receive(dict(loader.kernels))
            for load in work[:3]:
                await loader.load(load, board, source, None)
