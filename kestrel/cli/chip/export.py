"""``kestrel export``: the ROM images of a network for an engine."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.options.config import ConfigOption, SetOption, chosen_config
from kestrel.cli.output import JsonOption, emit
from kestrel.export.export import export_network
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import load_network
from kestrel.sw.retrieval.describe.chip_constants import trained_constants
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.whitening import load_whitening
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS


def export(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or embedded).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigOption = "edge",
    settings: SetOption = None,
    height: Annotated[int, typer.Option(help="Height of the image in pixels.")] = 224,
    width: Annotated[int, typer.Option(help="Width of the image in pixels.")] = 224,
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
    if threshold not in THRESHOLDS:
        raise InputError(f"threshold {threshold!r}; allowed: {', '.join(THRESHOLDS)}")
    if whitening is not None and descriptor is None:
        raise InputError(f"whitening {whitening}; allowed: with --descriptor")
    loaded = load_network(network)
    constants = None
    if descriptor is not None:
        constants = trained_constants(
            loaded, load_descriptors(descriptor), str(descriptor), height, width,
            None if whitening is None else load_whitening(whitening), threshold,
        )  # fmt: skip
    report = export_network(loaded, chosen_config(config, settings), height, width, output, constants)
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
        "descriptor_words": manifest.descriptor.words if manifest.descriptor else 0,
        "descriptor_crc32": manifest.descriptor.crc32 if manifest.descriptor else None,
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
