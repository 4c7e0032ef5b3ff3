"""Bench of the weight loader: tiles of networks of every mask width, read from a model of the ROM.

A shadow of the registers that the buses write is kept here. When a tile is ready its kernels, biases and
pad values must be there two cycles later, when the last beat has been written; and ``ready`` must come in
exactly the modelled cycle.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from kestrel.export.weight_rom import encode_weights
from kestrel.hw.spec.masks import DIGIT_MAGNITUDES, PASSES, decode_digit, mask_digits
from kestrel.hw.spec.timing import FILL_CYCLES, bias_hold_cycles
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.geometry import PlanLayer, Tile, bias_beats, tile_words, tiles, weight_beats
from kestrel.sw.planning.plan import plan_layers
from kestrel.verif.blocks.support.lockstep import Block, bench_config
from kestrel.verif.blocks.support.simulator import Scoreboard, fail, reset, rng, start
from kestrel.verif.cases.random_network import random_network, stack

CONFIG = bench_config()
P_I, P_O, K = CONFIG.input_lanes, CONFIG.output_lanes, CONFIG.load_kernels
WRITE_CYCLES = 3
"""From the cut of the last beat to the cycle in which its bus write has taken effect."""


@dataclass(frozen=True)
class Load:
    """A tile to load, and what must then be in the registers (by lane; only lanes that exist)."""

    layer: PlanLayer
    tile: Tile
    digit: int
    base: int | None
    kernels: dict[tuple[int, int], tuple[int, list[int]]]
    biases: dict[int, int]
    pads: dict[int, int]


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
                found.append(
                    Load(
                        outline, tile, digit, base if new_layer else None, kernels,
                        {o: int(layer.bias[o0 + o]) for o in range(tile.n_out)} if tile.last_in else {},
                        {i: int(network.pad[i0 + i]) for i in range(tile.n_in)} if outline.has_pad else {},
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


class Loader:
    """Drives the loader, serves its ROM, and keeps the registers behind its buses."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.block = Block(dut)
        self.rom: list[int] = []
        self.kernels: dict[tuple[int, int], tuple[int, list[int]]] = {}
        self.biases: dict[int, int] = {}
        self.pads: dict[int, int] = {}
        self.quiet = dict.fromkeys(self.block.inputs, 0)
        self.block.drive(self.quiet)

    async def cycle(self, **inputs: Any) -> bool:
        """One clock cycle with these inputs; returns ``ready`` in it."""
        block = self.block
        block.drive({"clear": 0, "start": 0, "rebase": 0, "emitting": 0, "taken": 0, **inputs})
        await FallingEdge(self.dut.clk)
        ready = bool(block.sample("ready"))
        self._register()
        read, address = block.sample("rom_en"), block.sample("rom_addr")
        await RisingEdge(self.dut.clk)
        if read:
            # Beyond the image the ROM gives anything; the loader fetches ahead.
            block.drive({"rom_data": self.rom[address] if address < len(self.rom) else 0x5A})
        return ready

    def _register(self) -> None:
        bus = self.block.sample("kernels")
        for o in range(P_O):
            for block in range(P_I // K):
                if bus["out"] >> o & 1 and bus["block"] >> block & 1:
                    for k, kernel in enumerate(bus["kernels"]):
                        digits = [decode_digit(code, CONFIG.digit_bits) for code in kernel["digits"]]
                        self.kernels[o, block * K + k] = (kernel["alpha"], digits)
        for name, target in (("biases", self.biases), ("pads", self.pads)):
            bus = self.block.sample(name)
            values = bus["biases" if name == "biases" else "values"]
            for block in range(bus["block"].bit_length()):
                if bus["block"] >> block & 1:
                    target.update({block * K + k: value for k, value in enumerate(values)})

    async def load(self, load: Load, board: Scoreboard[Any], source: Random, emitting: int | None) -> None:
        """Load a tile, compare registers and the cycle of ``ready``. ``emitting``: the cycle after start in
        which the pass handed over with it emits."""
        tile, layer = load.tile, load.layer
        rewind = load.digit > 0
        tile_inputs = {
            "mask_bits": layer.mask_bits, "digit": load.digit, "has_pad": int(layer.has_pad),
            "has_bias": int(tile.last_in), "in_lanes": tile.n_in, "out_lanes": tile.n_out,
        }  # fmt: skip
        beats = FILL_CYCLES + weight_beats(tile, layer, CONFIG)
        if tile.last_in:
            hold = 0 if emitting is None else emitting + bias_hold_cycles(P_I)
            beats = max(beats, hold) + bias_beats(tile, CONFIG)
        rebase = load.base is not None and not rewind
        await self.cycle(
            start=1, rebase=int(rebase), base=load.base if rebase else source.randrange(len(self.rom)),
            rewind=int(rewind), emitting=int(emitting == 0), taken=1,
        )  # fmt: skip
        for n in range(1, beats + 1):
            ready = await self.cycle(**tile_inputs, emitting=int(emitting == n))
            if ready != (n == beats):
                raise fail(f"ready is {ready} in cycle {n} after start, expected in cycle {beats}: {load}")
        for _ in range(WRITE_CYCLES - 1 + source.choice((0, 0, 4))):
            if not await self.cycle(**tile_inputs):
                raise fail("ready fell without taken")
        board.expect([(load.kernels, load.biases, load.pads)])
        board.receive(
            (
                {key: self.kernels[key] for key in load.kernels},
                {key: self.biases[key] for key in load.biases},
                {key: self.pads[key] for key in load.pads},
            )
        )

    def store(self, source: Random, mask_bits: int) -> list[Load]:
        """A new network in the ROM; returns its loads."""
        channels = [source.randint(1, 2 * max(P_I, P_O) + 1) for _ in range(3)]
        pad = None if source.random() < 0.7 else [0] * channels[0]
        widths = (mask_bits, source.choice(CONFIG.mask_widths))
        draw = np.random.default_rng(source.getrandbits(32))
        network = random_network(draw, stack(channels), widths, pad=pad)
        self.rom = encode_weights(network, CONFIG).words.to_ints()
        return loads(network)


@cocotb.test()
async def tiles_in_the_order_of_the_stream(dut):
    source = rng("tiles")
    loader = Loader(dut)
    await start(dut)
    with Scoreboard[Any]("registers") as board:
        for mask_bits in CONFIG.mask_widths * 2:
            for load in loader.store(source, mask_bits):
                await loader.load(load, board, source, source.choice((None, 0, source.randint(0, 3))))


@cocotb.test()
async def resets_and_clears_in_the_middle(dut):
    source = rng("resets")
    loader = Loader(dut)
    await start(dut)
    with Scoreboard[Any]("registers") as board:
        for mask_bits in CONFIG.mask_widths * 3:
            work = loader.store(source, mask_bits)
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
