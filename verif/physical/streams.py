"""The signals that an array's kernel units receive in short, random pieces of a frame, from the recorded
ports of the array.

A piece is a few cycles of a layer. All units of the array are taken at once: copy k of a bench's gates is
unit (piece, output lane, input lane), in that order. The kernels of the engine are accompanied by the 8-bit
weights that a multiplier would need, loaded in the same cycles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.spec.engine_config import lane_sum_bits
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.table import KIND_CONV
from kestrel.hw.spec.timing import UNIT_LATENCY, lane_latency
from kestrel.hw.spec.widths import SCALAR_BITS, TAPS
from kestrel.sw.planning.geometry import group_count, tiles
from kestrel.sw.planning.plan import Plan

WEIGHT_BITS = 8
RESET_CYCLES = 5
"""The harness holds the reset for four cycles; what is recorded before it is random."""

WARM_UP = UNIT_LATENCY + 1
"""The cycles until the registers after the weights hold their proper values."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of one layer, all of ``cycles`` cycles (including the warm-up).

    ``window`` is uint8 [pieces, cycles, P_i, 9 * A]. ``load``, ``swap`` and ``swap_alpha`` are uint8,
    [pieces, cycles, P_o, P_i] for ``load`` and [pieces, cycles] for the others. ``kernels`` and ``weights``
    are uint8 [pieces, cycles, P_i, bits] as on the bus (9 * 8 bits for weights); the registers are
    [.., P_o, P_i, bits]. ``sums`` is int64 [pieces, P_o]: the lanes' sums of the windows ``UNIT_LATENCY``
    cycles before the last. All bits are in the order low first.
    """

    window: np.ndarray
    load: np.ndarray
    swap: np.ndarray
    swap_alpha: np.ndarray
    kernels: np.ndarray
    weights: np.ndarray
    shadow: np.ndarray
    digits: np.ndarray
    alpha: np.ndarray
    shadow_weights: np.ndarray
    working_weights: np.ndarray
    sums: np.ndarray


def quantised(weight: np.ndarray) -> np.ndarray:
    """int8 weights [C_out, C_in, 9] from float ones [C_out, C_in, 3, 3], symmetric, one scale an output."""
    flat = weight.reshape(*weight.shape[:2], TAPS)
    largest = np.abs(flat).max(axis=(1, 2), keepdims=True)
    return np.round(flat / np.where(largest > 0, largest, 1) * 127).astype(np.int8)


def _bits(value: int, count: int) -> np.ndarray:
    raw = np.frombuffer(value.to_bytes(-(-count // 8), "little"), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little")[:count]


def _passes(plan: Plan) -> list[tuple[int, int]]:
    """(record, tile) for every pass of the frame, in order."""
    found = []
    for visit in plan.visits:
        record = plan.records[visit.record]
        if record.kind == KIND_CONV and record.layer is not None:
            for tile in range(len(tiles(record.layer, plan.config))):
                found += [(visit.record, tile)] * PASSES[record.layer.mask_bits]
    return found


class Recording:
    """The array's file of ``kestrel.verif.physical.activity``, read once; ``pieces`` then draws from it.

    ``weights`` are the float weights of each layer, [C_out, C_in, 3, 3].
    """

    def __init__(self, file: Path, plan: Plan, weights: Sequence[np.ndarray]) -> None:
        self.plan, self.config = plan, plan.config
        self.weights = [quantised(weight) for weight in weights]
        self.passes = _passes(plan)
        with file.open(encoding="ascii") as lines:
            self.lines = [line.split() for line in lines][RESET_CYCLES:]
        ahead = np.array([int(line[0], 16) for line in self.lines])
        self.first = (ahead & 3) == 3  # pixel_layout: valid, first
        self.pass_number = np.cumsum(self.first)  # counted from 1 in the cycle of the swap
        self.loads = [n for n, line in enumerate(self.lines) if int(line[1], 16) & self._out_mask]
        if self.pass_number[-1] != len(self.passes):
            raise ValueError(f"{self.pass_number[-1]} passes recorded, not {len(self.passes)}")

    @property
    def _out_mask(self) -> int:
        return (1 << self.config.output_lanes) - 1

    @property
    def _kernel_bits(self) -> int:
        return SCALAR_BITS + TAPS * self.config.digit_bits

    def pieces(self, record: int, count: int, cycles: int, seed: int) -> Pieces:
        """``count`` pieces of ``cycles`` counted cycles each, of the plan's record number ``record``."""
        length = WARM_UP + cycles
        owner = np.array([-1, *(number for number, _ in self.passes)])[self.pass_number]
        # A pass's window comes a cycle after its announcement, so its first cycle still belongs to the last
        # pass.
        possible = np.flatnonzero((owner[:-length] == record) & (owner[length:] == record))
        starts = np.sort(np.random.default_rng(seed).choice(possible, count, replace=False))
        made = [self._piece(start, length, state) for start, state in self._states(starts)]
        return Pieces(**{key: np.stack([piece[key] for piece in made]) for key in made[0]})

    def _beat(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The load bus of line n: load [P_o, P_i], kernels and 8-bit weights [P_i, bits]."""
        config, lanes = self.config, self.config.input_lanes
        blocks = lanes // config.load_kernels
        value = int(self.lines[n][1], 16)
        out = _bits(value & self._out_mask, config.output_lanes)
        block = _bits(value >> config.output_lanes & ((1 << blocks) - 1), blocks)
        bus = _bits(value >> (config.output_lanes + blocks), config.load_kernels * self._kernel_bits)
        kernels = np.tile(bus.reshape(config.load_kernels, -1), (blocks, 1))
        weights = np.zeros((lanes, TAPS * WEIGHT_BITS), dtype=np.uint8)
        if out.any() and block.any():
            weights = self._weights_of(self.pass_number[n], int(out.argmax()), int(block.argmax()))
        return out[:, None] & np.repeat(block, config.load_kernels)[None], kernels, weights

    def _weights_of(self, pass_number: int, out: int, block: int) -> np.ndarray:
        """The 8-bit weights of the beat for lanes ``out`` and ``block``, on the wires of every block."""
        config = self.config
        record, tile = self.passes[pass_number]
        layer = self.weights[record - 1]
        out_group, in_group = divmod(tile, group_count(layer.shape[1], config.input_lanes))
        chosen = np.zeros((config.load_kernels, TAPS), dtype=np.int8)
        first = in_group * config.input_lanes + block * config.load_kernels
        there = layer[out_group * config.output_lanes + out, first : first + config.load_kernels]
        chosen[: len(there)] = there
        bits = np.unpackbits(chosen.view(np.uint8)[:, :, None], axis=2, bitorder="little")
        return np.tile(bits.reshape(config.load_kernels, -1), (config.input_lanes // config.load_kernels, 1))

    def _states(self, starts: np.ndarray) -> list[tuple[int, dict[str, np.ndarray]]]:
        """The weight registers at each of the (sorted) lines, after all earlier loads and swaps."""
        config = self.config
        grid = (config.output_lanes, config.input_lanes)
        shadow = np.zeros((*grid, self._kernel_bits), dtype=np.uint8)
        shadow8 = np.zeros((*grid, TAPS * WEIGHT_BITS), dtype=np.uint8)
        digits, alpha, working = shadow[..., SCALAR_BITS:].copy(), shadow[..., :SCALAR_BITS].copy(), shadow8
        swaps = [int(n) for n in np.flatnonzero(self.first)]
        events = sorted([(n, 2) for n in self.loads] + [(n, 1) for n in swaps] + [(n + 1, 0) for n in swaps])
        found, at = [], 0
        for start in starts:
            while at < len(events) and events[at][0] < start:
                n, kind = events[at]
                if kind == 2:
                    load, kernels, weights = self._beat(n)
                    shadow = np.where(load[..., None], kernels[None], shadow)
                    shadow8 = np.where(load[..., None], weights[None], shadow8)
                elif kind == 1:
                    digits, working = shadow[..., SCALAR_BITS:], shadow8
                else:
                    alpha = shadow[..., :SCALAR_BITS]
                at += 1
            found.append((int(start), {"shadow": shadow, "digits": digits, "alpha": alpha,
                                       "shadow_weights": shadow8, "working_weights": working}))  # fmt: skip
        return found

    def _piece(self, start: int, length: int, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        config = self.config
        width = TAPS * config.activation_bits
        lines = range(start, start + length)
        beats = [self._beat(n) for n in lines]
        windows = [_bits(int(self.lines[n][3], 16), config.input_lanes * width) for n in lines]
        return {
            "window": np.stack(windows).reshape(length, config.input_lanes, width),
            "load": np.stack([load for load, _, _ in beats]),
            "kernels": np.stack([kernels for _, kernels, _ in beats]),
            "weights": np.stack([weights for _, _, weights in beats]),
            "swap": self.first[start : start + length].astype(np.uint8),
            "swap_alpha": self.first[start - 1 : start - 1 + length].astype(np.uint8),
            "sums": self._sums(start + length - 1 - UNIT_LATENCY + lane_latency(config.input_lanes)),
            **state,
        }

    def _sums(self, n: int) -> np.ndarray:
        bits = lane_sum_bits(self.config)
        value = int(self.lines[n][2], 16)
        fields = [value >> (lane * bits) & ((1 << bits) - 1) for lane in range(self.config.output_lanes)]
        return np.array([f - (f >> (bits - 1) << bits) for f in fields])


