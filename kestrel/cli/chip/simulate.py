"""``kestrel simulate``: the engine in Verilator against the reference."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.chip.simulate_chip import (
    DescriptorOptions,
    show_chip,
    show_descriptors,
    simulate_chip,
    simulate_descriptors,
)
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.pictures.images import generate_picture, load_image, open_image
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS
from kestrel.sw.retrieval.pooling.quantise import Quantiser
from kestrel.verif.simulate.engine import FrameReport, Simulation
from kestrel.verif.simulate.frame import Pauses, Waves

EXIT_MISMATCH = 1


@dataclass(frozen=True)
class _Frame:
    image: str
    report: FrameReport


def simulate(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or embedded).")],
    images: Annotated[list[str], typer.Argument(help="Image files, or random:SEED for a generated picture.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    height: Annotated[int, typer.Option(help="Images are resized to this height.")] = 224,
    width: Annotated[int, typer.Option(help="Images are resized to this width.")] = 224,
    pauses: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of cycles in which each stream pauses.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pauses and of the power-up state.")] = 1,
    waves: Annotated[Path | None, typer.Option(help="Write waveforms of the first frame (.fst).")] = None,
    waves_from: Annotated[int, typer.Option(min=0, help="First cycle of the waveforms.")] = 0,
    waves_cycles: Annotated[int, typer.Option(min=1, help="Cycles of the waveforms.")] = 20_000,
    top: Annotated[
        Top, typer.Option(help="engine: every layer is compared; chip: through its bus and streams.")
    ] = Top.ENGINE,
    pooling: Annotated[
        str | None, typer.Option(help=f"With top chip: end in a descriptor; {', '.join(POOLINGS)}.")
    ] = None,
    rotations: Annotated[int, typer.Option(help="With pooling: rotations of the picture: 1, 2 or 4.")] = 1,
    whitening: Annotated[
        Path | None, typer.Option(help="With pooling: whitening file of mode after, from `kestrel whiten`.")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(help="With pooling: descriptor file with codes, whose ranges and thresholds are used."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Simulate the engine in Verilator and compare every element of every layer with the reference; or the
    whole chip, with the C driver as its host, and compare what comes out.

    Exit code 1 if anything differs.
    """
    chosen = chosen_config(config, settings)
    compressed = load_network(network)
    if pooling is not None:
        if top is not Top.CHIP:
            raise InputError(f"pooling {pooling} with top engine; allowed: with top chip")
        chosen_options = DescriptorOptions(
            height, width, pooling, rotations, whitening, None if codes is None else _quantiser(codes)
        )
        pictures = [(image, _picture(image, height, width)) for image in images]
        found = simulate_descriptors(compressed, chosen, pictures, chosen_options, pauses, seed)
        emit(found, lambda console: show_descriptors(console, found), json)
        if not found["equal"] or not found["cycles_as_modelled"]:
            raise typer.Exit(EXIT_MISMATCH)
        return
    frames = [(image, _pixels(image, compressed, height, width)) for image in images]
    if waves is not None and top is Top.CHIP:
        raise InputError(f"waves {waves} with top chip; allowed: with top engine")
    if top is Top.CHIP:
        report = simulate_chip(compressed, chosen, frames, pauses, seed)
        emit(report, lambda console: show_chip(console, report), json)
        if not report["bit_exact"] or not report["cycles_as_modelled"]:
            raise typer.Exit(EXIT_MISMATCH)
        return
    if waves is not None:
        if waves.suffix != ".fst":
            raise InputError(f"waves {waves}: suffix {waves.suffix!r}; allowed: .fst")
        check_output(waves)
    with progress("building the simulation", None):
        simulation = Simulation(compressed, chosen, height, width, waves=waves is not None)
    done: list[_Frame] = []
    with progress("simulating", len(frames) * simulation.model.total) as advance:
        for number, (image, pixels) in enumerate(frames):
            window = Waves(waves.absolute(), waves_from, waves_cycles) if waves and number == 0 else None
            report = simulation.run(
                pixels,
                pauses=Pauses(seed + number, pauses) if pauses else None,
                waves=window,
                seed=seed + number,
                progress=advance,
            )
            done.append(_Frame(image, report))
    payload = _payload(done, simulation, height, width, paused=pauses > 0)
    emit(payload, lambda console: _show(console, done, payload), json)
    if not payload["bit_exact"] or not payload["cycles_as_modelled"]:
        raise typer.Exit(EXIT_MISMATCH)


def _picture(image: str, height: int, width: int) -> np.ndarray:
    """uint8 RGB [H, W, 3], in its own size; a generated one twice as high and wide as the crops."""
    if match := re.fullmatch(r"random:(\d{1,9})", image):
        return generate_picture(2 * height, 2 * width, int(match[1]))
    return open_image(Path(image))


def _quantiser(path: Path) -> Quantiser:
    codes = load_descriptors(path).codes
    if codes is None:
        raise InputError(f"codes {path}: descriptors without codes; allowed: made with --codes")
    return codes.quantiser


def _pixels(image: str, network: CompressedNetwork, height: int, width: int) -> np.ndarray:
    """uint8 [C, height, width], channels in the network's order."""
    preprocessing = find_preprocessing(network.preprocessing)
    channels = network.layers[0].shape.in_channels
    if channels != len(preprocessing.channels):
        raise InputError(
            f"network {network.name}: {channels} input channels; "
            f"allowed for an image: {len(preprocessing.channels)}"
        )
    if match := re.fullmatch(r"random:(\d{1,9})", image):
        return preprocessing.pixels(generate_picture(height, width, int(match[1])))
    return preprocessing.pixels(load_image(image, height, width))


def _payload(
    frames: list[_Frame], simulation: Simulation, height: int, width: int, paused: bool
) -> dict[str, Any]:
    reports = [frame.report for frame in frames]
    first = reports[0]
    config = simulation.plan.config
    return {
        "network": simulation.network.name,
        "config": config.name,
        "activation_bits": simulation.network.activation_bits,
        "height": height,
        "width": width,
        "images": [
            {
                "image": frame.image,
                "bit_exact": frame.report.bit_exact,
                "values_compared": frame.report.values_compared,
                "mismatches": frame.report.mismatches,
                "cycles": frame.report.cycles,
            }
            for frame in frames
        ],
        "bit_exact": all(report.bit_exact for report in reports),
        "values_compared": sum(report.values_compared for report in reports),
        "mismatches": sum(report.mismatches for report in reports),
        # Of one frame; without pauses all frames take as many.
        "cycles": first.cycles,
        "model_cycles": first.model_cycles,
        "cycles_as_modelled": paused or all(report.cycles_as_modelled for report in reports),
        "compute_cycles": first.compute_cycles,
        "start_cycles": first.start_cycles,
        "input_cycles": first.input_cycles,
        "output_cycles": first.output_cycles,
        "mac_utilisation": first.mac_utilisation,
        "counters": first.counters,
        "layers": [
            {
                "name": layer.result.name,
                "cycles": layer.cycles,
                "model_cycles": layer.model_cycles,
                "utilisation": layer.utilisation,
                "values_compared": sum(r.layers[n].result.values_compared for r in reports),
                "mismatches": sum(r.layers[n].result.mismatches for r in reports),
            }
            for n, layer in enumerate(first.layers)
        ],
        "output": {
            "values_compared": sum(r.output.values_compared for r in reports),
            "mismatches": sum(r.output.mismatches for r in reports),
        },
        "build_seconds": simulation.build.seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def _show(console: Console, frames: list[_Frame], payload: dict[str, Any]) -> None:
    title = (
        f"{payload['network']} on {payload['config']}, {payload['height']} x {payload['width']}, "
        f"{len(frames)} frame{'s' if len(frames) > 1 else ''}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("layer")
    for name in ("cycles", "model", "utilisation", "values compared", "mismatches"):
        table.add_column(name, justify="right")
    for layer in payload["layers"]:
        table.add_row(
            layer["name"],
            f"{layer['cycles']:,}",
            f"{layer['model_cycles']:,}",
            f"{layer['utilisation']:.1%}",
            f"{layer['values_compared']:,}",
            f"{layer['mismatches']:,}",
        )
    table.add_section()
    table.add_row(
        "all layers",
        f"{payload['compute_cycles']:,}",
        f"{sum(layer['model_cycles'] for layer in payload['layers']):,}",
        f"{payload['mac_utilisation']:.1%}",
        f"{sum(layer['values_compared'] for layer in payload['layers']):,}",
        f"{sum(layer['mismatches'] for layer in payload['layers']):,}",
    )
    output = payload["output"]
    table.add_row(
        "frame, with streams",
        f"{payload['cycles']:,}",
        f"{payload['model_cycles']:,}",
        "",
        f"{payload['values_compared']:,}",
        f"{payload['mismatches']:,}",
    )
    console.print(table)
    console.print(
        f"output stream: {output['values_compared']:,} values, {output['mismatches']} mismatches; "
        f"build {payload['build_seconds']:.1f} s, simulation {payload['sim_seconds']:.1f} s"
    )
    spent = ", ".join(f"{name} {cycles:,}" for name, cycles in payload["counters"].items() if cycles)
    console.print(f"the engine's counters, in cycles: {spent}")
    for frame in frames:
        for result in frame.report.results:
            if result.mismatches:
                console.print(f"{frame.image}: {result}")
    good = payload["bit_exact"] and payload["cycles_as_modelled"]
    verdict = "bit-exact" if payload["bit_exact"] else "NOT bit-exact"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")
