"""``kestrel retrain``: training with the chip's integers in the forward pass (docs/retraining.md)."""

import os
import resource
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from kestrel.api.networks import retrain as train_network
from kestrel.cli.options.size import METAVAR
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent, Given, Values, When
from kestrel.cli.rules.outputs import ContinuedOutput, FileOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.common.kinds import CLASSIFIER, LOG, NETWORK, WEIGHTS, plot_kind
from kestrel.sw.model.compressed import CompressedNetwork, save_network
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.pictures.sizes import parse_size
from kestrel.sw.retrain.losses import LOSSES, TEACHER_TERMS, LossSettings, parse_losses
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.run import (
    CURVE_SUFFIXES,
    SUFFIX,
    PictureSettings,
    Retrained,
    RetrainFiles,
    RetrainSettings,
)
from kestrel.sw.retrain.samples.batches import UNREADABLE_SHARE
from kestrel.sw.retrain.samples.folder import AUTO, LAYOUTS
from kestrel.sw.retrain.samples.triplets import MINERS
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.start import StudentSettings, TeacherSettings


def _with_term(*terms: str) -> When:
    """Only in a loss that has one of ``terms``."""
    names = " or ".join(name for name, parts in LOSSES.items() if set(terms) & parts.keys())
    return When(lambda values: bool(set(terms) & parse_losses(values["loss"]).keys()),
                f"in a loss without {' or '.join(terms)}", f"with {names} in --loss")


def _checkpoint_file(output: Path, checkpoint: Path | None, no_checkpoint: bool) -> Path | None:
    """The file that the run continues from."""
    if checkpoint is not None or no_checkpoint:
        return checkpoint
    return output.with_name(f"{output.stem}.checkpoint{SUFFIX}")


def _kept_checkpoint(values: Values) -> Path | None:
    return _checkpoint_file(values["output"], values["checkpoint"], values["no_checkpoint"])


@declares(
    "images output weights loss freeze steps batch size optimiser rate schedule warmup "
    "weight_decay layout augment held_out precision device workers unreadable_share seed "
    "checkpoint log",
    writes={
        "output": FileOutput(lambda values: WEIGHTS if values["float_only"] else NETWORK, (SUFFIX,)),
        "save_classifier": FileOutput(CLASSIFIER),
        "checkpoint": ContinuedOutput(),
        "log": FileOutput(LOG),
        "plot": FileOutput(plot_kind("retrain"), CURVE_SUFFIXES),
    },
    effects={
        "shape_name float_only preprocessing": Absent("network"),
        "mask_bits scalar_bits activation_bits": (Absent("network"), Absent("float_only")),
        "start_from fit learn_ranges learn_scalars gradual": Absent("float_only"),
        "range_rate": (Absent("float_only"), Given("learn_ranges")),
        "teacher": _with_term(*TEACHER_TERMS),
        "teacher_network teacher_preprocessing": Given("teacher"),
        "feature_layers": _with_term("features"),
        "classifier save_classifier": _with_term("labels"),
        "mining margin": _with_term("triplet"),
        "crop_area": Given("augment"),
        "validation_size": When(lambda v: v["held_out"] > 0 or (v["augment"] and v["crop_area"] is None),
                                "with --held-out 0", "with --held-out above 0"),
        "validate_every": When(lambda v: v["held_out"] > 0 or not v["no_checkpoint"],
                               "with --held-out 0 and --no-checkpoint",
                               "with --held-out above 0, or without --no-checkpoint"),
        "no_checkpoint": Absent("checkpoint"),
        "patience": When(lambda v: v["held_out"] > 0, "with --held-out 0", "with --held-out above 0"),
        "plot": Given("log"),
    },
    kept=keeps(_kept_checkpoint, "the training up to its last validation"),
)
def retrain(
    images: Annotated[Path, typer.Option(help="Folder of training pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Network file to write (.safetensors).")],
    network: Annotated[
        Path | None,
        typer.Argument(
            help="Compressed network to start from (.safetensors, or a name in list); none: "
            "--network and --weights."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Float weights: teacher, and start with --start float.")
    ] = None,
    start_from: Annotated[
        str, typer.Option("--start", help="From: network (its own weights), float (--weights) or auto.")
    ] = "auto",
    float_only: Annotated[
        bool, typer.Option("--float", help="Train the float network --network; writes float weights.")
    ] = False,
    shape_name: Annotated[
        str | None, typer.Option("--network", help="Without a network file: its name, as vgg16/8:pool3.")
    ] = None,
    mask_bits: Annotated[str, typer.Option(help="Likewise: BITS*LAYERS,... or one number.")] = "3",
    scalar_bits: Annotated[str, typer.Option(help="Likewise: 8, 4, 3 or 2, as 8*3,4*rest.")] = "8",
    activation_bits: Annotated[int, typer.Option(help="Likewise: bits of an activation, 4..8.")] = 8,
    preprocessing: Annotated[str, typer.Option(help="Likewise: caffe, torchvision or none.")] = "torchvision",
    teacher: Annotated[
        str | None, typer.Option(help="Float weights of another teacher than --weights.")
    ] = None,
    teacher_network: Annotated[str | None, typer.Option(help="Its network; default: the student's.")] = None,
    teacher_preprocessing: Annotated[
        str | None, typer.Option(help="What its weights expect; default: what the student's do.")
    ] = None,
    loss: Annotated[
        str, typer.Option(help="distill, relational, labels, triplet, or a sum as distill+0.5*triplet.")
    ] = "distill",
    feature_layers: Annotated[
        str, typer.Option(help="Layers whose features are distilled, by comma; default: before smaller maps.")
    ] = "",
    classifier: Annotated[
        Path | None, typer.Option(help="With labels: classifier file of an earlier run to go on with.")
    ] = None,
    save_classifier: Annotated[
        Path | None, typer.Option(help="With labels: file to write the classifier to.")
    ] = None,
    mining: Annotated[str, typer.Option(help=f"Of triplets: {', '.join(MINERS)}.")] = "batch-hard",
    margin: Annotated[float, typer.Option(help="Of triplets.")] = 0.1,
    fit: Annotated[str, typer.Option(help="Quantiser: least-squares, vendor or paper.")] = "least-squares",
    learn_ranges: Annotated[bool, typer.Option(help="Train the activation ranges.")] = True,
    learn_scalars: Annotated[bool, typer.Option(help="Train the scalars instead of fitting them.")] = False,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 150,
    batch: Annotated[int, typer.Option(help="Pictures in a step, of all processes.")] = 8,
    size: Annotated[
        str, typer.Option(metavar=METAVAR, help="Of a training picture, pixels: a side, or HEIGHTxWIDTH.")
    ] = "96",
    optimiser: Annotated[str, typer.Option(help="adam, adamw or sgd.")] = "adam",
    rate: Annotated[float, typer.Option(help="Learning rate, in parts of each layer's weights.")] = 0.003,
    range_rate: Annotated[float, typer.Option(help="The same for activation ranges.")] = 0.002,
    schedule: Annotated[str, typer.Option(help="Of the rate: constant, cosine or step.")] = "cosine",
    warmup: Annotated[int, typer.Option(help="Steps over which the rate rises.")] = 0,
    weight_decay: Annotated[float, typer.Option(help="Of the weights.")] = 0.0,
    gradual: Annotated[str, typer.Option(help="How mask bits come down: none, bits or layers.")] = "none",
    freeze: Annotated[str, typer.Option(help="Layers that stay as they are, by comma.")] = "",
    layout: Annotated[str, typer.Option(help=f"Of the folder: {AUTO}, {', '.join(LAYOUTS)}.")] = AUTO,
    augment: Annotated[bool, typer.Option(help="Random crops, mirrors and colours.")] = True,
    crop_area: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Least and greatest share of a picture that a crop keeps; default: such that "
                          "things are as large in it as in a validation picture."),
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share of the pictures for validation, 0 for none.")] = 0.05,
    validation_size: Annotated[str, typer.Option(metavar=METAVAR, help="Of a validation picture.")] = "224",
    validate_every: Annotated[int, typer.Option(help="Steps between validations and checkpoints.")] = 50,
    patience: Annotated[
        int, typer.Option(help="Validations without improvement before it stops; 0: never.")
    ] = 0,
    precision: Annotated[str, typer.Option(help="float32, or mixed (GPU only).")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that decode pictures, 0: none.")] = 0,
    unreadable_share: Annotated[
        float, typer.Option(help="Share of the pictures that may be unreadable; they are named in the end.")
    ] = UNREADABLE_SHARE,
    seed: Annotated[int, typer.Option(min=0, help="Of order, augmentation and split.")] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File (.safetensors) to write, and to continue from if it exists; by default "
                          "OUTPUT.checkpoint.safetensors, which is removed in the end."),
    ] = None,
    no_checkpoint: Annotated[
        bool, typer.Option("--no-checkpoint", help="Keep none: a stopped run begins anew.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--log-file", help="File of JSON lines to write, one a step.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Curves to write (.svg); needs --log-file.")] = None,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Retrain a network so that its integers retrieve like floats.

    The forward pass computes the integers that are written at the end; gradients go to the float weights from
    which they are made. With several processes (torchrun) each takes its part of every batch.
    """
    settings = RetrainSettings(
        StudentSettings(network, weights, start_from, float_only, shape_name, mask_bits, activation_bits,
                        preprocessing, scalar_bits),
        TeacherSettings(teacher, teacher_network, teacher_preprocessing),
        LossSettings(parse_losses(loss), _names(feature_layers), mining, margin),
        QuantiseOptions(fit, learn_ranges, learn_scalars),
        TrainSettings(steps, optimiser, rate, range_rate, schedule, warmup, weight_decay=weight_decay,
                      gradual=gradual, frozen=_names(freeze), validate_every=validate_every,
                      patience=patience),
        PictureSettings(parse_size(size), batch, layout, augment, crop_area, held_out,
                        parse_size(validation_size), workers, unreadable_share, seed),
        precision, device,
    )  # fmt: skip
    kept = _checkpoint_file(output, checkpoint, no_checkpoint)
    files = RetrainFiles(kept, log, plot, classifier, save_classifier)
    # Of several processes of one run the first one writes.
    with lock_output(output) if os.environ.get("RANK", "0") == "0" else nullcontext():
        if kept is not None and kept.is_file():
            note(f"kestrel: continuing from {kept}")
        made = train_network(images, settings, files, progress=progress)
        if made is None:
            return
        if isinstance(made.network, CompressedNetwork):
            save_network(made.network, output)
        else:
            save_weights(made.network, output)
        if kept is not None and checkpoint is None:
            kept.unlink(missing_ok=True)
    payload = _payload(made, output, settings) | {
        "images": made.images, "held_out": made.held_out, "unreadable": made.unreadable,
        "checkpoint": checkpoint, "log": log, "plot": plot,
    }  # fmt: skip
    if made.unreadable:
        note(f"kestrel: {len(made.unreadable)} pictures could not be read")
    emit(payload, lambda console: _show(console, payload), json)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _payload(made: Retrained, output: Path, settings: RetrainSettings) -> dict[str, Any]:
    integers = made.network if isinstance(made.network, CompressedNetwork) else None
    name = made.network.name if isinstance(made.network, CompressedNetwork) else made.network.shape.name
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if made.device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated()
    result = made.result
    return {
        "output": output, "network": name, "float": integers is None,
        "mask_bits": None if integers is None else [layer.mask_bits for layer in integers.layers],
        "scalar_bits": None if integers is None else [layer.scalar_bits for layer in integers.layers],
        "bits": None if integers is None else integers.weight_bits,
        "loss": {"terms": settings.loss.weights, "before": result.loss_before, "after": result.loss_after},
        "validation": {"before": result.before, "after": result.after},
        "steps": result.steps, "stopped_early": result.stopped_early, "resumed_from": result.resumed_from,
        "images_per_second": result.images / max(result.seconds, 1e-9), "seconds": result.seconds,
        "peak_memory_bytes": peak, "device": str(made.device), "processes": made.processes,
        "settings": asdict(settings.train),
    }  # fmt: skip


def _show(console: Console, payload: dict[str, Any]) -> None:
    table = Table("figure", "before", "after", title=f"{payload['network']}, {payload['steps']} steps")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("loss", f"{payload['loss']['before']:.5g}", f"{payload['loss']['after']:.5g}")
    before, after = payload["validation"]["before"], payload["validation"]["after"]
    for name in after:
        if name != "measure":
            table.add_row(name, f"{before.get(name, float('nan')):.5f}", f"{after[name]:.5f}")
    console.print(table)
    console.print(f"{payload['images_per_second']:.3g} images/s on {payload['device']}, "
                  f"{payload['peak_memory_bytes']['host'] / 2**20:.0f} MiB", highlight=False)
    if payload["stopped_early"]:
        console.print("stopped early: validation no longer improved", highlight=False)
    console.print(f"written: {payload['output']}", highlight=False)
