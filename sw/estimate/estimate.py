"""What a network on a configuration costs and does, without synthesis."""

from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError
from kestrel.sw.estimate.described import Described, estimate_descriptor
from kestrel.sw.estimate.devices import Device, Placed, place
from kestrel.sw.estimate.energy import Energy, frame_energy
from kestrel.sw.estimate.logic import Logic, estimate_logic
from kestrel.sw.estimate.memories import Memory, chip_memories, engine_memories
from kestrel.sw.estimate.speed import Speed
from kestrel.sw.planning.plan import Plan
from kestrel.sw.planning.report import PlanReport


@dataclass(frozen=True)
class Resource:
    """``used`` of the ``available`` of a device."""

    name: str
    used: int
    available: int

    @property
    def share(self) -> float:
        return self.used / self.available

    @property
    def fits(self) -> bool:
        return self.used <= self.available


@dataclass(frozen=True)
class DeviceUse:
    """What a design takes of an FPGA. ``placed``: what each memory takes, in their order."""

    device: Device
    resources: tuple[Resource, ...]
    placed: tuple[Placed, ...]

    @property
    def fits(self) -> bool:
        return all(resource.fits for resource in self.resources)


@dataclass(frozen=True)
class Estimate:
    """A frame on an engine, or on a chip with a descriptor unit (``top``), without synthesis.

    network: its name; plan and report: strips, cycles and memory of a frame, as of ``kestrel.plan``; speed:
    at the clock asked for; memories: those of the configuration; logic: interpolated area (um^2 of NanGate45,
    memories left out), ECP5 cells and clock rate; energy: of a frame of the engine; described: a descriptor
    of a picture, of a chip with a pooling; device: None unless one was asked for.
    """

    network: str
    top: str
    plan: Plan
    report: PlanReport
    speed: Speed
    memories: tuple[Memory, ...]
    logic: Logic
    energy: Energy
    device: DeviceUse | None
    described: Described | None = None

    @property
    def memory_bits(self) -> int:
        """Of all memories as configured, ROMs among them."""
        return sum(memory.bits for memory in self.memories)


def make_estimate(network: str, plan: Plan, report: PlanReport, clock_mhz: float, *, top: str = "engine",
                  device: Device | None = None, pooling: str | None = None) -> Estimate:
    """``pooling``: of the descriptor, on a chip only. Raises InputError for an impossible clock, and for a
    pooling without a chip or that the chip does not have."""
    config = plan.config
    if pooling is not None and top != "chip":
        raise InputError(f"pooling {pooling!r} with top {top!r}; allowed: with top chip")
    speed = Speed(report.cycles.total, plan.images, clock_mhz)
    memories = chip_memories(config) if top == "chip" else engine_memories(config)
    engine = estimate_logic(config)
    logic = estimate_logic(config, chip=True) if top == "chip" else engine
    return Estimate(
        network, top, plan, report, speed, memories, logic,
        frame_energy(plan, report.cycles, engine, clock_mhz, engine_memories(config)),
        None if device is None else use_of(device, logic, memories),
        None if pooling is None else estimate_descriptor(plan, engine, clock_mhz, pooling),
    )


def use_of(device: Device, logic: Logic, memories: tuple[Memory, ...]) -> DeviceUse:
    """Logic and memories on an FPGA. A carry cell counts as two look-up tables. Multipliers beyond those of
    the device are not turned into look-up tables: the design does not fit."""
    placed = tuple(place(memory, device) for memory in memories)
    luts = logic.cells.lut4 + 2 * logic.cells.carry + sum(each.luts for each in placed)
    resources = [
        Resource("LUT4", round(luts), device.lut4),
        Resource("flip-flops", round(logic.cells.fpga_flip_flops), device.flip_flops),
        Resource("multipliers", round(logic.cells.dsp), device.dsp),
        Resource(f"block RAMs of {device.block_kbit} kbit", sum(each.blocks for each in placed),
                 device.blocks),
    ]
    if device.single_blocks:
        resources.append(Resource("single-port RAMs of 256 kbit",
                                  sum(each.single_blocks for each in placed), device.single_blocks))
    return DeviceUse(device, tuple(resources), placed)
