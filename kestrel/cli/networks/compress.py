"""``kestrel compress``: float weights to the chip's integers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kestrel.api.networks import compress as compress_weights
from kestrel.api.networks import load_weights, mask_plan, scalar_plan
from kestrel.cli.options import compress as options
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.sw.common.kinds import NETWORK
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE
from kestrel.sw.compress.fit import SEQUENTIAL_RULE
from kestrel.sw.compress.report import CompressionReport
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.storage.load import find_network
from kestrel.sw.model.weights import FloatNetwork, parse_seed
from kestrel.sw.pictures.sizes import parse_size


@declares(
    "output network mask_bits scalar_bits fit activation_bits preprocessing calibrate size percentile",
    writes={"output": FileOutput(NETWORK, (".safetensors",))},
    effects={
        "fill_missing": options.WEIGHTS_FROM_FILE,
        "seed": Absent("calibrate"),
    },
)
def compress(
    weights: Annotated[
        str, typer.Argument(help="Float weights: PyTorch, safetensors, ONNX, Keras, npz, or random:SEED.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Network file to write (.safetensors).")],
    network: Annotated[
        str, typer.Option(help="Network: vgg16, resnet18, ..., a cut (vgg16:pool3), a width (vgg16/8).")
    ] = "vgg16",
    mask_bits: Annotated[str, typer.Option(help="Mask bits by layer, BITS*LAYERS,... or one number.")] = "3",
    scalar_bits: Annotated[
        str, typer.Option(help="Scalar bits by layer, likewise; of 8, 4, 3, 2: 8*3,4*rest.")
    ] = "8",
    fit: Annotated[
        str, typer.Option(help="Fitting rule: least-squares, output, sequential, vendor or paper.")
    ] = "least-squares",
    fill_missing: options.FillMissingOption = None,
    activation_bits: options.ActivationBitsOption = 8,
    preprocessing: options.PreprocessingOption = "torchvision",
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of photographs for activation ranges.")
    ] = None,
    size: options.CalibrationSizeOption = "224",
    percentile: options.PercentileOption = DEFAULT_PERCENTILE,
    seed: Annotated[int, typer.Option(help="Seed of the pictures generated without --calibrate.")] = 0,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Turn trained float weights into masks, scalars, biases and shifts.

    Without --calibrate, activation ranges come from generated pictures: good enough to try things out and
    for random weights, not for a trained network.
    """
    fill_seed = None if fill_missing is None else parse_seed(fill_missing, "--fill-missing")
    measured = parse_size(size)
    shape = find_network(network, weights)
    mask_plan(mask_bits, shape)  # refused before weights are read
    scalar_plan(scalar_bits, shape)
    floats = load_weights(weights, network, preprocessing=preprocessing, fill_missing=fill_seed)
    for remark in floats.origin.remarks:
        note(f"kestrel: {weights}: {remark}")
    result, report = compress_weights(
        floats, calibrate,
        mask_bits=mask_bits, scalar_bits=scalar_bits, fit=fit, activation_bits=activation_bits,
        preprocessing=preprocessing, size=measured, percentile=percentile, seed=seed, progress=progress,
    )
    save_network(result, output)
    if calibrate is None and not weights.startswith("random:"):
        note("kestrel: no --calibrate folder: activation ranges come from generated pictures")
    for warning in report.warnings:
        note(f"kestrel: warning: {warning}")
    emit(payload(report, floats, weights, output), lambda console: _show(console, report, output), json)


def payload(report: CompressionReport, floats: FloatNetwork, weights: str, output: Path) -> dict[str, Any]:
    """The report as the command's JSON object."""
    return {
        "weights": weights, "weights_file": asdict(floats.origin), "output": output,
        "untrained": [x.name for x in report.layers if not x.trained],
        "bits": report.bits, "bytes": report.bytes,
        "warnings": report.warnings, "ratio": report.ratio, "bits_per_weight": report.bits_per_weight,
        **asdict(report),
    }


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.2f}"


def _layers(title: str, *columns: str) -> Table:
    """A table with a row a layer, whose name is never cut."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _show(console: Console, report: CompressionReport, output: Path) -> None:
    kernels = _layers(f"{report.network}, {report.fit}: kernels", "mask\nbits", "scalar\nbits", "shift",
                      "SQNR\ndB", "alpha\nmax", "saturated", "dead\nkernels")
    outputs = _layers(f"outputs, {report.activation_bits}-bit activations", "range", "zero", "greatest")
    for layer in report.layers:
        name = layer.name if layer.trained else f"{layer.name}*"
        kernels.add_row(name, str(layer.mask_bits), str(layer.scalar_bits), str(layer.shift),
                        _decibels(layer.sqnr_float_db), str(layer.alpha_max), f"{layer.saturated:.4%}",
                        str(layer.dead_kernels))
        outputs.add_row(name, f"{layer.range:.4g}", f"{layer.zero_outputs:.1%}",
                        f"{layer.saturated_outputs:.2%}")
    console.print(kernels)
    console.print(outputs)
    if report.fit == SEQUENTIAL_RULE:
        targets = ", ".join(f"{layer.name} {_decibels(layer.sqnr_target_db)}" for layer in report.layers)
        console.print(f"SQNR dB above is against the float weights; against those aimed for: {targets}",
                      highlight=False)
    console.print(f"masks and scalars: {report.bits:,} bits = {report.bytes:,} bytes, "
                  f"{report.bits_per_weight:.3f} bits a weight, 1 : {report.ratio:.2f} to float32",
                  highlight=False)
    console.print(f"beside them: biases {report.bias_bits:,}, shifts {report.shift_bits:,}, "
                  f"scales {report.scale_bits:,} bits", highlight=False)
    console.print(f"activation ranges: {report.percentile:g}th percentile over {report.calibration_pictures} "
                  f"pictures, {report.calibration}", highlight=False)
    if untrained := [layer.name for layer in report.layers if not layer.trained]:
        console.print(f"* not trained, seeded random weights: {', '.join(untrained)}", highlight=False)
    console.print(f"written: {output}", highlight=False)
