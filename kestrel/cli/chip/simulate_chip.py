"""``kestrel simulate --top chip``: the whole chip, with the C driver as its host."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from kestrel.cli.output import progress
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.retrieval.pooling.quantise import Quantiser
from kestrel.verif.simulate.chip import ChipReport, ChipSimulation
from kestrel.verif.simulate.descriptor import KINDS, DescriptorReport, DescriptorSimulation
from kestrel.verif.simulate.frame import Pauses


@dataclass(frozen=True)
class DescriptorOptions:
    """What a descriptor is; see DescriptorSimulation."""

    height: int
    width: int
    pooling: str
    rotations: int
    whitening: Path | None
    quantiser: Quantiser | None


def simulate_chip(
    network: CompressedNetwork,
    config: EngineConfig,
    frames: list[tuple[str, np.ndarray]],
    pauses: float,
    seed: int,
) -> dict[str, Any]:
    """The payload of a run; ``frames`` are names and pixels."""
    _, height, width = frames[0][1].shape
    with progress("building the simulation", None):
        simulation = ChipSimulation(network, ChipConfig(config), height, width)
    reports: list[ChipReport] = []
    with progress("simulating", len(frames) * simulation.model.total) as advance:
        for number, (_, pixels) in enumerate(frames):
            paused = Pauses(seed + number, pauses) if pauses else None
            reports.append(simulation.run(pixels, pauses=paused, seed=seed + number, progress=advance))
    first = reports[0]
    return {
        "top": "chip",
        "network": network.name,
        "network_crc": f"{first.network_crc:08x}",
        "config": config.name,
        "activation_bits": network.activation_bits,
        "height": height,
        "width": width,
        "images": [
            {
                "image": name,
                "bit_exact": report.bit_exact,
                "values_compared": report.values_compared,
                "mismatches": report.mismatches,
                "cycles": report.cycles,
                "host_cycles": report.host_cycles,
            }
            for (name, _), report in zip(frames, reports, strict=True)
        ],
        "bit_exact": all(report.bit_exact for report in reports),
        "values_compared": sum(report.values_compared for report in reports),
        "mismatches": sum(report.mismatches for report in reports),
        "cycles": first.cycles,
        "model_cycles": first.model_cycles,
        "cycles_as_modelled": pauses > 0 or all(r.cycles == r.model_cycles for r in reports),
        "counters": first.counters,
        "driver_calls": [{"call": call, "result": result} for call, result in first.calls],
        "build_seconds": simulation.build.seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def show_chip(console: Console, payload: dict[str, Any]) -> None:
    """The payload for people."""
    console.print(
        f"{payload['network']} (CRC {payload['network_crc']}) on a chip of configuration "
        f"{payload['config']}, {payload['height']} x {payload['width']}"
    )
    for frame in payload["images"]:
        console.print(
            f"{frame['image']}: {frame['values_compared']:,} features, {frame['mismatches']:,} mismatches; "
            f"{frame['cycles']:,} cycles, {frame['host_cycles']:,} from the driver's call to the last byte"
        )
    console.print(f"closed form: {payload['model_cycles']:,} cycles")
    spent = ", ".join(f"{name} {cycles:,}" for name, cycles in payload["counters"].items() if cycles)
    console.print(f"the chip's counters, in cycles: {spent}")
    calls = ", ".join(f"{row['call']} {row['result']}" for row in payload["driver_calls"])
    console.print(f"the C driver's calls: {calls}")
    good = payload["bit_exact"] and payload["cycles_as_modelled"]
    verdict = "bit-exact" if payload["bit_exact"] else "NOT bit-exact"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")


def simulate_descriptors(
    network: CompressedNetwork,
    config: EngineConfig,
    pictures: list[tuple[str, np.ndarray]],
    options: DescriptorOptions,
    pauses: float,
    seed: int,
) -> dict[str, Any]:
    """The payload of a run that ends in descriptors; ``pictures`` are names and RGB pictures."""
    with progress("building the simulation", None):
        simulation = DescriptorSimulation(
            network, config, options.height, options.width, options.pooling, rotations=options.rotations,
            whitening=options.whitening, quantiser=options.quantiser,
        )  # fmt: skip
    model = simulation.model.total
    rows: list[dict[str, Any]] = []
    reports: list[DescriptorReport] = []
    with progress("simulating", None) as advance:
        for number, (name, rgb) in enumerate(pictures):
            row: dict[str, Any] = {"image": name, "float_cosine": simulation.float_cosine(rgb)}
            for kind in KINDS:
                paused = Pauses(seed + number, pauses) if pauses else None
                report = simulation.run(rgb, kind, pauses=paused, seed=seed + number, progress=advance)
                reports.append(report)
                row[kind] = {
                    "equal": report.equal,
                    "found": report.found.hex(),
                    "expected": report.expected.hex(),
                    "frames": report.frames,
                    "cycles": report.cycles,
                    "model_cycles": report.model_cycles,
                    "descriptor_unit_cycles": report.descriptor_cycles,
                    "share_of_descriptor_unit": sum(report.descriptor_cycles) / sum(report.cycles),
                    "counters_of_last_frame": report.counters,
                }
            rows.append(row)
    first = reports[0]
    return {
        "top": "chip",
        "network": network.name,
        "config": config.name,
        "activation_bits": network.activation_bits,
        "height": options.height,
        "width": options.width,
        "pooling": options.pooling,
        "crops": simulation.describer.crops.crops,
        "rotations": options.rotations,
        "whitening": simulation.describer.settings.whitening,
        "regions": len(simulation.constants.regions),
        "dimensions": simulation.constants.dimensions,
        "frame_cycles_with_features": model,
        "images": rows,
        "equal": all(report.equal for report in reports),
        "cycles_as_modelled": pauses > 0 or all(r.cycles == r.model_cycles for r in reports),
        "driver_calls": [{"call": call, "result": result} for call, result in first.calls],
        "build_seconds": simulation.build.seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def show_descriptors(console: Console, payload: dict[str, Any]) -> None:
    """The payload for people."""
    console.print(
        f"{payload['network']} on a chip of configuration {payload['config']}: {payload['pooling']} "
        f"({payload['crops']}, {payload['rotations']} rotations), {payload['regions']} regions of a map, "
        f"{payload['dimensions']} dimensions"
    )
    for row in payload["images"]:
        for kind in KINDS:
            result = row[kind]
            total, unit = sum(result["cycles"]), sum(result["descriptor_unit_cycles"])
            console.print(
                f"{row['image']}: {kind} {'equal' if result['equal'] else 'DIFFER'}, "
                f"{result['frames']} frames, {total:,} cycles, "
                f"of which the descriptor unit {unit:,} ({unit / total:.2%})"
            )
        console.print(f"{row['image']}: cosine to the float chain {row['float_cosine']:.7f}")
    good = payload["equal"] and payload["cycles_as_modelled"]
    verdict = "descriptors equal the reference's" if payload["equal"] else "descriptors DIFFER"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")
