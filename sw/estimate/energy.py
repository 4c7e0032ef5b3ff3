"""The energy of a frame, roughly: what was measured before layout, and a published figure for memories.

``docs/estimate.md`` states the method and what it leaves out. NanGate45 at 1.1 V, without wires.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.table import KIND_CONV
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.estimate.logic import UNIT, Logic, block_cells
from kestrel.sw.estimate.memories import Memory, engine_memories
from kestrel.sw.planning.cycles import FrameCycles
from kestrel.sw.planning.plan import Plan

UNIT_PJ: Mapping[int, float] = {1: 2.26, 2: 2.06, 3: 2.39}
"""pJ of a kernel unit of ``edge`` in a cycle of a layer, by the bits of its masks (docs/power.md). A layer in
passes has digits of 3 bits."""

UNIT_CLOCK_PJ = 0.87
"""pJ of its clock pins in every cycle (docs/power.md): all that it takes outside the layers."""

UNIT_LEAKAGE_UW = 49.0
"""Leakage of that unit, uW (docs/power.md)."""

MEASURED_ON = NAMED["edge"]
"""The engine whose kernel unit that is."""

MEMORY_PJ = 10 / sqrt(8) / 64
"""pJ to read or write a bit of a memory of 1 kB, which grows with the root of the size: 10, 20 and 100 pJ for
64 bits of 8 kB, 32 kB and 1 MB of SRAM, 45 nm, 0.9 V (Horowitz, ISSCC 2014)."""


@dataclass(frozen=True)
class Energy:
    """mJ of a frame: ``parts`` by name, leakage among them. ``milliwatts``: of frames one after another."""

    parts: Mapping[str, float]
    total: float
    milliwatts: float


def frame_energy(plan: Plan, cycles: FrameCycles, logic: Logic, clock_mhz: float) -> Energy:
    """``logic``: of the engine alone; other blocks of a chip are not counted."""
    seconds = cycles.total / (clock_mhz * 1e6)
    reference, own = (block_cells(UNIT, config).area for config in (MEASURED_ON, plan.config))
    units = plan.config.input_lanes * plan.config.output_lanes
    working = sum(
        record.cycles * UNIT_PJ[min(3, layer.mask_bits)]
        for record, layer in zip(cycles.records, (r.layer for r in plan.records), strict=True)
        if record.kind == KIND_CONV and layer is not None
    )
    idle = (cycles.total - cycles.compute) * UNIT_CLOCK_PJ
    a_unit = (working + idle) * own / reference  # pJ of a frame
    rest = logic.cells.area - units * own
    parts = {
        "kernel units": units * a_unit * 1e-9,
        "other logic": rest * a_unit / own * 1e-9,
        "leakage of logic": logic.cells.area * UNIT_LEAKAGE_UW / reference * seconds * 1e-3,
        **{name: picojoules * 1e-9 for name, picojoules in _memories(plan).items()},
    }
    total = sum(parts.values())
    return Energy(parts, total, total / seconds)


def _memories(plan: Plan) -> dict[str, float]:
    """pJ of a frame, by memory."""
    found = memory_accesses(plan)
    memories = {memory.name: memory for memory in engine_memories(plan.config)}
    # The accesses of both parts of the feature memory are one figure, so the larger part stands for both.
    part = max((memories[f"features, part {n}"] for n in (0, 1)), key=lambda memory: memory.bits)
    of = {"features": part} | {name: memories[name] for name in ("partial sums", "pool line", "weights")}
    return {
        f"memory: {name}": (found[name].bits_read + found[name].bits_written) * bit_picojoules(memory)
        for name, memory in of.items()
    }


def bit_picojoules(memory: Memory) -> float:
    """pJ to read or write one bit of one instance."""
    return MEMORY_PJ * sqrt(memory.words * memory.word_bits / 8192)

