"""Measures one task of a study: a network in one coding of its weights, or a dense layer by every method."""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.pictures.images import list_images, load_image
from kestrel.sw.study.codecs import CODING, FLOAT_CODEC, Codec
from kestrel.sw.study.coded import Coded, Size, code_network
from kestrel.sw.study.dense import measure_dense, read_inputs
from kestrel.sw.study.dense_methods import dense_methods
from kestrel.sw.study.described import Described, average_precisions, describe, load_pictures, spread
from kestrel.sw.study.grid import NO_WHITENING, DataEntry, DenseEntry, Grid, NetworkEntry
from kestrel.sw.study.masked import code_masks
from kestrel.sw.study.rows import DenseRow, Row
from kestrel.sw.study.sequential import code_sequential
from kestrel.sw.zoo import weights as zoo_weights
from kestrel.sw.zoo.networks import Architecture, find_architecture
from kestrel.sw.zoo.parameters import Outline, find_cuts, outline


def measure_network(entry: NetworkEntry, codec: Codec, codings: tuple[str, ...], grid: Grid, task: str,
                    root: Path, kept: Path, command: str) -> list[Row]:
    """A row for every data set, cut, coding, pooling and whitening. Raises InputError."""
    start = time.perf_counter()
    network = find_architecture(entry.name)
    known = outline(network)
    cuts = find_cuts(network, known, entry.cuts)
    weights = zoo_weights.load(_source(entry.weights, root), known.upto(cuts[-1]))
    found: list[tuple[DataEntry, Coded, Described, Described]] = []
    precisions: dict[tuple[str, str, str, str], tuple[float, ...]] = {}
    for data in grid.data:
        coded = _code(network, known, cuts, weights, codec, codings, data, task, root, kept)
        pictures = load_pictures(data, root, kept)
        described, floats = (
            describe(source.run, network.preprocessing, cuts, grid.poolings, grid.whitenings, pictures,
                     _described_file(source, network.name, cuts, data, grid, kept))
            for source in (coded, code_network(network, known, cuts, weights, FLOAT_CODEC, ()))
        )
        found.append((data, coded, described, floats))
        for key, vectors in described.items():
            precisions[data.name, *key] = tuple(map(float, average_precisions(pictures.benchmark, vectors)))
    seconds = time.perf_counter() - start
    rows: list[Row] = []
    for data, coded, described, floats in found:
        for (cut, coding), size in coded.sizes.items():
            chosen = codec.with_coding(coding) if codings else codec
            for key, vectors in described.items():
                if key[0] == cut:
                    rows.append(_row(task, entry, chosen, data.name, key, size, vectors, floats[key],
                                     precisions[data.name, *key], seconds, command))
    return rows


def _row(task: str, entry: NetworkEntry, codec: Codec, data: str, key: tuple[str, str, str], size: Size,
         vectors: np.ndarray, floats: np.ndarray, precisions: tuple[float, ...], seconds: float,
         command: str) -> Row:
    cut, pooling, whitening = key
    cosine = None
    if whitening == NO_WHITENING:  # whitenings, each trained for itself, lead into spaces of their own
        cosine = float((vectors.astype(np.float64) * floats).sum(axis=1).mean())
    return Row(task, entry.name, entry.is_trained, cut, codec.family, codec.label, codec.options, data,
               pooling, whitening, size.file, size.weights, size.weight_bytes, size.entropy_bytes, size.zeros,
               vectors.shape[1], float(np.mean(precisions)), precisions, cosine, seconds, command)


def _code(network: Architecture, known: Outline, cuts: tuple[str, ...], weights: zoo_weights.Weights,
          codec: Codec, codings: tuple[str, ...], data: DataEntry, task: str, root: Path,
          kept: Path) -> Coded:
    if not codec.by_pictures:
        return code_network(network, known, cuts, weights, codec, codings)
    if not data.calibration:
        raise InputError(f"data {data.name}: no calibration; allowed with masks by "
                         f"{codec.options['rule']}: a folder")
    paths = spread(list_images(root / data.calibration), data.calibration_pictures)
    side = data.size
    pictures = CalibrationPictures(data.calibration, side, side, tuple(path.name for path in paths),
                                   lambda n: load_image(paths[n], side, side))
    if not network.kestrel:
        return code_sequential(network, known, cuts, weights, codec, codings, pictures)
    about = [task, cuts[-1], data.calibration, len(paths), side, codec.options["bits"], CODING]
    name = f"{network.name}-{codec.weights_label}-{_short(about)}.kcm"
    return code_masks(network, known, cuts, weights, codec, codings, pictures, kept / name)


def _described_file(coded: Coded, network: str, cuts: tuple[str, ...], data: DataEntry, grid: Grid,
                    kept: Path) -> Path:
    about = [coded.digest, cuts, asdict(data), {n: asdict(p) for n, p in grid.poolings.items()},
             grid.whitenings]
    return kept / f"{network}-{_short(about)}.npz"


def _short(about: object) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def measure_layer(entry: DenseEntry, grid: Grid, task: str, root: Path, kept: Path,
                  command: str) -> list[DenseRow]:
    """A row for every method. Raises InputError."""
    network = find_architecture(entry.network)
    known = outline(network)
    weights = zoo_weights.load(_source(entry.weights, root), known.parameters)
    if f"{entry.layer}.weight" not in weights or entry.input not in known.needed:
        layers = ", ".join(p.key.removesuffix(".weight") for p in known.parameters if p.kind == "dense")
        raise InputError(f"dense: layer {entry.layer!r} behind {entry.input!r}; allowed in {network.name}: "
                         f"{layers or 'a 1x1 convolution'}, behind one of {', '.join(known.needed)}")
    pictures = load_pictures(grid.data[0], root, kept)
    inputs = read_inputs(entry, network, weights, root, pictures, kept)
    weight, bias = weights[f"{entry.layer}.weight"], weights[f"{entry.layer}.bias"]
    columns = weight.size // len(weight)
    return [measure_dense(entry, method, weight, bias, inputs, pictures, task, command)
            for method in (None, *dense_methods(len(weight), columns, grid.seed))]


def _source(text: str, root: Path) -> str:
    """Weights as the grid names them: a file below the root, or of an installed package."""
    if text.startswith("random:"):
        return text
    if text.startswith(PACKAGE):
        return str(_packaged(text.removeprefix(PACKAGE)))
    return str(root / text)


PACKAGE = "package:"
"""Before the name of an installed package and a file in it: package:NAME/FILE."""


def _packaged(text: str) -> Path:
    from importlib.util import find_spec  # noqa: PLC0415

    name, _, file = text.partition("/")
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"weights {PACKAGE}{text}: no package {name} is installed; allowed: one that is")
    return Path(spec.submodule_search_locations[0]) / file
