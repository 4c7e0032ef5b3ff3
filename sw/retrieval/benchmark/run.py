"""A benchmark's pictures and queries through a describer."""

from collections.abc import Callable, Sequence

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.pieces import Runner
from kestrel.sw.common.store import Place
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.pictures.boxes import open_box
from kestrel.sw.retrieval.benchmark.datasets import Benchmark, Query
from kestrel.sw.retrieval.describe.descriptor import Descriptors
from kestrel.sw.retrieval.describe.extract import Describer, Skip
from kestrel.sw.retrieval.describe.pieces import describe_in_pieces

Describe = Callable[[np.ndarray], np.ndarray]


def query_picture(benchmark: Benchmark, query: Query) -> np.ndarray:
    """What a query shows, uint8 [H, W, 3]. Raises InputError."""
    return open_box(benchmark.folder / query.image, query.box, f"query {query.name}")


def describe_benchmark(
    benchmark: Benchmark,
    describer: Describer,
    *,
    progress: Progress = silent,
    skip: Skip | None = None,
    shards: Place | None = None,
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
    return _with_queries(benchmark, found, keys, vectors)


def describe_benchmark_in_pieces(
    benchmark: Benchmark, describer: Describer, runner: Runner, parts: Place, *, progress: Progress = silent,
    skip: Skip | None = None,
) -> Descriptors:
    """As ``describe_benchmark`` with ``shards=parts``, by ``runner`` (``describe.pieces``). Raises
    InputError."""
    names = benchmark.pictures
    found = describe_in_pieces(describer, [benchmark.folder / name for name in names], names, runner, parts,
                               progress=progress, skip=skip)
    queries = benchmark.boxed
    if not queries:
        return found
    boxed = describe_in_pieces(
        describer, [benchmark.folder / query.image for query in queries], [query.key for query in queries],
        runner, parts, boxes=[query.box for query in queries if query.box is not None], progress=progress,
        skip=skip)  # fmt: skip
    return _with_queries(benchmark, found, boxed.names, list(boxed.vectors))


def _with_queries(benchmark: Benchmark, found: Descriptors, keys: Sequence[str],
                  vectors: Sequence[np.ndarray]) -> Descriptors:
    """The pictures' descriptors and those of queries that are parts of them."""
    if not keys:
        return found
    together = np.concatenate([found.vectors, np.stack(vectors)])
    return Descriptors(found.settings, (*found.names, *keys), together, folder=benchmark.folder.absolute())


def undescribed(benchmark: Benchmark, descriptors: Descriptors) -> set[str]:
    """Pictures and query keys of the benchmark without a descriptor."""
    wanted = {*benchmark.pictures, *(query.key for query in benchmark.boxed)}
    return wanted - set(descriptors.names)
