"""``kestrel export``: the ROM images of a network for an engine."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.api.chip import export_network
from kestrel.cli.options.config import ConfigOption, SetOption, chosen_config
from kestrel.cli.options.size import SizeOption
from kestrel.cli.output import JsonOption, emit
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS


def export(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or embedded).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    descriptor: Annotated[
        Path | None,
        typer.Option(
            help="For the descriptor unit: descriptors of training photographs (.npz), from "
            "`kestrel describe` with this network, image size, pooling and whitening."
        ),
    ] = None,
    whitening: Annotated[
        Path | None, typer.Option(help="With --descriptor: the whitening file, trained with --mode after.")
    ] = None,
    threshold: Annotated[
        str, typer.Option(help=f"With --descriptor: thresholds of the bits, {' or '.join(THRESHOLDS)}.")
    ] = "median",
    json: JsonOption = False,
) -> None:
    """Write weight ROM, schedule table, C header and manifest; with --descriptor the descriptor ROM."""
    report = export_network(
        network, output, chosen_config(config, settings), parse_size(size), descriptors=descriptor,
        whitening=whitening, threshold=threshold,
    )  # fmt: skip
    manifest = report.manifest
    payload = {
        "files": list(report.files),
        "network": manifest.network,
        "config": manifest.config.name,
        "height": manifest.height,
        "width": manifest.width,
        "rom_bits": manifest.rom_bits,
        "weight_bits": manifest.weight_bits,
        "overhead": manifest.overhead,
        "weight_words": manifest.weights.words,
        "table_words": manifest.table.words,
        "weights_crc32": manifest.weights.crc32,
        "table_crc32": manifest.table.crc32,
        "descriptor_words": manifest.descriptor.words if manifest.descriptor else 0,
        "descriptor_crc32": manifest.descriptor.crc32 if manifest.descriptor else None,
    }
    emit(
        payload,
        lambda console: console.print(
            f"{manifest.network} for {manifest.config.name} at {manifest.height} x {manifest.width}: "
            f"{manifest.rom_bits:,} bits of weight ROM ({manifest.overhead:.2%} more than masks, scalars and "
            f"biases), {manifest.table.words} table words; {len(report.files)} files in {output}"
        ),
        json,
    )
