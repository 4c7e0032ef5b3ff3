"""The energy of a frame: what was measured before layout, and published figures for memories.

``docs/energy.md`` states the method and what it leaves out. NanGate45 at 1.1 V, without wires.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.estimate.accesses import Accesses, memory_accesses
from kestrel.sw.estimate.logic import UNIT, Logic, block_cells
from kestrel.sw.estimate.memories import Memory
from kestrel.sw.planning.cycles import FrameCycles
from kestrel.sw.planning.plan import Plan

UNIT_PJ: Mapping[int, float] = {1: 2.26, 2: 2.06, 3: 2.39}
"""pJ of a kernel unit of ``edge`` in a cycle of a layer, by the bits of its masks (docs/power.md). A layer in
passes has digits of 3 bits."""

UNIT_CLOCK_PJ = 0.87
"""pJ of its clock pins in every cycle, which is part of that (docs/power.md)."""

UNIT_FLIP_FLOPS = 108
"""The registers that these clock pins are of (docs/power.md)."""

UNIT_LEAKAGE_UW = 49.0
"""Leakage of that unit, uW (docs/power.md)."""

MEASURED_ON = NAMED["edge"]
"""The engine whose kernel unit that is."""

MEMORY_PJ = 10 / sqrt(8) / 64
"""pJ to read or write a bit of a memory of 1 kB, which grows with the root of the size: 10, 20 and 100 pJ for
64 bits of 8 kB, 32 kB and 1 MB of SRAM, 45 nm, 0.9 V (Horowitz, ISSCC 2014)."""

ROM_PJ_350NM = 6.60e-3 / 100e6 / 32 * 1e12
"""pJ to read a bit of a ROM of 1,024 words of 32 bits that takes 6.60 mW at 100 MHz, 0.35 um, 3.3 V (Yang and
Kim, A low-power charge-recycling ROM architecture, IEEE Trans. VLSI Systems 11(4), 2003)."""

ROM_LOW = ROM_PJ_350NM * (45 / 350) * (0.9 / 3.3) ** 2 / (MEMORY_PJ * 2)
"""That ROM at 45 nm and 0.9 V, if energy goes with length and the square of the voltage, as a share of an
SRAM of its size, 4 kB, by the rule above."""

MEMORY = "memory: "
"""What the names of the memories' parts begin with."""


@dataclass(frozen=True)
class Energy:
    """mJ of a frame, or of several: ``parts`` by name, leakage among them. ``rom``: what of them the ROMs
    take, each counted as an SRAM of its size. ``milliwatts``: of frames one after another."""

    parts: Mapping[str, float]
    rom: float
    seconds: float

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def milliwatts(self) -> float:
        return self.total / self.seconds

    @property
    def memories(self) -> float:
        return sum(value for name, value in self.parts.items() if name.startswith(MEMORY))

    @property
    def clock(self) -> float:
        return sum(value for name, value in self.parts.items() if name.startswith("clock"))

    @property
    def low_total(self) -> float:
        """With ROMs that take ``ROM_LOW`` of an SRAM."""
        return self.total - self.rom * (1 - ROM_LOW)

    def __add__(self, other: "Energy") -> "Energy":
        names = dict.fromkeys((*self.parts, *other.parts))
        parts = {name: self.parts.get(name, 0.0) + other.parts.get(name, 0.0) for name in names}
        return Energy(parts, self.rom + other.rom, self.seconds + other.seconds)

    def __rmul__(self, frames: int) -> "Energy":
        parts = {name: frames * value for name, value in self.parts.items()}
        return Energy(parts, frames * self.rom, frames * self.seconds)


@dataclass(frozen=True)
class Beside:
    """Logic beside the engine, such as a descriptor unit: its ``area`` in um^2 and ``flip_flops``, which are
    clocked all the time, and the ``cycles`` of the frame in which it is at work."""

    area: float
    flip_flops: float
    cycles: int


def frame_energy(
    plan: Plan, cycles: FrameCycles, logic: Logic, clock_mhz: float, memories: Sequence[Memory], *,
    accesses: Mapping[str, Accesses] | None = None, beside: Beside | None = None,
) -> Energy:  # fmt: skip
    """``logic``: of the engine alone. ``memories``: those whose accesses count, with their sizes.
    ``accesses``: of a frame, by their names (None: ``memory_accesses``); the cycle records, which are read in
    every cycle, are added."""
    seconds = cycles.total / (clock_mhz * 1e6)
    reference, own = block_cells(UNIT, MEASURED_ON), block_cells(UNIT, plan.config)
    units = plan.config.input_lanes * plan.config.output_lanes
    working = sum(  # pJ of one unit of ``edge``
        counted.cycles * (UNIT_PJ[min(3, record.layer.mask_bits)] - UNIT_CLOCK_PJ)
        for counted, record in zip(cycles.records, plan.records, strict=True)
        if record.layer is not None
    )
    switching = working * own.area / reference.area
    area, flip_flops = logic.cells.area, logic.cells.flip_flops
    clock = UNIT_CLOCK_PJ / UNIT_FLIP_FLOPS * cycles.total
    parts = {
        "kernel units": units * switching * 1e-9,
        "other logic": (area - units * own.area) * switching / own.area * 1e-9,
        "clock: kernel units": units * own.flip_flops * clock * 1e-9,
        "clock: other registers": (flip_flops - units * own.flip_flops) * clock * 1e-9,
    }
    if beside is not None:
        a_cycle = (UNIT_PJ[3] - UNIT_CLOCK_PJ) / reference.area
        parts["descriptor unit"] = beside.area * a_cycle * beside.cycles * 1e-9
        parts["clock: descriptor unit"] = beside.flip_flops * clock * 1e-9
        area += beside.area
    parts["leakage of logic"] = area * UNIT_LEAKAGE_UW / reference.area * seconds * 1e-3
    found = dict(memory_accesses(plan) if accesses is None else accesses)
    records = found["cycle records"]
    found["cycle records"] = replace(records, reads=records.reads + cycles.total)
    of_memory = {
        memory: found[memory.name].bits * bit_picojoules(memory) * 1e-9
        for memory in memories if memory.name in found
    }  # fmt: skip
    parts |= {f"{MEMORY}{memory.name}": value for memory, value in of_memory.items()}
    rom = sum(value for memory, value in of_memory.items() if memory.kind == "rom")
    return Energy(parts, rom, seconds)


def bit_picojoules(memory: Memory) -> float:
    """pJ to read or write one bit of one instance."""
    return MEMORY_PJ * sqrt(memory.words * memory.word_bits / 8192)
