"""Networks: from float weights to the chip's integers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kestrel.api.pictures import Pictures, calibration_pictures
from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress import pipeline
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE, Progress, generated_pictures, silent
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.report import CompressionReport
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.graph import check_plain
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.load import find_network
from kestrel.sw.model.storage.load import load_weights as load_weight_file
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.retrain import run
from kestrel.sw.retrain.run import Retrained, RetrainFiles, RetrainSettings

MaskBits = int | str | Sequence[int]
"""Mask bits: one number for all layers, text such as ``3*7,1*6``, or one number for each layer."""


def load_weights(
    source: str | Path | Mapping[str, np.ndarray | torch.Tensor], network: str = "vgg16", *,
    preprocessing: str = "torchvision", fill_missing: int | None = None,
) -> FloatNetwork:
    """Loads the float weights of a network.

    ``source`` is a file, ``random:SEED``, or a state dictionary with torchvision's key names
    (``features.N.weight`` [C_out, C_in, 3, 3], ``features.N.bias`` [C_out]; other keys are ignored).
    ``network`` is the network's name, possibly with a width (``vgg16/8``) or a cut (``vgg16:pool3``).
    ``preprocessing`` is what the weights expect. ``fill_missing`` is the seed of random weights for layers
    that a file lacks (None: they are an error). Raises InputError.
    """
    if isinstance(source, Mapping):
        shape = parse_network(network)
        check_plain(shape, "weights from a state dictionary")
        return _from_state(source, shape)
    shape = find_network(network, str(source))
    return load_weight_file(str(source), shape, min(find_preprocessing(preprocessing).scale), fill_missing)


def _from_state(state: Mapping[str, np.ndarray | torch.Tensor], shape: NetworkShape) -> FloatNetwork:
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    for layer, index in zip(shape.layers, shape.features, strict=True):
        size = (layer.out_channels, layer.in_channels, 3, 3)
        weights.append(_entry(state, f"features.{index}.weight", size, layer.name))
        biases.append(_entry(state, f"features.{index}.bias", size[:1], layer.name))
    return FloatNetwork(shape, tuple(weights), tuple(biases))


def _entry(state: Mapping[str, np.ndarray | torch.Tensor], key: str, size: tuple[int, ...],
           layer: str) -> np.ndarray:
    if key not in state:
        raise InputError(f"state dictionary: no key {key} (layer {layer}); allowed: torchvision's key names")
    value = state[key]
    array = value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind != "f" or array.shape != size:
        raise InputError(f"state dictionary: {key} is {array.dtype} {list(array.shape)}; "
                         f"allowed: floating-point numbers {list(size)}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"state dictionary: {key} is not finite everywhere; allowed: finite numbers")
    return array


def compress(
    weights: FloatNetwork, pictures: Pictures | None = None, *, mask_bits: MaskBits = 3,
    fit: str = "least-squares", activation_bits: int = 8, preprocessing: str = "torchvision",
    size: Size = 224, percentile: float = DEFAULT_PERCENTILE, seed: int = 0,
    progress: Progress | None = None,
) -> tuple[CompressedNetwork, CompressionReport]:
    """Turns float weights into masks, scalars, biases and shifts.

    Activation ranges are measured on ``pictures`` (None: generated ones, which are good enough for random
    weights but not for trained ones). ``mask_bits`` are as in ``MaskBits``, each 1..5. ``fit`` says how masks
    are fitted: "least-squares", "output", "sequential", "vendor" or "paper". ``activation_bits`` is 4..8.
    ``preprocessing`` is what the weights expect. Pictures are stretched to ``size``, in pixels.
    ``percentile`` is the percentile of the activations, 50..100, that is taken as their range. ``seed`` is
    that of the generated pictures. Returns the network, and a report of what was done, layer by layer. Raises
    InputError.
    """
    plan = mask_plan(mask_bits, weights.shape)
    height, width = height_width(size)
    if pictures is not None:
        if seed:
            raise InputError(f"seed {seed} with pictures, none of which is generated; allowed: without")
        chosen = calibration_pictures(pictures, size)
    elif seed < 0:
        raise InputError(f"seed {seed}; allowed: 0 or more")
    else:
        chosen = generated_pictures(height, width, seed)
    return pipeline.compress(
        weights, plan, chosen, preprocessing=preprocessing, activation_bits=activation_bits, fit=fit,
        percentile=percentile, progress=progress or silent,
    )


def mask_plan(mask_bits: MaskBits, shape: NetworkShape) -> tuple[int, ...]:
    """Mask bits as one number for each layer. Raises InputError."""
    if isinstance(mask_bits, int | str):
        return parse_mask_plan(str(mask_bits), shape)
    return parse_mask_plan(",".join(f"{bits}*1" for bits in mask_bits), shape)


def retrain(
    images: str | Path, settings: RetrainSettings, files: RetrainFiles | None = None, *,
    progress: Progress | None = None,
) -> Retrained | None:
    """Trains with the chip's integers in the forward pass, so that a network retrieves like its floats.

    ``images`` is the folder of training pictures. In ``settings``, ``student`` says what is trained.
    ``files`` are the checkpoint, the log and others to write. Nothing else is written: ``save_network`` saves
    the result. In a distributed run, all processes but the first return None. Raises InputError, also when
    training diverges.
    """
    return run.retrain(Path(images), settings, files, progress or silent)
