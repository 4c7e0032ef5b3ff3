"""``kestrel export``: the ROM images of a network for an engine."""

from pathlib import Path
from typing import Annotated

import typer

from export.export import export_network
from sw.cli.output import JsonOption, emit
from sw.compressed import load_network
from verif.cli.config_options import ConfigOption, SetOption, chosen_config


def export(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    height: Annotated[int, typer.Option(help="Height of the image in pixels.")] = 224,
    width: Annotated[int, typer.Option(help="Width of the image in pixels.")] = 224,
    json: JsonOption = False,
) -> None:
    """Write weight ROM, schedule table, C header and manifest."""
    report = export_network(load_network(network), chosen_config(config, settings), height, width, output)
    manifest = report.manifest
    payload = {
        "files": list(report.files),
        "network": manifest.network,
        "config": manifest.config.name,
        "height": height,
        "width": width,
        "rom_bits": manifest.rom_bits,
        "weight_bits": manifest.weight_bits,
        "overhead": manifest.overhead,
        "weight_words": manifest.weights.words,
        "table_words": manifest.table.words,
        "weights_crc32": manifest.weights.crc32,
        "table_crc32": manifest.table.crc32,
    }
    emit(
        payload,
        lambda console: console.print(
            f"{manifest.network} for {manifest.config.name} at {height} x {width}: {manifest.rom_bits:,} "
            f"bits of weight ROM ({manifest.overhead:.2%} more than masks, scalars and biases), "
            f"{manifest.table.words} table words; {len(report.files)} files in {output}"
        ),
        json,
    )
