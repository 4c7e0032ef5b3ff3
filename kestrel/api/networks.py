"""Networks: from float weights to the chip's integers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kestrel.api.pictures import Pictures, calibration_pictures
from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress import pipeline
from kestrel.sw.compress.calibrate import DEFAULT_PERCENTILE, Progress, generated_pictures, silent
from kestrel.sw.compress.mask_plan import parse_mask_plan, parse_scalar_plan
from kestrel.sw.compress.report import CompressionReport
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.files.entries import state_arrays
from kestrel.sw.model.network import NetworkShape
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

    ``source`` is a file, ``random:SEED``, or a state dictionary with torchvision's or timm's key names, with
    or without a prefix (``backbone.layer1.0.conv1.weight``); batch norm is folded in, and keys of other
    layers are not used. ``network`` is the network's name, possibly with a width (``vgg16/8``) or a cut
    (``vgg16:pool3``, ``resnet18:layer3.1``); the blocks of ``resnet`` are counted in ``source``.
    ``preprocessing`` is what the weights expect. ``fill_missing`` is the seed of random weights for layers
    that a file lacks (None: they are an error). Raises InputError.
    """
    stored = state_arrays(source) if isinstance(source, Mapping) else str(source)
    shape = find_network(network, stored)
    return load_weight_file(stored, shape, min(find_preprocessing(preprocessing).scale), fill_missing)


def compress(
    weights: FloatNetwork, pictures: Pictures | None = None, *, mask_bits: MaskBits = 3,
    scalar_bits: MaskBits = 8,
    fit: str = "least-squares", activation_bits: int = 8, preprocessing: str = "torchvision",
    size: Size = 224, percentile: float = DEFAULT_PERCENTILE, seed: int = 0,
    progress: Progress | None = None,
) -> tuple[CompressedNetwork, CompressionReport]:
    """Turns float weights into masks, scalars, biases and shifts.

    Activation ranges are measured on ``pictures`` (None: generated ones, which are good enough for random
    weights but not for trained ones). ``mask_bits`` are as in ``MaskBits``, each 1..5. ``scalar_bits``
    likewise, each 8, 4, 3 or 2: with fewer than 8, a layer's scalars come from a table of so many bits.
    ``fit`` says how masks are fitted: "least-squares", "output", "sequential", "vendor" or "paper".
    ``activation_bits`` is 4..8. ``preprocessing`` is what the weights expect. Pictures are stretched to
    ``size``, in pixels. ``percentile`` is the percentile of the activations, 50..100, that is taken as their
    range. ``seed`` is that of the generated pictures. Returns the network, and a report of what was done,
    layer by layer. Raises InputError.
    """
    plan, scalars = mask_plan(mask_bits, weights.shape), scalar_plan(scalar_bits, weights.shape)
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
        percentile=percentile, progress=progress or silent, scalar_bits=scalars,
    )


def mask_plan(mask_bits: MaskBits, shape: NetworkShape) -> tuple[int, ...]:
    """Mask bits as one number for each layer. Raises InputError."""
    if isinstance(mask_bits, int | str):
        return parse_mask_plan(str(mask_bits), shape)
    return parse_mask_plan(",".join(f"{bits}*1" for bits in mask_bits), shape)


def scalar_plan(scalar_bits: MaskBits, shape: NetworkShape) -> tuple[int, ...]:
    """Scalar bits as one number for each layer. Raises InputError."""
    if isinstance(scalar_bits, int | str):
        return parse_scalar_plan(str(scalar_bits), shape)
    return parse_scalar_plan(",".join(f"{bits}*1" for bits in scalar_bits), shape)


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
