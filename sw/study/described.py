"""Descriptors of a study: every picture of a benchmark by one network at all its cuts, by all poolings,
without and with whitening. Kept on disk, so that they are computed once for each set of weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS
from kestrel.sw.common.files import atomic_write
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.pictures.images import list_images, load_image
from kestrel.sw.pictures.listing import spread
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.descriptor import FOREIGN, Descriptors
from kestrel.sw.retrieval.describe.whitening import MapWhitening, Scatter
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, region_vectors
from kestrel.sw.study.coded import Run
from kestrel.sw.study.grid import NO_WHITENING, WHITENINGS, DataEntry

BATCH = 8


@dataclass(frozen=True)
class Pictures:
    """A benchmark and its pictures, uint8 RGB [N, side, side, 3], and those to train the whitening on."""

    benchmark: Benchmark
    images: np.ndarray
    training: np.ndarray


def load_pictures(entry: DataEntry, root: Path, kept: Path) -> Pictures:
    """The pictures of ``entry``, stretched; ``kept``: a folder in which they stay as arrays. Raises
    InputError."""
    benchmark = load_benchmark(entry.protocol, root / entry.folder)
    if any(query.box is not None for query in benchmark.queries):
        raise InputError(f"data {entry.name}: protocol {entry.protocol} asks for parts of pictures; "
                         "allowed here: those whose queries are whole pictures")
    paths = [benchmark.folder / name for name in benchmark.images]
    training = spread(list_images(root / entry.training), entry.training_pictures) if entry.training else []
    side = entry.size
    return Pictures(benchmark, *(_array(kept / f"{entry.name}-{part}-{side}.npy", found, side)
                                 for part, found in (("images", paths), ("training", training))))


def _array(path: Path, pictures: Sequence[Path], side: int) -> np.ndarray:
    if path.is_file():
        with suppress(*ARCHIVE_ERRORS):  # a damaged one is made again
            return np.load(path, mmap_mode="r")
    found = [load_image(picture, side, side) for picture in pictures]
    stacked = np.stack(found) if found else np.zeros((0, side, side, 3), np.uint8)
    with atomic_write(path) as temporary:
        np.save(temporary, stacked)
    return np.load(path, mmap_mode="r")


Described = Mapping[tuple[str, str, str], np.ndarray]
"""Descriptors float32 [N, D] by cut, pooling and whitening."""


def describe(run: Run, preprocessing: Preprocessing, cuts: Sequence[str], poolings: Mapping[str, NipSettings],
             whitenings: Sequence[str], pictures: Pictures, kept: Path) -> Described:
    """The descriptors of all pictures of the benchmark; read from ``kept`` where they are there."""
    if kept.is_file():
        with suppress(*ARCHIVE_ERRORS), np.load(kept) as file:  # a damaged one is made again
            return {_key(name): file[name] for name in file.files}
    scatters: dict[tuple[str, str], Scatter] = {}
    if set(whitenings) != {NO_WHITENING}:
        for at in _vectors(run, preprocessing, cuts, poolings, pictures.training):
            for key, vectors in at.items():
                scatters.setdefault(key, Scatter(vectors.shape[1])).add(vectors)
    fitted = {key: scatter.fit_map(None, WHITENINGS[1]) for key, scatter in scatters.items()}
    rows: dict[tuple[str, str, str], list[np.ndarray]] = {}
    for at in _vectors(run, preprocessing, cuts, poolings, pictures.images):
        for (cut, pooling), vectors in at.items():
            for whitening in whitenings:
                chosen: MapWhitening | None = None if whitening == NO_WHITENING else fitted[cut, pooling]
                row = combine([[vectors]], [1.0], poolings[pooling], chosen)
                rows.setdefault((cut, pooling, whitening), []).append(row)
    found = {key: np.stack(vectors) for key, vectors in rows.items()}
    with atomic_write(kept) as temporary, temporary.open("wb") as file:
        arrays: dict[str, Any] = {"|".join(key): array for key, array in found.items()}
        np.savez(file, **arrays)
    return found


def _key(name: str) -> tuple[str, str, str]:
    cut, pooling, whitening = name.split("|")
    return cut, pooling, whitening


def _vectors(run: Run, preprocessing: Preprocessing, cuts: Sequence[str], poolings: Mapping[str, NipSettings],
             pictures: np.ndarray) -> Iterator[dict[tuple[str, str], np.ndarray]]:
    """Of every picture the vectors of its regions, float64 [R, D], by cut and pooling."""
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        maps = batch_maps(run, preprocessing, cuts, part)
        for number in range(len(part)):
            yield {(cut, name): region_vectors(maps[cut][number], settings)
                   for cut in cuts for name, settings in poolings.items()}


def batch_maps(run: Run, preprocessing: Preprocessing, cuts: Sequence[str],
               pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The maps ``cuts`` of pictures uint8 RGB [N, H, W, 3], float32 [N, C, h, w] each."""
    x = torch.from_numpy(np.stack([preprocessing.real_input(rgb) for rgb in pictures]))
    found: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        # Channels innermost: measured faster by a quarter in batches.
        for name, output in run(x.contiguous(memory_format=torch.channels_last)):
            if name in cuts:
                # A copy: the network may go on in the same memory.
                found[name] = output.contiguous().numpy().copy()
            if len(found) == len(cuts):
                break
    return found


def average_precisions(benchmark: Benchmark, vectors: np.ndarray) -> np.ndarray:
    """Of every query that has something to find, float64 [Q]."""
    return evaluate(benchmark, Descriptors(FOREIGN, benchmark.images, vectors)).average_precisions
