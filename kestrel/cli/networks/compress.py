"""``kestrel compress``: float weights to the chip's integers."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.options import compress as options
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.compress import pipeline
from kestrel.sw.compress.calibrate import (
    DEFAULT_PERCENTILE,
    CalibrationPictures,
    folder_pictures,
    generated_pictures,
)
from kestrel.sw.compress.fit import SEQUENTIAL_RULE
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.report import CompressionReport
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork, load_weights, parse_seed
from kestrel.sw.pictures.images import SIDE_MAX


def compress(
    weights: Annotated[
        str, typer.Argument(help="Float weights: PyTorch, safetensors, ONNX, Keras, npz, or random:SEED.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Network file to write (.safetensors).")],
    network: Annotated[
        str, typer.Option(help="Network: vgg16, a cut (vgg16:pool3), a width (vgg16/8).")
    ] = "vgg16",
    mask_bits: Annotated[str, typer.Option(help="Mask bits by layer, BITS*LAYERS,... or one number.")] = "3",
    fit: Annotated[
        str, typer.Option(help="Fitting rule: least-squares, output, sequential, vendor or paper.")
    ] = "least-squares",
    fill_missing: options.FillMissingOption = None,
    activation_bits: options.ActivationBitsOption = 8,
    preprocessing: options.PreprocessingOption = "torchvision",
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of photographs for activation ranges.")
    ] = None,
    calibration_size: options.CalibrationSizeOption = "224x224",
    percentile: options.PercentileOption = DEFAULT_PERCENTILE,
    seed: Annotated[int, typer.Option(help="Seed of the pictures generated without --calibrate.")] = 0,
    json: JsonOption = False,
) -> None:
    """Turn trained float weights into masks, scalars, biases and shifts.

    Without --calibrate, activation ranges come from generated pictures: good enough to try things out and
    for random weights, not for a trained network.
    """
    shape = parse_network(network)
    plan = parse_mask_plan(mask_bits, shape)
    height, width = parse_size(calibration_size)
    step = min(find_preprocessing(preprocessing).scale)
    fill_seed = None if fill_missing is None else parse_seed(fill_missing, "--fill-missing")
    check_output(output)
    if output.suffix != ".safetensors":
        raise InputError(f"output {output}: suffix {output.suffix!r}; allowed: .safetensors")
    pictures = _pictures(calibrate, height, width, seed)
    floats = load_weights(weights, shape, step, fill_seed)
    for remark in floats.origin.remarks:
        note(f"kestrel: {weights}: {remark}")
    result, report = pipeline.compress(
        floats, plan, pictures, preprocessing=preprocessing,
        activation_bits=activation_bits, fit=fit, percentile=percentile, progress=progress,
    )
    save_network(result, output)
    if calibrate is None and not weights.startswith("random:"):
        note("kestrel: no --calibrate folder: activation ranges come from generated pictures")
    for warning in report.warnings:
        note(f"kestrel: warning: {warning}")
    emit(payload(report, floats, weights, output), lambda console: _show(console, report, output), json)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of ``HEIGHTxWIDTH``. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None or not all(1 <= int(side) <= SIDE_MAX for side in match.groups()):
        raise InputError(f"calibration size {text!r}; allowed: HEIGHTxWIDTH, each 1..{SIDE_MAX}")
    return int(match[1]), int(match[2])


def _pictures(folder: Path | None, height: int, width: int, seed: int) -> CalibrationPictures:
    if folder is not None:
        return folder_pictures(folder, height, width)
    if seed < 0:
        raise InputError(f"seed {seed}; allowed: 0 or more")
    return generated_pictures(height, width, seed)


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


def _show(console: Console, report: CompressionReport, output: Path) -> None:
    table = Table("layer", "mask bits", "shift", "SQNR dB", "alpha max", "saturated", "dead kernels", "range",
                  "zero", "greatest",
                  title=f"{report.network}, {report.fit}, {report.activation_bits}-bit activations")
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in report.layers:
        name = layer.name if layer.trained else f"{layer.name}*"
        table.add_row(name, str(layer.mask_bits), str(layer.shift), _decibels(layer.sqnr_float_db),
                      str(layer.alpha_max),
                      f"{layer.saturated:.4%}", str(layer.dead_kernels), f"{layer.range:.4g}",
                      f"{layer.zero_outputs:.1%}", f"{layer.saturated_outputs:.2%}")
    console.print(table)
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
