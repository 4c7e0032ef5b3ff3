"""``kestrel estimate``: what a chip costs and does, without synthesis."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kestrel.api.estimates import estimate as estimate_chip
from kestrel.cli.options import planned
from kestrel.cli.options.clock import DEFAULT_CLOCK, ClockOption
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.options.maps import PoolMapsOption
from kestrel.cli.options.size import BatchOption, SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Among
from kestrel.sw.estimate.accesses import memory_accesses
from kestrel.sw.estimate.described import Described
from kestrel.sw.estimate.estimate import DeviceUse, Estimate
from kestrel.sw.estimate.logic import UNIT
from kestrel.sw.estimate.speed import digits
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.maps import parse_maps


@declares("config settings size batch pool_maps clock device top fit",
          effects={"mask_bits": planned.NAMED_ONLY, "pooling": Among("top", Top.CHIP)})
def estimate(
    network: planned.FileOrNameArgument,
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    batch: BatchOption = 1,
    clock: ClockOption = DEFAULT_CLOCK,
    device: planned.DeviceOption = None,
    top: planned.EstimatedTopOption = Top.ENGINE,
    mask_bits: planned.NamedMaskBitsOption = None,
    pool_maps: PoolMapsOption = None,
    fit: planned.FitMemoriesOption = False,
    pooling: planned.DescribedOption = None,
    json: JsonOption = False,
) -> None:
    """Estimate speed, memories, area, FPGA cells and energy of a chip, without synthesis.

    Cycles and accesses of memories follow the plan exactly; area and cells are interpolated between
    synthesised engines, energy is rough: docs/estimate.md, docs/energy.md.
    """
    found = estimate_chip(network, chosen_config(config, settings), parse_size(size), clock_mhz=clock,
                          device=device, top=top.value, mask_bits=mask_bits, pool_maps=parse_maps(pool_maps),
                          batch=batch, fit=fit, pooling=pooling, progress=progress)
    emit(estimate_payload(found), lambda console: show(console, found), json)


def estimate_payload(found: Estimate) -> dict[str, Any]:
    """The estimate as JSON."""
    plan, cells = found.plan, found.logic.cells
    return {
        "network": found.network, "config": plan.config.name, "top": found.top,
        "height": plan.height, "width": plan.width, "batch": plan.images,
        "cycles": found.speed.cycles, "compute_cycles": found.report.cycles.compute,
        "mac_utilisation": found.report.mac_utilisation,
        **found.speed.payload,
        "memory_bits": found.memory_bits,
        "memories": [asdict(memory) | {"bits": memory.bits} for memory in found.memories],
        "area_um2": cells.area, "flip_flops": cells.flip_flops, "clock_mhz_reached": found.logic.clock_mhz,
        "ecp5": {"lut4": cells.lut4, "carry": cells.carry, "flip_flops": cells.fpga_flip_flops,
                 "multipliers": cells.dsp},
        "blocks": [{"name": part.name, "count": part.count, **asdict(part.cells)}
                   for part in found.logic.parts],
        "energy_mj": found.energy.total, "milliwatts": found.energy.milliwatts,
        "energy_parts_mj": dict(found.energy.parts),
        "energy_rom_mj": found.energy.rom, "energy_low_rom_mj": found.energy.low_total,
        "accesses": {name: asdict(each) for name, each in memory_accesses(plan).items()},
        "described": None if found.described is None else _described_payload(found.described),
        "device": None if found.device is None else _device_payload(found.device),
    }  # fmt: skip


def _described_payload(described: Described) -> dict[str, Any]:
    energy = described.energy
    return {
        "pooling": described.pooling, "crops": described.crops, "frames": described.frames,
        "cycles": described.cycles, "unit_cycles": described.unit_cycles,
        "milliseconds": energy.seconds * 1e3, "energy_mj": energy.total,
        "energy_parts_mj": dict(energy.parts), "energy_rom_mj": energy.rom,
    }  # fmt: skip


def _device_payload(use: DeviceUse) -> dict[str, Any]:
    return {
        "name": use.device.name, "part": use.device.part, "fits": use.fits,
        "resources": [asdict(resource) | {"fits": resource.fits} for resource in use.resources],
    }  # fmt: skip


def show(console: Console, found: Estimate) -> None:
    """Prints the estimate for people to read."""
    plan, config, cells = found.plan, found.plan.config, found.logic.cells
    units = config.input_lanes * config.output_lanes

    def line(text: str) -> None:
        console.print(text, highlight=False)

    line(f"{found.network} on {config.name}, {config.input_lanes} x {config.output_lanes} lanes, "
         f"{plan.height} x {plan.width}; {found.top}, without synthesis")
    line(f"speed: {found.speed}; {found.speed.cycles:,} cycles, exact")
    line(f"array: {found.report.mac_utilisation:.1%} of its peak in the layers")
    console.print(_memory_table(found))
    unit = next(part for part in found.logic.parts if part.name == UNIT)
    line(f"area: {cells.area / 1e6:.3f} mm2 of NanGate45 without memories, of which {units} kernel units "
         f"{unit.count * unit.cells.area / cells.area:.0%}; up to {found.logic.clock_mhz:.0f} MHz before "
         "layout")
    line(f"ECP5: {cells.lut4:,.0f} LUT4, {cells.carry:,.0f} carry cells, {cells.fpga_flip_flops:,.0f} "
         f"flip-flops, {cells.dsp:,.0f} multipliers")
    _show_energy(line, found)
    if found.device is not None:
        _show_device(console, found.device)


def _show_energy(line: Callable[[str], None], found: Estimate) -> None:
    energy = found.energy
    shares = (("memories", energy.memories), ("ROMs among them", energy.rom), ("clock pins", energy.clock))
    parts = ", ".join(f"{name} {value / energy.total:.0%}" for name, value in shares)
    line(f"energy: {digits(energy.total)} mJ a frame ({parts}); {digits(energy.milliwatts)} mW at "
         f"{found.speed.clock_mhz:g} MHz (rough, 45 nm, no wires)")
    if found.described is not None:
        described = found.described
        line(f"descriptor: {described.pooling}, {described.crops} crops of a 4:3 picture, "
             f"{described.energy.seconds * 1e3:,.3f} ms, {digits(described.energy.total)} mJ; the descriptor "
             f"unit works in {described.unit_cycles / described.cycles:.1%} of the cycles")


def _memory_table(found: Estimate) -> Table:
    table = Table("memory", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    placed = None if found.device is None else found.device.placed
    for column in ("words x bits", "kbit", *(("block RAMs",) if placed else ())):
        table.add_column(column, justify="right", no_wrap=True)
    for number, memory in enumerate(found.memories):
        count = f"{memory.instances} x " if memory.instances > 1 else ""
        cells = [memory.name, f"{count}{memory.words:,} x {memory.word_bits}", f"{memory.bits / 1000:,.1f}"]
        if placed:
            use = placed[number]
            cells.append(f"{use.luts} LUT4" if use.luts else f"{use.single_blocks} single-port"
                         if use.single_blocks else f"{use.blocks:,}")
        table.add_row(*cells)
    table.add_section()
    table.add_row("all", "", f"{found.memory_bits / 1000:,.1f}",
                  *([f"{sum(use.blocks for use in placed):,}"] if placed else []))
    return table


def _show_device(console: Console, use: DeviceUse) -> None:
    for resource in use.resources:
        console.print(f"{use.device.name}: {resource.used:,} of {resource.available:,} {resource.name}, "
                      f"{resource.share:.0%}", highlight=False,
                      style="" if resource.fits else "bold red")
    lacks = ", ".join(resource.name for resource in use.resources if not resource.fits)
    verdict = f"fits {use.device.part}" if use.fits else f"{use.device.part} has too few {lacks}"
    console.print(f"verdict: {verdict}", style="bold green" if use.fits else "bold red", highlight=False)
