"""What training starts from, made from files and options: the student, its teacher and the classifier."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import CLASSIFIER, KIND_KEY
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress
from kestrel.sw.compress.fit import find_rule
from kestrel.sw.compress.mask_plan import parse_mask_plan, parse_scalar_plan
from kestrel.sw.compress.mask_rules import RULES
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedNetwork, load_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.load import find_network, load_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import resize
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.parameters import network_shape
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.samples.folder import TrainingSet
from kestrel.sw.retrain.samples.labels import Classifier

STARTS = ("auto", "network", "float")

SAME_KERNELS = 0.99
"""The share of kernels that must equal what the rule makes of the float weights. A network with this share
holds nothing that the float weights do not, so training starts from them."""

CALIBRATION_PICTURES = 16
"""The number of training pictures on which ranges are measured if there is no compressed network yet."""


@dataclass(frozen=True)
class StudentSettings:
    """The network that is trained.

    ``network`` is a compressed network, in memory or as a file; None means that it is made from ``weights``.
    ``weights`` are float weights, a file or ``random:SEED``. ``start`` is one of STARTS. ``float_only``
    trains the float network itself. ``shape_name``, ``mask_bits``, ``scalar_bits``, ``activation_bits`` and
    ``preprocessing`` are used without ``network``, and are what ``kestrel compress`` would be given.
    """

    network: CompressedNetwork | str | Path | None = None
    weights: str | None = None
    start: str = "auto"
    float_only: bool = False
    shape_name: str | None = None
    mask_bits: str = "3"
    activation_bits: int = 8
    preprocessing: str = "torchvision"
    scalar_bits: str = "8"

    def check(self) -> None:
        """Raises InputError unless exactly one of a network and the options that replace it is given."""
        if self.network is not None:
            if self.shape_name is not None or self.float_only:
                other = "float" if self.float_only else "network"
                raise InputError(f"network file {_name(self.network)} together with --{other}; "
                                 "allowed: one of them")
            return
        if self.shape_name is None or self.weights is None:
            raise InputError("no network file; allowed: a NETWORK argument, or --network NAME with --weights "
                             "FILE or random:SEED")
        find_network(self.shape_name, self.weights)
        find_preprocessing(self.preprocessing)


@dataclass(frozen=True)
class TeacherSettings:
    """A teacher other than the student's own float weights. ``weights`` is a file or ``random:SEED``; None
    means that there is no other. ``network`` and ``preprocessing`` are the teacher's own; None means the
    student's."""

    weights: str | None = None
    network: str | None = None
    preprocessing: str | None = None


def _name(network: CompressedNetwork | str | Path) -> str:
    return network.name if isinstance(network, CompressedNetwork) else str(network)


def load_float(weights: str, network: str, preprocessing: str) -> FloatNetwork:
    """Loads float weights by file name or ``random:SEED``. Raises InputError."""
    shape = find_network(network, weights)
    return load_weights(weights, shape, min(find_preprocessing(preprocessing).scale))


def make_student(
    settings: StudentSettings, options: QuantiseOptions, pictures: TrainingSet, size: tuple[int, int],
    progress: Progress,
) -> tuple[QuantisedNetwork | FloatConvs, FloatNetwork | None]:
    """The student, and the float weights that were given for it. If there is no compressed network yet,
    ranges are measured on some of the training pictures, resized to ``size``. Raises InputError."""
    settings.check()
    if settings.network is not None:
        given = settings.network
        network = given if isinstance(given, CompressedNetwork) else load_network(given)
        own = None
        if settings.weights is not None:
            own = load_float(settings.weights, network.name, network.preprocessing)
        return quantised_student(network, own, settings.start, options), own
    assert settings.shape_name is not None
    assert settings.weights is not None
    own = load_float(settings.weights, settings.shape_name, settings.preprocessing)
    if settings.float_only:
        return FloatConvs(own, find_preprocessing(settings.preprocessing)), own
    network = _compressed(own, settings, options.fit, pictures, size, progress)
    return quantised_student(network, own, settings.start, options), own


def _compressed(
    weights: FloatNetwork, settings: StudentSettings, fit: str, pictures: TrainingSet, size: tuple[int, int],
    progress: Progress,
) -> CompressedNetwork:
    """Compresses float weights, with ranges measured on some of the training pictures. Raises InputError."""
    find_rule(fit, RULES)
    plan = parse_mask_plan(settings.mask_bits, weights.shape)
    found: list[np.ndarray] = []
    for row in range(0, len(pictures), -(-len(pictures) // CALIBRATION_PICTURES)):
        with suppress(InputError):  # an unreadable picture is counted when training meets it
            found.append(resize(pictures.pictures.read(row), *size))
    if not found:
        raise InputError("training pictures: none of those tried could be read; allowed: a folder of images")
    names = tuple(str(n) for n in range(len(found)))
    chosen = CalibrationPictures(f"{len(found)} training pictures", *size, names, found.__getitem__)
    return compress(
        weights,
        plan,
        chosen,
        preprocessing=settings.preprocessing,
        fit=fit,
        activation_bits=settings.activation_bits,
        progress=progress,
        scalar_bits=parse_scalar_plan(settings.scalar_bits, weights.shape),
    )[0]


def quantised_student(
    network: CompressedNetwork, weights: FloatNetwork | None, start: str, options: QuantiseOptions
) -> QuantisedNetwork:
    """The student that starts from a compressed network.

    ``start`` selects what it starts from. ``network``: the network's own integers as weights, those with one
    mask bit sized like the float weights. ``float``: the float weights. ``auto``: the float weights, unless
    there are none or the network's kernels were not made from them by the rule (because the network was
    fitted to its output, or retrained). Raises InputError for ``float`` without weights.
    """
    if start not in STARTS:
        raise InputError(f"start {start!r}; allowed: {', '.join(STARTS)}")
    if start == "float" and weights is None:
        raise InputError("start float needs the float weights; allowed: --weights FILE")
    network_shape(network)
    if weights is None or start == "network":
        return QuantisedNetwork(network, options, latent=weights)
    student = QuantisedNetwork(network, options, weights)
    if start == "float" or _same_kernels(network, student.export()) >= SAME_KERNELS:
        return student
    return QuantisedNetwork(network, options, latent=weights)


def _same_kernels(a: CompressedNetwork, b: CompressedNetwork) -> float:
    """The share of kernels with equal masks and scalars, without the first layer, which compress refines by
    its output."""
    pairs = list(zip(a.layers, b.layers, strict=True))
    pairs = pairs[1:] or pairs
    equal = sum(int(((x.mask == y.mask).all(axis=(2, 3)) & (x.alpha == y.alpha)).sum())
                for x, y in pairs if x.shift == y.shift)  # fmt: skip
    return equal / sum(x.alpha.size for x, _ in pairs)


def make_teacher(
    weights: FloatNetwork | None, settings: TeacherSettings, own_network: str, own_preprocessing: str
) -> FloatConvs | None:
    """The teacher of ``settings``, or else the student's own float weights unless they are random.
    ``own_network`` and ``own_preprocessing`` are the student's. Raises InputError."""
    prepared = find_preprocessing(settings.preprocessing or own_preprocessing)
    if settings.weights is not None:
        network = settings.network or own_network
        return FloatConvs(load_float(settings.weights, network, prepared.name), prepared)
    if settings.network is not None or settings.preprocessing is not None:
        raise InputError(
            f"teacher network {settings.network}, preprocessing {settings.preprocessing} without a teacher; "
            "allowed: with --teacher FILE"
        )
    if weights is None or weights.untrained == frozenset(layer.name for layer in weights.shape.layers):
        return None
    return FloatConvs(weights, prepared)


def save_classifier(head: Classifier, path: Path) -> None:
    """Writes the classifier, so that later training can continue from it. Raises InputError."""
    with atomic_write(path) as temporary:
        tensors = {name: t.cpu().contiguous() for name, t in head.state_dict().items()}
        temporary.write_bytes(save(tensors, metadata={KIND_KEY: CLASSIFIER}))


def load_classifier(head: Classifier, path: Path) -> None:
    """Loads ``head`` from a file that ``save_classifier`` wrote. Raises InputError."""
    allowed = "allowed: a classifier written by retrain, of the same network and classes"
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable classifier ({str(error)[:100]}); {allowed}") from error
    wanted = {name: list(t.shape) for name, t in head.state_dict().items()}
    if {name: list(t.shape) for name, t in found.items()} != wanted:
        raise InputError(f"{path}: other tensors than {wanted}; {allowed}")
    head.load_state_dict(found)


def choose_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is a CUDA device if there is one, otherwise the CPU. Raises
    InputError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in {"cpu", "cuda"} or (name == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device {name!r}; allowed here: auto, cpu{', cuda' * torch.cuda.is_available()}")
    return torch.device(name)
