"""Bench of the weight loader with tables of scalars: layers of tiles of all kinds, visited in any order.

Everything is put into the stream here, by hand, so that the bench is independent of the exporter.
"""

from dataclasses import replace
from random import Random
from typing import Any

import cocotb

from kestrel.hw.spec.engine_config import table_beat_entries
from kestrel.hw.spec.masks import decode_mask
from kestrel.hw.spec.widths import (
    BIAS_MAX,
    BIAS_MIN,
    PAD_BITS,
    SCALAR_BITS,
    SCALAR_WIDTHS,
    TAPS,
    diagonal_bits,
    scalar_table_bits,
    table_entries,
    tile_bits,
)
from kestrel.verif.blocks.memory.weight_loader.loader import CONFIG, P_I, P_O, K, Load, Loader
from kestrel.verif.blocks.memory.weight_loader.residual_bench import (
    BIAS_WIDTH,
    NO_KERNEL,
    SINGLE,
    TAPS_MAX,
    Stream,
    diagonal_inputs,
    rectangular_inputs,
)
from kestrel.verif.blocks.support.simulator import Scoreboard, rng, start

Kernel = tuple[int, list[int]]


class Layer:
    """A layer in the stream: its tables, and its tiles from the first one on."""

    def __init__(self, stream: Stream, source: Random) -> None:
        self.stream, self.source = stream, source
        self.q = source.choice(SCALAR_WIDTHS)
        self.shortcut = CONFIG.residual and source.random() < 0.5
        entries = table_entries(self.q)
        self.tables = [self._table(entries) for _ in range(1 + self.shortcut)]
        self.loads: list[Load] = []
        for _ in range(source.randint(1, 6)):
            of_shortcut = self.shortcut and (not self.loads or source.random() < 0.5)
            self.loads.append(self._tile(of_shortcut))

    def _table(self, entries: int) -> list[int]:
        return [self.source.getrandbits(SCALAR_BITS) for _ in range(entries)]

    def _tile(self, of_shortcut: bool) -> Load:
        tables = self.tables if not self.loads and self.q < SCALAR_BITS else []
        for table in tables:
            for scalar in table:
                self.stream.put(scalar, SCALAR_BITS)
        beats = sum(-(-len(table) // table_beat_entries(CONFIG)) for table in tables)
        bits = len(tables) * scalar_table_bits(self.q)
        if of_shortcut and self.source.random() < 0.5:
            load = self._diagonal(bits)
        else:
            centre = of_shortcut or (CONFIG.residual and self.source.random() < 0.3)
            load = self._rectangular(bits, of_shortcut, centre)
        tile = load.tile | {"scalar_bits": self.q}
        if CONFIG.residual:
            tile |= {"shortcut": int(of_shortcut)}
        return replace(load, tile=tile, weight_beats=load.weight_beats + beats)

    def _scalar(self, of_shortcut: bool) -> int:
        """Appends a stored scalar; returns what it stands for."""
        stored = self.stream.put(self.source.getrandbits(self.q), self.q)
        table = self.tables[0 if of_shortcut else -1]
        return table[stored] if self.q < SCALAR_BITS else stored

    def _mask(self, centre: bool, mask_bits: int, tap: int) -> list[int]:
        """Appends a mask; returns its digits."""
        if not centre:
            codes = [self.stream.put(self.source.getrandbits(mask_bits), mask_bits) for _ in range(TAPS)]
            return [decode_mask(code, mask_bits) for code in codes]
        digits = [0] * TAPS
        digits[TAPS // 2] = (1 - 2 * self.stream.put(self.source.getrandbits(1), 1)) << tap
        return digits

    def _diagonal(self, bits: int) -> Load:
        source, count = self.source, self.source.randint(1, min(P_I, P_O))
        first_out, first_in = source.randint(0, P_O - count), source.randint(0, P_I - count)
        tap = source.randint(0, TAPS_MAX)
        kernels: dict[tuple[int, int], Kernel] = {(o, i): NO_KERNEL for o in range(P_O) for i in range(P_I)}
        for n in range(count):
            digits = self._mask(True, 1, tap)
            kernels[first_out + n, first_in + n] = self._scalar(True), digits
        base = self.stream.end_tile(bits + diagonal_bits(count, self.q))
        tile = diagonal_inputs(source, count, tap, first_out, first_in)
        return Load(tile, base, 1 + count, 0, kernels, {}, {})

    def _rectangular(self, bits: int, of_shortcut: bool, centre: bool) -> Load:
        source, stream = self.source, self.stream
        n_in, n_out = (source.choice((1, lanes, source.randint(1, lanes))) for lanes in (P_I, P_O))
        has_pad, has_bias = not of_shortcut and source.random() < 0.3, source.random() < 0.5
        mask_bits, tap = source.choice(SINGLE), source.randint(0, TAPS_MAX)
        pads = {i: stream.put(source.getrandbits(PAD_BITS), PAD_BITS) for i in range(n_in if has_pad else 0)}
        kernels: dict[tuple[int, int], Kernel] = {}
        for o in range(n_out):
            for first in range(0, n_in, K):
                block = range(first, min(first + K, n_in))
                masks = [self._mask(centre, mask_bits, tap) for _ in block]
                kernels |= {
                    (o, i): (self._scalar(of_shortcut), mask) for i, mask in zip(block, masks, strict=True)
                }
        biases = {
            o: stream.put(source.randint(BIAS_MIN, BIAS_MAX), BIAS_WIDTH)
            for o in range(n_out if has_bias else 0)
        }
        base = stream.end_tile(
            bits + tile_bits(n_in, n_out, mask_bits, has_pad, has_bias, centre=centre, scalar_bits=self.q)
        )
        tile = rectangular_inputs(
            source, (n_in, n_out), mask_bits, has_pad=has_pad, has_bias=has_bias, centre=centre, tap=tap
        )
        blocks = -(-n_in // K)
        return Load(
            tile, base, blocks * (n_out + has_pad), -(-n_out // K) if has_bias else 0, kernels, biases, pads
        )


@cocotb.test()
async def layers_in_any_order(dut):
    """Every visit begins with the layer's first tile; a few stop before its last one, or in its first."""
    source = rng("tables")
    loader = Loader(dut)
    await start(dut)
    seen: set[int] = set()
    with Scoreboard[Any]("registers") as board:
        for _ in range(8):
            stream = Stream(source)
            layers = [Layer(stream, source) for _ in range(4)]
            loader.rom = stream.words
            for layer in source.choices(layers, k=10):
                seen.add(layer.q)
                work = layer.loads[: source.choice((len(layer.loads), source.randint(1, len(layer.loads))))]
                if source.random() < 0.3:  # a frame breaks off before the first tile is loaded
                    first = source.choice(layers).loads[0]
                    await loader.cycle(start=1, rebase=1, base=first.base, taken=1)
                    for _ in range(source.randint(1, 3 + first.weight_beats)):
                        await loader.cycle(**first.tile)
                for number, load in enumerate(work):
                    emitting = source.choice((None, 0, source.randint(0, 3)))
                    next_load = load if number == 0 else replace(load, base=None)
                    await loader.load(next_load, board, source, emitting)
                    if number == 0 and source.random() < 0.3:  # for another digit, its tables once more
                        await loader.load(replace(load, rewind=True), board, source, emitting)
    assert seen == set(SCALAR_WIDTHS)
