"""``kestrel simulate``: the engine in Verilator against the reference."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.api.simulation import WAVES_SUFFIX, EngineProof, simulate_chip, simulate_descriptors
from kestrel.api.simulation import simulate as simulate_engine
from kestrel.cli.chip.simulate_chip import chip_payload, descriptor_payload, show_chip, show_descriptors
from kestrel.cli.options.clock import DEFAULT_CLOCK, ClockOption
from kestrel.cli.options.config import ConfigOption, SetOption, Top, chosen_config
from kestrel.cli.options.maps import PoolMapsOption
from kestrel.cli.options.size import BatchOption, SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Among, Given
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.kinds import WAVES
from kestrel.sw.estimate.speed import Speed, check_clock
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.quantise import Quantiser
from kestrel.verif.simulate.frame import Waves

EXIT_MISMATCH = 1
WAVES_CYCLES, WAVES_BYTES = 20_000, 20_000_000
"""The window where none is asked for."""


@declares(
    "config settings size batch pauses seed top clock waves",
    writes={"waves": FileOutput(WAVES, (WAVES_SUFFIX,))},
    effects={
        "waves_from waves_cycles": Given("waves"),
        "pooling": Among("top", Top.CHIP),
        "pool_maps rotations whitening codes": Given("pooling"),
    },
)
def simulate(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or a name in list).")],
    images: Annotated[list[str], typer.Argument(help="Image files, or random:SEED for a generated picture.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    batch: BatchOption = 1,
    pauses: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of cycles in which each stream pauses.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pauses and of the power-up state.")] = 1,
    waves: Annotated[Path | None, typer.Option(help="Write waveforms of the first frame (.fst).")] = None,
    waves_from: Annotated[int, typer.Option(min=0, help="First cycle of the waveforms.")] = 0,
    waves_cycles: Annotated[
        int | None,
        typer.Option(min=1, help=f"Cycles of the waveforms; default: {WAVES_CYCLES:,}, or what "
                                 f"{WAVES_BYTES // 10**6} MB hold."),
    ] = None,
    top: Annotated[
        Top, typer.Option(help="engine: every layer is compared; chip: through its bus and streams.")
    ] = Top.ENGINE,
    clock: ClockOption = DEFAULT_CLOCK,
    pooling: Annotated[
        str | None, typer.Option(help=f"With top chip: end in a descriptor; {', '.join(POOLINGS)}.")
    ] = None,
    pool_maps: PoolMapsOption = None,
    rotations: Annotated[int, typer.Option(help="With pooling: rotations of the picture: 1, 2 or 4.")] = 1,
    whitening: Annotated[
        Path | None, typer.Option(help="With pooling: whitening file of mode after, from `kestrel whiten`.")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(help="With pooling: descriptor file with codes, whose ranges and thresholds are used."),
    ] = None,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Simulate engine or chip in Verilator and compare every element with the reference.

    Of the engine every layer is compared, of the chip, with the C driver as its host, what comes out. Exit
    code 1 if anything differs.
    """
    chosen, wanted = chosen_config(config, settings), parse_size(size)
    window = None if waves is None else _window(waves.absolute(), waves_from, waves_cycles)
    check_clock(clock)
    loaded = load_network(network)
    if pooling is not None:
        described = DescriptorOptions(size=wanted, pooling=pooling, rotations=rotations, whitening=whitening,
                                      pool_maps=parse_maps(pool_maps))
        found = simulate_descriptors(
            loaded, images, chosen, described, batch=batch,
            quantiser=None if codes is None else _quantiser(codes), pauses=pauses, seed=seed,
            waves=window, progress=progress,
        )  # fmt: skip
        speed = Speed(found.all_reports[0].total_cycles, 1, clock)
        payload = descriptor_payload(found, loaded, chosen, described) | speed.payload
        emit(payload, lambda console: show_descriptors(console, payload, speed), json)
    elif top is Top.CHIP:
        found = simulate_chip(loaded, images, chosen, wanted, batch=batch, pauses=pauses, seed=seed,
                              waves=window, progress=progress)
        speed = Speed(found.frames[0].cycles, batch, clock)
        payload = chip_payload(found, loaded, chosen, wanted) | speed.payload
        emit(payload, lambda console: show_chip(console, payload, speed), json)
    else:
        found = simulate_engine(loaded, images, chosen, wanted, batch=batch, pauses=pauses, seed=seed,
                                waves=window, progress=progress)
        speed = Speed(found.cycles, batch, clock)
        payload = _payload(found, loaded) | speed.payload
        emit(payload, lambda console: _show(console, found, payload, speed), json)
    if not found.bit_exact or not found.cycles_as_modelled:
        raise typer.Exit(EXIT_MISMATCH)


def _window(file: Path, start: int, cycles: int | None) -> Waves:
    if cycles is not None:
        return Waves(file, start, cycles)
    return Waves(file, start, WAVES_CYCLES, WAVES_BYTES - WAVES_BYTES // 50)  # the last cycles go beyond it


def _quantiser(path: Path) -> Quantiser:
    codes = load_descriptors(path).codes
    if codes is None:
        raise InputError(f"codes {path}: descriptors without codes; allowed: made with --codes")
    return codes.quantiser


def _payload(proof: EngineProof, network: CompressedNetwork) -> dict[str, Any]:
    reports = proof.frames
    first = reports[0]
    return {
        "network": network.name,
        "config": proof.plan.config.name,
        "activation_bits": network.activation_bits,
        "height": proof.plan.height,
        "width": proof.plan.width,
        "batch": proof.plan.images,
        "images": [
            {
                "image": image,
                "bit_exact": report.bit_exact,
                "values_compared": report.values_compared,
                "mismatches": report.mismatches,
                "cycles": report.cycles,
            }
            for image, report in zip(proof.images, reports, strict=True)
        ],
        "bit_exact": proof.bit_exact,
        "values_compared": proof.values_compared,
        "mismatches": proof.mismatches,
        # The cycles of one frame; without pauses, all frames take the same number.
        "cycles": proof.cycles,
        "model_cycles": first.model_cycles,
        "cycles_as_modelled": proof.cycles_as_modelled,
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
        "build_seconds": proof.build_seconds,
        "sim_seconds": sum(report.seconds for report in reports),
    }


def _show(console: Console, proof: EngineProof, payload: dict[str, Any], speed: Speed) -> None:
    title = (
        f"{payload['network']} on {payload['config']}, {payload['height']} x {payload['width']}, "
        f"{f'{proof.plan.images} at once, ' if proof.plan.images > 1 else ''}"
        f"{len(proof.frames)} frame{'s' if len(proof.frames) > 1 else ''}"
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
    console.print(f"speed: {speed}", highlight=False)
    spent = ", ".join(f"{name} {cycles:,}" for name, cycles in payload["counters"].items() if cycles)
    console.print(f"the engine's counters, in cycles: {spent}")
    for image, frame in zip(proof.images, proof.frames, strict=True):
        for result in frame.results:
            if result.mismatches:
                console.print(f"{image}: {result}")
    good = payload["bit_exact"] and payload["cycles_as_modelled"]
    verdict = "bit-exact" if payload["bit_exact"] else "NOT bit-exact"
    counted = "as modelled" if payload["cycles_as_modelled"] else "NOT as modelled"
    console.print(f"verdict: {verdict}, cycles {counted}", style="bold green" if good else "bold red")
