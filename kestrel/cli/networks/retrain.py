"""``kestrel retrain``: training with the chip's integers in the forward pass (docs/retraining.md)."""

import resource
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import save_weights
from kestrel.sw.retrain import distributed, start
from kestrel.sw.retrain.curves import plot_curves, read_log
from kestrel.sw.retrain.losses import Loss, LossSettings, parse_losses
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.samples.augment import Augmentation
from kestrel.sw.retrain.samples.batches import UNREADABLE_SHARE, DataSettings, Order, TrainingData, in_order
from kestrel.sw.retrain.samples.folder import AUTO, LAYOUTS, TrainingSet, load_training_set
from kestrel.sw.retrain.samples.triplets import MINERS, grouped
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.trainer import Result, Trainer

PICTURES_PER_GROUP = 2
CROP_SPREAD = (0.55, 1.6)
"""Areas of crops around that of equal scale."""

CURVE_SUFFIXES = (".svg", ".png", ".pdf")


def retrain(
    images: Annotated[Path, typer.Option(help="Folder of training pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Network file to write (.safetensors).")],
    network: Annotated[
        Path | None,
        typer.Argument(
            help="Compressed network to start from (or embedded); none: --network and --weights."
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
        str, typer.Option(help="Layers whose features are distilled, by comma; default: where it pools.")
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
    size: Annotated[int, typer.Option(help="Side of a training picture, pixels.")] = 96,
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
    validation_size: Annotated[int, typer.Option(help="Side of a validation picture.")] = 224,
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
        Path | None, typer.Option(help="File (.safetensors) to write, and to continue from if it exists.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log-file", help="File of JSON lines to write, one a step.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Curves to write (.svg); needs --log-file.")] = None,
    json: JsonOption = False,
) -> None:
    """Retrain a network so that its integers retrieve like floats.

    The forward pass computes the integers that are written in the end; gradients go to float weights behind
    them. With several processes (torchrun) each takes its part of every batch.
    """
    chosen = start.choose_device(device)
    mixed = _mixed(precision, chosen)
    for path in (output, checkpoint, log, plot, save_classifier):
        if path is not None:
            check_output(path)
    _check_suffixes(output, checkpoint, log, plot)
    options = QuantiseOptions(fit, learn_ranges, learn_scalars, mixed=mixed)
    train = TrainSettings(steps, optimiser, rate, range_rate, schedule, warmup, weight_decay=weight_decay,
                          gradual=gradual, frozen=_names(freeze), validate_every=validate_every,
                          patience=patience)
    losses = LossSettings(parse_losses(loss), _names(feature_layers), mining, margin)
    found = load_training_set(images, layout)
    training, held = found.split(held_out, seed) if held_out else (found, None)
    fresh = _fresh(network, shape_name, weights, float_only, mask_bits, activation_bits, preprocessing)
    with distributed.processes(chosen):
        torch.manual_seed(seed)
        student, own = _student(network, fresh, weights, start_from, float_only, options, training, size)
        guide = start.make_teacher(own, teacher, teacher_network, teacher_preprocessing, _name(student),
                                   student.preprocessing.name)
        criterion = Loss(_shape(student), losses, guide, len(found.classes))
        if (classifier or save_classifier) and criterion.head is None:
            raise InputError(f"classifier {classifier or save_classifier} with loss {loss}; "
                             "allowed: with labels")
        if classifier is not None and criterion.head is not None:
            start.load_classifier(criterion.head, classifier)
        area = crop_area or _same_scale(size, validation_size)
        changed = Augmentation(area=area) if augment else None
        settings = DataSettings(size, size, batch, changed, seed, workers,
                                distributed.rank(), distributed.world_size(), unreadable_share)
        check = None if held is None else DataSettings(validation_size, validation_size, min(8, len(held)))
        order = _order(training, losses, batch, seed)
        about = {"loss": asdict(losses), "options": asdict(options),
                 "data": [size, batch, seed, augment, *area], "network": _name(student),
                 "images": len(found)}
        with TrainingData(training, settings, order) as data:
            def validation() -> Any:
                assert held is not None
                assert check is not None
                return TrainingData(held, check, in_order(len(held), check.batch_size)).epoch(0)

            trainer = Trainer(student, criterion, data, None if held is None else validation, train, chosen,
                              checkpoint=checkpoint, log=log, about=about, mixed=mixed, progress=progress)
            result = trainer.run()
            unreadable = dict(data.unreadable)
        if distributed.rank():
            return
    _write(student, output)
    if save_classifier is not None and criterion.head is not None:
        start.save_classifier(criterion.head, save_classifier)
    if plot is not None and log is not None:
        plot_curves(read_log(log), plot)
    payload = _payload(result, student, output, chosen, losses, train) | {
        "images": len(training), "held_out": 0 if held is None else len(held), "unreadable": unreadable,
        "checkpoint": checkpoint, "log": log, "plot": plot,
    }  # fmt: skip
    if unreadable:
        note(f"kestrel: {len(unreadable)} pictures could not be read")
    emit(payload, lambda console: _show(console, payload), json)


def _same_scale(size: int, validation_size: int) -> tuple[float, float]:
    """Shares of a picture that, at ``size``, have about the scale of the whole one at ``validation_size``."""
    share = (size / validation_size) ** 2
    return min(1.0, CROP_SPREAD[0] * share), min(1.0, CROP_SPREAD[1] * share)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _mixed(precision: str, device: torch.device) -> bool:
    if precision not in {"float32", "mixed"} or (precision == "mixed" and device.type != "cuda"):
        raise InputError(f"precision {precision!r} on {device.type}; allowed: float32"
                         f"{', mixed' * (device.type == 'cuda')}")
    return precision == "mixed"


def _check_suffixes(output: Path, checkpoint: Path | None, log: Path | None, plot: Path | None) -> None:
    for what, path in (("output", output), ("checkpoint", checkpoint)):
        if path is not None and path.suffix != ".safetensors":
            raise InputError(f"{what} {path}: suffix {path.suffix!r}; allowed: .safetensors")
    if plot is not None and (log is None or plot.suffix not in CURVE_SUFFIXES):
        raise InputError(f"plot {plot}; allowed: {', '.join(CURVE_SUFFIXES)}, together with --log-file FILE")


def _fresh(network: Path | None, shape: str | None, weights: str | None, float_only: bool, mask_bits: str,
           activation_bits: int, preprocessing: str) -> start.FromFloat | None:
    """The options that stand in for a network file. Raises InputError for both or neither."""
    if network is not None:
        if shape is not None or float_only:
            other = "float" if float_only else "network"
            raise InputError(f"network file {network} together with --{other}; allowed: one of them")
        return None
    if shape is None or weights is None:
        raise InputError("no network file; allowed: a NETWORK argument, or --network NAME with --weights "
                         "FILE or random:SEED")
    parse_network(shape)
    return start.FromFloat(shape, mask_bits, activation_bits, find_preprocessing(preprocessing).name)


def _student(network: Path | None, fresh: start.FromFloat | None, weights: str | None, start_from: str,
             float_only: bool, options: QuantiseOptions, pictures: TrainingSet, size: int,
             ) -> tuple[QuantisedNetwork | FloatConvs, Any]:
    """The student and the float weights given for it."""
    if float_only:
        assert fresh is not None
        assert weights is not None
        own = start.load_float(weights, fresh.network, fresh.preprocessing)
        return FloatConvs(own, find_preprocessing(fresh.preprocessing)), own
    own = None
    if fresh is not None and weights is not None:
        own = start.load_float(weights, fresh.network, fresh.preprocessing)
    compressed = start.compressed_start(network, fresh, own, options.fit, pictures, size, progress)
    if fresh is None and weights is not None:
        own = start.load_float(weights, compressed.name, compressed.preprocessing)
    return start.quantised_student(compressed, own, start_from, options), own


def _shape(student: QuantisedNetwork | FloatConvs) -> Any:
    return parse_network(student.name) if isinstance(student, QuantisedNetwork) else student.shape


def _name(student: QuantisedNetwork | FloatConvs) -> str:
    return _shape(student).name


def _order(pictures: TrainingSet, losses: LossSettings, batch: int, seed: int) -> Order | None:
    """Batches of groups where triplets are to be found in them."""
    if "triplet" not in losses.weights:
        return None
    if batch % PICTURES_PER_GROUP:
        raise InputError(f"batch {batch} with loss triplet; allowed: multiples of {PICTURES_PER_GROUP}")
    return grouped(pictures.groups, batch // PICTURES_PER_GROUP, PICTURES_PER_GROUP, seed)


def _write(student: QuantisedNetwork | FloatConvs, output: Path) -> None:
    if isinstance(student, QuantisedNetwork):
        save_network(student.export(), output)
    else:
        save_weights(student.export(), output)


def _payload(result: Result, student: QuantisedNetwork | FloatConvs, output: Path, device: torch.device,
             losses: LossSettings, train: TrainSettings) -> dict[str, Any]:
    quantised = isinstance(student, QuantisedNetwork)
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated()
    return {
        "output": output, "network": _name(student), "float": not quantised,
        "mask_bits": [c.mask_bits for c in student.convs()] if quantised else None,
        "bits": student.export().weight_bits if quantised else None,
        "loss": {"terms": losses.weights, "before": result.loss_before, "after": result.loss_after},
        "validation": {"before": result.before, "after": result.after},
        "steps": result.steps, "stopped_early": result.stopped_early, "resumed_from": result.resumed_from,
        "images_per_second": result.images / max(result.seconds, 1e-9), "seconds": result.seconds,
        "peak_memory_bytes": peak, "device": str(device), "processes": distributed.world_size(),
        "settings": asdict(train),
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
