"""Retraining from end to end: settings in, a trained network out (docs/retraining.md)."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.retrain import distributed, start
from kestrel.sw.retrain.curves import plot_curves, read_log
from kestrel.sw.retrain.losses import Loss, LossSettings, parse_losses
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.samples.augment import Augmentation
from kestrel.sw.retrain.samples.batches import (
    UNREADABLE_SHARE,
    Batch,
    DataSettings,
    Order,
    TrainingData,
    in_order,
)
from kestrel.sw.retrain.samples.folder import AUTO, TrainingSet, load_training_set
from kestrel.sw.retrain.samples.triplets import grouped
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.start import StudentSettings, TeacherSettings
from kestrel.sw.retrain.trainer import Result, Trainer

PICTURES_PER_GROUP = 2
VALIDATION_BATCH = 8
CROP_SPREAD = (0.55, 1.6)
"""The areas of crops, relative to the area at which things have the scale of a validation picture."""

PRECISIONS = ("float32", "mixed")
SUFFIX = ".safetensors"
CURVE_SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class PictureSettings:
    """The pictures for training and validation.

    ``size`` is that of a training picture, in pixels. ``batch`` is the number of pictures in a step, over all
    processes. ``layout`` is that of the folder. ``augment`` turns on random crops, mirroring and colours.
    ``crop_area`` is the smallest and largest share of a picture that a crop keeps; None chooses it such that
    things are as large in a crop as in a validation picture. ``held_out`` is the share of the pictures for
    validation, 0 for none. ``validation_size`` is that of a validation picture. ``workers`` is the number of
    processes that decode pictures, 0 for none. ``unreadable_share`` is the share of unreadable pictures above
    which reading fails. ``seed`` determines order, augmentation and split.
    """

    size: Size = 96
    batch: int = 8
    layout: str = AUTO
    augment: bool = True
    crop_area: tuple[float, float] | None = None
    held_out: float = 0.05
    validation_size: Size = 224
    workers: int = 0
    unreadable_share: float = UNREADABLE_SHARE
    seed: int = 0

    @property
    def area(self) -> tuple[float, float]:
        """``crop_area``, or else the shares of a picture at which crops of ``size`` show things at about the
        scale of whole pictures of ``validation_size``."""
        if self.crop_area is not None:
            return self.crop_area
        height, width = height_width(self.size)
        whole_height, whole_width = height_width(self.validation_size)
        share = height * width / (whole_height * whole_width)
        return min(1.0, CROP_SPREAD[0] * share), min(1.0, CROP_SPREAD[1] * share)


@dataclass(frozen=True)
class RetrainSettings:
    """All settings except the folder of pictures. ``mixed`` of ``quantise`` follows from ``precision``, which
    is float32 or, on a GPU, mixed. ``device`` is auto, cpu or cuda."""

    student: StudentSettings
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    loss: LossSettings = field(default_factory=lambda: LossSettings(parse_losses("distill")))
    quantise: QuantiseOptions = field(default_factory=QuantiseOptions)
    train: TrainSettings = field(default_factory=lambda: TrainSettings(150, rate=0.003))
    pictures: PictureSettings = field(default_factory=PictureSettings)
    precision: str = "float32"
    device: str = "auto"


@dataclass(frozen=True)
class RetrainFiles:
    """Files besides the network. ``checkpoint`` is written, and the run continues from it if it exists.
    ``log`` gets JSON lines, one for each step. ``plot`` gets the curves of the log. ``classifier`` is that of
    an earlier run, from which training continues; ``save_classifier`` is written."""

    checkpoint: Path | None = None
    log: Path | None = None
    plot: Path | None = None
    classifier: Path | None = None
    save_classifier: Path | None = None

    def check(self) -> None:
        """Raises InputError for files that cannot be written as requested."""
        for path in (self.checkpoint, self.log, self.plot, self.save_classifier):
            if path is not None:
                check_output(path)
        if self.checkpoint is not None and self.checkpoint.suffix != SUFFIX:
            raise InputError(f"checkpoint {self.checkpoint}: suffix {self.checkpoint.suffix!r}; "
                             f"allowed: {SUFFIX}")
        if self.plot is not None and (self.log is None or self.plot.suffix not in CURVE_SUFFIXES):
            raise InputError(f"plot {self.plot}; allowed: {', '.join(CURVE_SUFFIXES)}, together with "
                             "--log-file FILE")


@dataclass(frozen=True)
class Retrained:
    """The result of retraining. ``network`` holds integers, or floats with ``float_only``. ``images`` and
    ``held_out`` are the numbers of pictures for training and validation. ``unreadable`` gives, by name, the
    reason for each unreadable picture. ``processes`` is the number of processes that trained together."""

    network: CompressedNetwork | FloatNetwork
    result: Result
    images: int
    held_out: int
    unreadable: dict[str, str]
    device: torch.device
    processes: int


def retrain(images: Path, settings: RetrainSettings, files: RetrainFiles | None = None,
            progress: Progress = silent) -> Retrained | None:
    """Trains a network on the pictures of the folder ``images``. With several processes (torchrun) each takes
    its part of every batch, and all but the first return None. Raises InputError, also when training
    diverges."""
    files = files or RetrainFiles()
    device = start.choose_device(settings.device)
    mixed = _mixed(settings.precision, device)
    files.check()
    settings.student.check()
    options, pictures = replace(settings.quantise, mixed=mixed), settings.pictures
    height, width = height_width(pictures.size)
    found = load_training_set(images, pictures.layout)
    training, held = found.split(pictures.held_out, pictures.seed) if pictures.held_out else (found, None)
    with distributed.processes(device):
        torch.manual_seed(pictures.seed)
        student, own = start.make_student(settings.student, options, training, (height, width), progress)
        shape = student.shape
        teacher = start.make_teacher(own, settings.teacher, shape.name, student.preprocessing.name)
        criterion = Loss(shape, settings.loss, teacher, len(found.classes))
        _load_classifier(criterion, files)
        data_settings = DataSettings(
            height, width, pictures.batch, Augmentation(area=pictures.area) if pictures.augment else None,
            pictures.seed, pictures.workers, distributed.rank(), distributed.world_size(),
            pictures.unreadable_share,
        )  # fmt: skip
        order = _order(training, settings.loss, pictures.batch, pictures.seed)
        with TrainingData(training, data_settings, order) as data:
            trainer = Trainer(
                student, criterion, data, None if held is None else _validation(held, pictures),
                settings.train, device, checkpoint=files.checkpoint, log=files.log, mixed=mixed,
                about=_about(settings, options, shape, len(found)), progress=progress,
            )  # fmt: skip
            result = trainer.run()
            unreadable = dict(data.unreadable)
        if distributed.rank():
            return None
        if files.save_classifier is not None and criterion.head is not None:
            start.save_classifier(criterion.head, files.save_classifier)
        if files.plot is not None and files.log is not None:
            plot_curves(read_log(files.log), files.plot)
        return Retrained(student.export(), result, len(training), 0 if held is None else len(held),
                         unreadable, device, distributed.world_size())


def _mixed(precision: str, device: torch.device) -> bool:
    allowed = PRECISIONS if device.type == "cuda" else PRECISIONS[:1]
    if precision not in allowed:
        raise InputError(f"precision {precision!r} on {device.type}; allowed: {', '.join(allowed)}")
    return precision == "mixed"


def _load_classifier(criterion: Loss, files: RetrainFiles) -> None:
    if (named := files.classifier or files.save_classifier) and criterion.head is None:
        raise InputError(f"classifier {named} with a loss without labels; allowed: with labels")
    if files.classifier is not None and criterion.head is not None:
        start.load_classifier(criterion.head, files.classifier)


def _validation(held: TrainingSet, pictures: PictureSettings) -> Callable[[], Iterator[Batch]]:
    """Returns a function that yields the whole pictures in order, from the start at each call."""
    settings = DataSettings(*height_width(pictures.validation_size), min(VALIDATION_BATCH, len(held)))

    def batches() -> Iterator[Batch]:
        return TrainingData(held, settings, in_order(len(held), settings.batch_size)).epoch(0)

    return batches


def _about(settings: RetrainSettings, options: QuantiseOptions, shape: NetworkShape,
           images: int) -> dict[str, object]:
    """What a checkpoint and the run that continues from it must have in common. A square size is stored as
    the length of its side."""
    pictures = settings.pictures
    height, width = height_width(pictures.size)
    size = height if height == width else [height, width]
    return {"loss": asdict(settings.loss), "options": asdict(options),
            "data": [size, pictures.batch, pictures.seed, pictures.augment, *pictures.area],
            "network": shape.name, "images": images}


def _order(pictures: TrainingSet, losses: LossSettings, batch: int, seed: int) -> Order | None:
    """Batches made of groups, if triplets are to be found in them."""
    if "triplet" not in losses.weights:
        return None
    if batch % PICTURES_PER_GROUP:
        raise InputError(f"batch {batch} with loss triplet; allowed: multiples of {PICTURES_PER_GROUP}")
    return grouped(pictures.groups, batch // PICTURES_PER_GROUP, PICTURES_PER_GROUP, seed)
