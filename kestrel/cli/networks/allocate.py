"""``kestrel allocate``: choosing the mask bits of every layer for a target size or distortion."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.api.allocation import AllocationRun, AllocationSettings, AllocationStudy, AllocationTarget
from kestrel.api.allocation import allocate as choose_mask_bits
from kestrel.api.networks import load_weights
from kestrel.cli.options import compress as options
from kestrel.cli.options.cluster import (
    SHARED,
    DaskWorkersOption,
    PartsOption,
    SchedulerOption,
    WorkerMemoryOption,
    chosen_cluster,
    locked,
)
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Given
from kestrel.cli.rules.outputs import FileOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.allocate.allocate import DEFAULT_ROUNDS, DEFAULT_TRIALS, MeasuredPlan
from kestrel.sw.allocate.plot import PLOT_SUFFIXES, plot_allocation
from kestrel.sw.allocate.search import plan_text
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import plot_kind
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE
from kestrel.sw.model.graph import owners
from kestrel.sw.model.weights import parse_seed
from kestrel.sw.pictures.sizes import height_width, parse_size


@declares(
    "calibrate network bits_per_weight size_bytes size_of cosine mask_widths scalar_bits max_cycles fit "
    "activation_bits preprocessing pictures size percentile rounds trials compare held_out plot parts",
    writes={"plot": FileOutput(plot_kind("allocate"), PLOT_SUFFIXES)},
    effects={
        "fill_missing": options.WEIGHTS_FROM_FILE,
        "worker_memory": SHARED["worker_memory"],
        **{name: (SHARED[name], Given("parts")) for name in ("scheduler", "dask_workers")},
    },
    kept=keeps(lambda values: values["parts"], "what was measured"),
)
def allocate(
    weights: Annotated[str, typer.Argument(help="Float weights, as for compress, or random:SEED.")],
    calibrate: Annotated[Path, typer.Option(help="Folder of photographs to measure on.")],
    network: Annotated[
        str, typer.Option(help="Network: vgg16, resnet18, ..., a cut (vgg16:pool3), a width (vgg16/8).")
    ] = "vgg16",
    bits_per_weight: Annotated[
        float | None, typer.Option(help="Target: most stored bits a weight, scalars included.")
    ] = None,
    size_bytes: Annotated[
        int | None, typer.Option("--bytes", help="Target: most bytes of masks, scalars.")
    ] = None,
    size_of: Annotated[
        str | None, typer.Option(metavar="PLAN", help="Target: the size of these mask bits, as 3*7,1*6.")
    ] = None,
    cosine: Annotated[
        float | None, typer.Option(help="Target: least mean cosine of descriptors to the float network.")
    ] = None,
    mask_widths: Annotated[
        str | None, typer.Option(help="Mask bits to choose from; else all that --max-cycles can afford.")
    ] = None,
    scalar_bits: Annotated[int, typer.Option(help="Of every layer's scalars: 8, 4, 3 or 2.")] = 8,
    max_cycles: Annotated[
        float, typer.Option(help="Most cycles, relative to one pass a layer; 4 and 5 bits take 2 and 3.")
    ] = 1.0,
    fit: Annotated[
        str, typer.Option(help="Fitting rule: least-squares, output, vendor or paper.")
    ] = "least-squares",
    fill_missing: options.FillMissingOption = None,
    activation_bits: options.ActivationBitsOption = 8,
    preprocessing: options.PreprocessingOption = "torchvision",
    pictures: Annotated[int, typer.Option(help="Photographs of the folder used, spread evenly.")] = 16,
    size: options.CalibrationSizeOption = "112",
    percentile: options.PercentileOption = DEFAULT_PERCENTILE,
    rounds: Annotated[
        int, typer.Option(help="Most times sensitivities are measured again.")
    ] = DEFAULT_ROUNDS,
    trials: Annotated[
        int, typer.Option(help="Most plans near the best one that are tried.")
    ] = DEFAULT_TRIALS,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="PLAN", help="Mask bits to measure too; repeatable.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="Folder of other photographs, on which plans are measured again.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot of size and distortion to write (.svg, .png).")
    ] = None,
    scheduler: SchedulerOption = None,
    dask_workers: DaskWorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    parts: PartsOption = None,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Choose mask bits layer by layer, for a size or a distortion, from measured sensitivities.

    The result is for `kestrel compress --mask-bits`. It is compared with the largest plan of no greater size
    that gives 3 bits to the first layers and 1 bit to the others. With --parts, measuring is done in pieces,
    and a stopped run continues from there.
    """
    cluster = chosen_cluster(scheduler, dask_workers, worker_memory)
    settings = AllocationSettings(
        _widths(mask_widths), fit, activation_bits, preprocessing, parse_size(size), pictures, percentile,
        rounds, trials, scalar_bits,
    )  # fmt: skip
    target = AllocationTarget(bits_per_weight, size_bytes, size_of, cosine, max_cycles)
    fill_seed = None if fill_missing is None else parse_seed(fill_missing, "--fill-missing")
    floats = load_weights(weights, network, preprocessing=preprocessing, fill_missing=fill_seed)
    for remark in floats.origin.remarks:
        note(f"kestrel: {weights}: {remark}")
    run = None if parts is None else AllocationRun(parts, cluster)
    with locked(parts):
        study = choose_mask_bits(floats, calibrate, target, settings, compare=compare or (),
                                 held_out=held_out, run=run, progress=progress)
    if plot is not None:
        with atomic_write(plot) as temporary:
            plot_allocation(study.allocation, study.compared, study.costs.weights, f"{network}, {fit}",
                            temporary)
    payload = _payload(study) | {
        "weights": weights, "network": network, "fit": fit, "activation_bits": activation_bits,
        "scalar_bits": scalar_bits,
        "preprocessing": preprocessing, "calibration": str(calibrate), "held_out": held_out, "plot": plot,
        "calibration_pictures": study.pictures, "calibration_size": list(height_width(settings.size)),
        "held_out_pictures": study.held_out_pictures,
    }
    emit(payload, lambda console: _show(console, payload), json)


def _widths(text: str | None) -> tuple[int, ...] | None:
    """The widths to choose from. Raises InputError for text that is not a list of numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"mask widths {text!r}; allowed: {MASK_BITS[0]}..{MASK_BITS[-1]}, "
                         "as in 1,2,3") from None


def _payload(study: AllocationStudy) -> dict[str, Any]:
    allocation, costs, sensitivity = study.allocation, study.costs, study.sensitivity
    compared, seen = study.compared, study.held_out

    def described(measured: MeasuredPlan) -> dict[str, Any]:
        result = {
            "mask_bits": plan_text(measured.plan), "bits": measured.bits, "bytes": -(-measured.bits // 8),
            "bits_per_weight": measured.bits / costs.weights, "cycles": measured.cycles,
            "predicted": measured.predicted, "masks_only": measured.masks_only,
            "cosine": measured.distortion.cosine, "cosine_lowest": 1 - measured.distortion.highest,
        }
        if measured.plan in seen:
            other = seen[measured.plan]
            result |= {"cosine_held_out": other.cosine, "cosine_held_out_lowest": 1 - other.highest}
            if measured.plan != allocation.found.plan:
                nearer = seen[allocation.found.plan].values
                result["held_out_worse"] = sum(
                    mine > found for mine, found in zip(other.values, nearer, strict=True))
        return result

    return {
        **described(allocation.found), "search_alone": described(allocation.first), "tried": allocation.tried,
        "compared": [described(measured) for measured in compared],
        "layers": [
            {"name": study.shape.layers[number].name, "mask_bits": width,
             "shared_by": [layer.name for layer in study.shape.layers if layer.shares == number],
             "choices": [{"mask_bits": choice.mask_bits, "bits": choice.bits, "cycles": choice.cycles,
                          "distortion": sensitivity.descriptor[n][choice.mask_bits],
                          "output_noise": sensitivity.output[n][choice.mask_bits]}
                         for choice in costs.choices[n]]}
            for n, (number, width) in enumerate(
                zip(owners(study.shape.layers), allocation.found.plan, strict=True))
        ],
        "front": [{"mask_bits": plan_text(point.plan), "bits": point.bits, "distortion": point.distortion}
                  for point in allocation.front],
    }  # fmt: skip


def _show(console: Console, found: dict[str, Any]) -> None:
    widths = sorted({choice["mask_bits"] for layer in found["layers"] for choice in layer["choices"]})
    table = Table("layer", *(f"{width} bit{'s' * (width > 1)}" for width in widths), "chosen",
                  title=f"{found['network']}, {found['fit']}: 1 - cosine, this layer alone compressed")
    for column in table.columns[1:]:
        column.justify = "right"
    for layer in found["layers"]:
        measured = {choice["mask_bits"]: f"{choice['distortion']:.5f}" for choice in layer["choices"]}
        others = len(layer["shared_by"])
        table.add_row(layer["name"] + f" and {others} more" * bool(others),
                      *(measured.get(width, "-") for width in widths), str(layer["mask_bits"]))
    console.print(table)
    held_out = "cosine_held_out" in found
    table = Table("mask bits", "bytes", "bits a weight", "cycles", "cosine", *(["held out"] * held_out),
                  title=f"in integers, {found['calibration_pictures']} photographs")
    for column in table.columns[1:]:
        column.justify = "right"
    for plan in [found, *found["compared"]]:
        table.add_row(plan["mask_bits"], f"{plan['bytes']:,}", f"{plan['bits_per_weight']:.3f}",
                      f"{plan['cycles']:.2f}", f"{plan['cosine']:.5f}",
                      *([f"{plan['cosine_held_out']:.5f}"] if held_out else []))
    console.print(table)
    scalars = "" if found["scalar_bits"] == SCALAR_BITS else f" --scalar-bits {found['scalar_bits']}"
    command = f"kestrel compress --mask-bits '{found['mask_bits']}'{scalars}"
    console.print(command, highlight=False, soft_wrap=True)
