"""Accuracy by class with one dense layer compressed (Gong et al., figures 1 to 3 and table 1): the maps in
front of the layer are computed once, and only the layer is run for every method."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.model_file import decode_array
from kestrel.sw.common.files import atomic_write
from kestrel.sw.pictures.images import list_images, open_image, resize
from kestrel.sw.retrieval.pooling.nip import normalise
from kestrel.sw.study.coded import runner
from kestrel.sw.study.dense_methods import DenseMethod
from kestrel.sw.study.described import BATCH, Pictures, average_precisions, batch_maps
from kestrel.sw.study.grid import DenseEntry
from kestrel.sw.study.rows import DenseRow
from kestrel.sw.zoo.networks import Architecture

SIDE = 224


@dataclass(frozen=True)
class Inputs:
    """What the layer reads: maps float32 [N, C, h, w] of the pictures by class, of the benchmark's pictures;
    classes: of the former, int64 [N]."""

    maps: np.ndarray
    classes: np.ndarray
    scenes: np.ndarray


def read_inputs(entry: DenseEntry, network: Architecture, weights: Mapping[str, np.ndarray], root: Path,
                pictures: Pictures, kept: Path) -> Inputs:
    """The layer's inputs, kept in ``kept``. Raises InputError."""
    paths = list_images(root / entry.pictures)
    chosen = range(0, len(paths), entry.every)
    run = runner(network, weights)
    parts = []
    for name in ("classes", "scenes"):
        path = kept / f"inputs-{entry.network}-{entry.input}-{name}-{entry.every}.npy"
        if not path.is_file():
            views = np.stack([square(paths[n]) for n in chosen]) if name == "classes" else pictures.images
            maps = [batch_maps(run, network.preprocessing, [entry.input], views[at : at + BATCH])[entry.input]
                    for at in range(0, len(views), BATCH)]
            with atomic_write(path) as temporary:
                np.save(temporary, np.concatenate(maps))
        parts.append(np.load(path, mmap_mode="r"))
    return Inputs(parts[0], np.array(chosen), parts[1])


def square(path: Path) -> np.ndarray:
    """The middle of a picture, uint8 RGB [SIDE, SIDE, 3], seven eighths of its shorter side."""
    rgb = open_image(path)
    side = min(rgb.shape[:2]) * 7 // 8
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return resize(np.ascontiguousarray(rgb[top : top + side, left : left + side]), SIDE, SIDE)


def outputs(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The layer's output float32 [N, classes] for maps [N, C, h, w]: a dense layer's for weight [m, n]; for a
    classifier that is a 1x1 convolution behind a ReLU, [m, n, 1, 1], the mean over the map, padded by 1."""
    w, b = torch.from_numpy(weight), torch.from_numpy(bias)
    found = []
    with torch.inference_mode():
        for at in range(0, len(maps), 50):
            x = torch.from_numpy(np.array(maps[at : at + 50]))
            if weight.ndim == 2:
                found.append(functional.linear(x.flatten(1), w, b))
            else:
                found.append(functional.conv2d(x, w, b, padding=1).relu_().mean(dim=(2, 3)))
    return torch.cat(found).numpy()


def measure_dense(entry: DenseEntry, method: DenseMethod | None, weight: np.ndarray, bias: np.ndarray,
                  inputs: Inputs, pictures: Pictures, task: str, command: str) -> DenseRow:
    """The layer by ``method``, or as it is without one."""
    start = time.perf_counter()
    matrix = weight.reshape(len(weight), -1)
    if bias.shape != (len(weight),):
        raise InputError(f"dense layer {entry.layer}: bias of shape {bias.shape}; allowed: one a row")
    stream = b"" if method is None else method.encode(matrix)
    used = matrix if method is None else decode_array(stream)
    scores = outputs(inputs.maps, np.ascontiguousarray(used.reshape(weight.shape)), bias)
    right = scores[np.arange(len(scores)), inputs.classes]
    ranks = (scores > right[:, None]).sum(axis=1)
    scenes = outputs(inputs.scenes, np.ascontiguousarray(used.reshape(weight.shape)), bias)
    descriptors = normalise(scenes.astype(np.float64)).astype(np.float32)
    precisions = average_precisions(pictures.benchmark, descriptors)
    size = 4 * matrix.size if method is None else len(stream)
    return DenseRow(
        task, entry.network, "float" if method is None else method.method,
        "float" if method is None else method.codec, {} if method is None else method.options, size,
        4 * matrix.size / size, 1.0 if method is None else method.rate(*matrix.shape),
        float((ranks < 1).mean()), float((ranks < 5).mean()), tuple(int(rank) for rank in ranks),
        float(precisions.mean()), tuple(float(p) for p in precisions), time.perf_counter() - start, command,
    )  # fmt: skip
