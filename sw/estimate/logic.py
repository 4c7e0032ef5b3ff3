"""The logic of an engine or chip, interpolated between those that were synthesised.

Every block is a sum of a few terms in the configuration, which are named in ``TERMS``: what it has once, for
each lane, for each bit of a word, and for each option. Their coefficients are those that miss the measured
blocks least, relative to their size, and none is negative. The kernel unit, most of every engine, is no sum:
it was measured at every mask width, and is interpolated between activation bits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig, lane_sum_bits, product_bits
from kestrel.hw.spec.widths import kernel_bits
from kestrel.sw.estimate.measured import ADDED, METRICS, Cells, Measured, tables

UNIT, LANE, CORE = "kernel_unit", "output_lane", "core"
DESCRIPTOR, TOP = "descriptor_unit", "top"
CHIP = (DESCRIPTOR, TOP)

Terms = Callable[[EngineConfig], tuple[float, ...]]


def _word(c: EngineConfig) -> tuple[float, ...]:
    return (1, c.word_bits)


def _select(c: EngineConfig) -> float:
    """Bits of a word among which an input group is selected."""
    return c.word_bits * (c.in_slices > 1)


TERMS: Mapping[str, Terms] = {
    LANE: lambda c: (1, (c.input_lanes - 1) * product_bits(c)),
    "array": lambda c: (1, c.output_lanes, c.row_groups * c.output_lanes),
    "image_input": lambda c: (*_word(c), c.row_groups * c.word_bits, c.batch),
    "block_input": _word,
    "feature_memory": lambda c: (*_word(c), c.writes_banks * c.word_bits),
    "reader": lambda c: (1, c.residual, c.batch, c.row_groups),
    "window": lambda c: (1, c.input_lanes * c.activation_bits, _select(c)),
    "accumulator": lambda c: (1, c.output_lanes * lane_sum_bits(c),
                              c.output_lanes * (c.passes_max > 1), c.residual * c.output_lanes),
    "requantise": lambda c: (1, c.output_lanes * lane_sum_bits(c), c.row_groups * c.output_lanes,
                             c.residual * c.output_lanes),
    "pool": lambda c: (1, c.output_lanes * c.activation_bits, c.row_groups * c.output_lanes,
                       c.residual * c.output_lanes, c.residual),
    "writer": lambda c: (1, c.word_bits, c.row_groups * c.word_bits, c.residual, c.batch),
    "feature_output": lambda c: (*_word(c), c.batch),
    "weight_loader": lambda c: (1, c.load_kernels * kernel_bits(c.mask_bits_max), c.output_lanes,
                                c.scalar_tables * c.load_kernels, c.residual),
    "sequencer": lambda c: (1, c.residual, c.batch, c.scalar_tables),
    "counters": lambda c: (1,),
    CORE: lambda c: (*_word(c), c.writes_banks * c.word_bits, c.residual),
    DESCRIPTOR: lambda c: (1, c.output_lanes, c.whitening_rows),
    TOP: _word,
}
"""Terms of the blocks that the core places, of what joins them (``core``), and of what stands beside them."""

MANY: Mapping[str, Callable[[EngineConfig], int]] = {
    UNIT: lambda c: c.input_lanes * c.output_lanes,
    LANE: lambda c: c.output_lanes,
}
"""How many there are of a block that an engine has several times."""


@dataclass(frozen=True)
class Part:
    """``count`` blocks of a name, each of ``cells``, without the blocks inside."""

    name: str
    count: int
    cells: Cells


@dataclass(frozen=True)
class Logic:
    """All blocks. clock_mhz: 1 / (longest path and what a register adds), standard cells without layout."""

    parts: tuple[Part, ...]
    cells: Cells
    clock_mhz: float


def estimate_logic(config: EngineConfig, *, chip: bool = False) -> Logic:
    """The logic of an engine without its memories; ``chip``: of a chip with a descriptor unit. Both as if
    every block were synthesised on its own."""
    names = [name for name in (UNIT, *TERMS) if name not in CHIP or chip]
    parts = tuple(
        Part(name, MANY[name](config) if name in MANY else 1, block_cells(name, config))
        for name in names if name != "block_input" or config.residual
    )
    total = sum_cells(parts)
    return Logic(parts, total, 1000 / (total.path_ns + tables().register_ns))


def sum_cells(parts: Sequence[Part]) -> Cells:
    """What all parts take together."""
    sums = {metric: sum(part.count * getattr(part.cells, metric) for part in parts) for metric in ADDED}
    return Cells(path_ns=max(part.cells.path_ns for part in parts), **sums)


def block_cells(name: str, config: EngineConfig) -> Cells:
    """One block, without the blocks inside it."""
    if name == UNIT:
        return _unit(config.mask_bits_max, config.activation_bits)
    values = np.array(TERMS[name](config), float) @ _coefficients(name)
    return Cells(*(float(value) for value in values))


@cache
def _unit(mask_bits: int, activation_bits: int) -> Cells:
    found = {
        engine.config.activation_bits: engine.blocks[UNIT] for engine in fitted()
        if UNIT in engine.blocks and engine.config.mask_bits_max == mask_bits
    }
    widths = sorted(found)
    return Cells(*(
        float(np.interp(activation_bits, widths, [getattr(found[width], metric) for width in widths]))
        for metric in METRICS
    ))


def fitted() -> list[Measured]:
    """The engines that the estimate is fitted to."""
    return [engine for engine in tables().engines if not engine.held_out]


@cache
def _coefficients(name: str) -> np.ndarray:
    """A row for each term, a column for each metric."""
    engines = [engine for engine in fitted() if name in engine.blocks]
    terms = np.array([TERMS[name](engine.config) for engine in engines], float)
    values = np.array([[getattr(engine.blocks[name], metric) for metric in METRICS] for engine in engines])
    return np.stack([_fit(terms, column) for column in values.T], axis=1)


def _fit(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The coefficients, none below 0, of the least sum of squared relative errors: terms that would need a
    negative one are left out, the most negative first."""
    weights = 1 / np.maximum(np.abs(values), max(np.abs(values).max() / 100, 1e-9))
    kept = list(range(terms.shape[1]))
    result = np.zeros(terms.shape[1])
    while kept:
        found, *_ = np.linalg.lstsq(terms[:, kept] * weights[:, None], values * weights, rcond=None)
        if found.min() >= 0:
            result[kept] = found
            break
        kept.pop(int(found.argmin()))
    return result
