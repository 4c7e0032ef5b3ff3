"""A benchmark's pictures and queries through a describer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.pictures.images import open_image
from kestrel.sw.retrieval.benchmark.datasets import Benchmark, Box, Query
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.describe.extract import Describer, Skip

Describe = Callable[[np.ndarray], np.ndarray]


def cut_box(rgb: np.ndarray, box: Box) -> np.ndarray:
    """The part of a picture, uint8 [H, W, 3], inside ``box``, its sides rounded to whole pixels and kept
    within the picture. Raises InputError for a box of which nothing lies inside."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    part = rgb[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    if 0 in part.shape or right <= 0 or bottom <= 0:
        raise InputError(f"box {box} of a picture of {width} x {height}; allowed: inside the picture")
    return part


def query_picture(benchmark: Benchmark, query: Query) -> np.ndarray:
    """What a query shows, uint8 [H, W, 3]. Raises InputError."""
    rgb = open_image(benchmark.folder / query.image)
    try:
        return rgb if query.box is None else cut_box(rgb, query.box)
    except InputError as error:
        raise InputError(f"{benchmark.folder / query.image}: query {query.name}: {error}") from error


def describe_benchmark(
    benchmark: Benchmark,
    describer: Describer,
    *,
    progress: Progress = silent,
    skip: Skip | None = None,
    shards: Path | None = None,
    workers: int | None = None,
) -> Descriptors:
    """Descriptors of all pictures and of the queries that are crops (by ``Query.key``).

    skip, shards, workers: as for ``Describer.describe``. What was skipped has no descriptor; see
    ``undescribed``. Raises InputError.
    """
    names = benchmark.pictures
    found = describer.describe([benchmark.folder / name for name in names], names, progress=progress,
                               skip=skip, shards=shards, workers=workers)
    keys: list[str] = []
    vectors: list[np.ndarray] = []
    with progress("describing queries", len(benchmark.boxed)) as advance:
        for query in benchmark.boxed:
            try:
                vectors.append(describer.describe_picture(query_picture(benchmark, query)))
                keys.append(query.key)
            except InputError as error:
                if skip is None:
                    raise
                skip(query.key, error)
            advance(1)
    if not keys:
        return found
    together = np.concatenate([found.vectors, np.stack(vectors)])
    return Descriptors(found.settings, (*found.names, *keys), together, folder=benchmark.folder.absolute())


def undescribed(benchmark: Benchmark, descriptors: Descriptors) -> set[str]:
    """Pictures and query keys of the benchmark without a descriptor."""
    wanted = {*benchmark.pictures, *(query.key for query in benchmark.boxed)}
    return wanted - set(descriptors.names)
