"""``kestrel export``: the ROM images of a network for an engine."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kestrel.api.chip import export_network
from kestrel.cli.options.config import ConfigOption, SetOption, chosen_config
from kestrel.cli.options.size import BatchOption, SizeOption
from kestrel.cli.output import JsonOption, emit
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Given
from kestrel.cli.rules.outputs import FileOutput, FolderOutput, ForceOption
from kestrel.export.exchange.write import ONNX, SAFETENSORS, check_exchange, write_floats, write_integers
from kestrel.export.export import ExportReport
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.kinds import FLOAT_MODEL, INTEGER_MODEL, WEIGHTS
from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrieval.pooling.quantise import THRESHOLDS


@declares(
    "output onnx floats",
    writes={
        "output": FolderOutput(),
        "onnx": FileOutput(INTEGER_MODEL, (ONNX,)),
        "floats": FileOutput(lambda values: FLOAT_MODEL if Path(values["floats"]).suffix == ONNX else WEIGHTS,
                             (SAFETENSORS, ONNX)),
    },
    effects={
        "config settings size batch descriptor": Given("output"),
        "whitening threshold": Given("descriptor"),
    },
)
def export(
    network: Annotated[Path, typer.Argument(help="Compressed network (.safetensors, or a name in list).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write the ROM images to.")
    ] = None,
    config: ConfigOption = "edge",
    settings: SetOption = None,
    size: SizeOption = "224",
    batch: BatchOption = 1,
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
        str | None,
        typer.Option(help=f"With --descriptor: thresholds of the bits, {' or '.join(THRESHOLDS)}; default: "
                     f"those of its codes, else {THRESHOLDS[0]}."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="File (.onnx) to write: the integer network, for any ONNX runtime.")
    ] = None,
    floats: Annotated[
        Path | None,
        typer.Option("--float", help="File to write: the dequantised network, weights with torchvision's key "
                     "names (.safetensors) or a float model (.onnx)."),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write weight ROM, schedule table, C header and manifest, or the network for other programs.

    With --descriptor, the descriptor ROM is written too. -o, --onnx and --float may be combined.
    """
    if output is None and onnx is None and floats is None:
        raise InputError("nothing to write; allowed: -o FOLDER, --onnx FILE or --float FILE")
    check_exchange(onnx, floats)
    loaded = load_network(network)
    payload: dict[str, Any] = {"network": loaded.name, "onnx": onnx, "float": floats}
    report = None
    if output is not None:
        report = export_network(
            loaded, output, chosen_config(config, settings), parse_size(size), batch=batch,
            descriptors=descriptor, whitening=whitening, threshold=threshold, force=force,
        )  # fmt: skip
        payload |= _payload(report)
    if onnx is not None:
        write_integers(loaded, onnx)
    if floats is not None:
        write_floats(loaded, floats)

    def show(console: Console) -> None:
        if report is not None:
            _show(console, report)
        for path in (onnx, floats):
            if path is not None:
                console.print(f"written: {path}", highlight=False)

    emit(payload, show, json)


def _payload(report: ExportReport) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "files": list(report.files),
        "config": manifest.config.name,
        "height": manifest.height,
        "width": manifest.width,
        "batch": manifest.images,
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


def _show(console: Console, report: ExportReport) -> None:
    manifest = report.manifest
    console.print(
        f"{manifest.network} for {manifest.config.name} at {manifest.height} x {manifest.width}: "
        f"{manifest.rom_bits:,} bits of weight ROM ({manifest.overhead:.2%} more than masks, scalars and "
        f"biases), {manifest.table.words} table words; {len(report.files)} files in {report.directory}"
    )
