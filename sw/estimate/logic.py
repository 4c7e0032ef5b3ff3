"""The logic of an engine or chip, interpolated between those that were synthesised.

Every block is a sum of a few terms in the configuration, which are named in ``TERMS``: what it has once, for
each lane, for each bit of a word, and for each option; of its longest path others. Their coefficients are
those that miss the measured blocks least, and none is negative. The kernel unit, most of every engine, is no
sum: it was measured at every mask width, and is interpolated between activation bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import log2

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig, lane_sum_bits, product_bits
from kestrel.hw.spec.widths import kernel_bits
from kestrel.sw.estimate.measured import ADDED, METRICS, Cells, Measured, tables

UNIT, LANE, CORE = "kernel_unit", "output_lane", "core"
PATH = "path_ns"
DESCRIPTOR, TOP, WHOLE = "descriptor_unit", "top", "whole"
LOADER = "weight_loader"
CHIP = (DESCRIPTOR, TOP)

Terms = Callable[[EngineConfig], tuple[float, ...]]


def _word(c: EngineConfig) -> tuple[float, ...]:
    return (1, c.word_bits)


def _tree(c: EngineConfig) -> int:
    """Bits of the adders of a lane's tree. With row groups an FPGA builds them otherwise."""
    return (c.input_lanes - 1) * product_bits(c)


def _select(c: EngineConfig) -> float:
    """Bits of a word among which an input group is selected."""
    return c.word_bits * (c.in_slices > 1)


TERMS: Mapping[str, Terms] = {
    LANE: lambda c: (1, _tree(c) * (not c.row_groups), _tree(c) * c.row_groups),
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
    LOADER: lambda c: (1, c.load_kernels * kernel_bits(c.mask_bits_max), c.output_lanes,
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
    """All blocks as they are alone, and ``cells``, what they take together, which is less: a tool that sees
    two blocks at once leaves out what neither needs. clock_mhz: 1 / (longest path and what a register adds),
    standard cells without layout."""

    parts: tuple[Part, ...]
    cells: Cells
    clock_mhz: float


def estimate_logic(config: EngineConfig, *, chip: bool = False) -> Logic:
    """The logic of an engine without its memories; ``chip``: of a chip with a descriptor unit."""
    names = [name for name in (UNIT, *TERMS) if name not in CHIP or chip]
    parts = tuple(
        Part(name, MANY[name](config) if name in MANY else 1, block_cells(name, config))
        for name in names if name != "block_input" or config.residual
    )
    core = {part.name: part.cells for part in parts if part.name not in (*MANY, *CHIP)}
    apart = [part for part in parts if part.name in (*MANY, *CHIP)]
    path = max(part.cells.path_ns for part in parts)
    cells = Cells(path_ns=path, **{
        metric: _together(core, metric) + sum(part.count * getattr(part.cells, metric) for part in apart)
        for metric in ADDED
    })
    return Logic(parts, cells, 1000 / (path + tables().register_ns))


def _together(core: Mapping[str, Cells], metric: str) -> float:
    """The core in one piece round the output lanes."""
    return float(np.array(_groups(core, metric)) @ _joining(metric))


def _groups(core: Mapping[str, Cells], metric: str) -> tuple[float, float]:
    """The weight loader, of which most may go, and all other blocks of a core."""
    loader = getattr(core[LOADER], metric)
    return loader, sum(getattr(cells, metric) for cells in core.values()) - loader


@cache
def _joining(metric: str) -> np.ndarray:
    """How much of either group is left in one piece."""
    engines = [engine for engine in fitted() if WHOLE in engine.blocks]
    cores = [{name: engine.blocks[name] for name in TERMS if name not in (*MANY, *CHIP)
              and name in engine.blocks} for engine in engines]
    return _fit(np.array([_groups(core, metric) for core in cores]),
                np.array([getattr(engine.blocks[WHOLE], metric) for engine in engines]))


def block_cells(name: str, config: EngineConfig) -> Cells:
    """One block, without the blocks inside it."""
    if name == UNIT:
        return _unit(config.mask_bits_max, config.activation_bits)
    terms, path = np.array(TERMS[name](config), float), np.array(_path_terms(config), float)
    return Cells(**{
        metric: float((path if metric == PATH else terms) @ _coefficients(name, metric)) for metric in METRICS
    })


def _path_terms(c: EngineConfig) -> tuple[float, ...]:
    """A path grows with the depth of trees and selections, not with their size."""
    return (1, log2(c.word_bits), c.passes_max > 1, c.row_groups, c.residual)


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
def _coefficients(name: str, metric: str) -> np.ndarray:
    """Of each term."""
    engines = [engine for engine in fitted() if name in engine.blocks]
    terms = _path_terms if metric == PATH else TERMS[name]
    return _fit(np.array([terms(engine.config) for engine in engines], float),
                np.array([getattr(engine.blocks[name], metric) for engine in engines]))


def _fit(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The coefficients, none below 0, that miss the values least, those of small blocks less than in relation
    to their size, as sums are what counts. Terms that would need a negative coefficient are left out, the
    most negative first."""
    weights = np.maximum(values, max(values.max() / 100, 1e-9)) ** -0.5
    kept = list(range(terms.shape[1]))
    result = np.zeros(terms.shape[1])
    while kept:
        found, *_ = np.linalg.lstsq(terms[:, kept] * weights[:, None], values * weights, rcond=None)
        if found.min() >= 0:
            result[kept] = found
            break
        kept.pop(int(found.argmin()))
    return result
