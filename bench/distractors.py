"""Search among a million descriptors: recall, time and memory of every kind of index.

    python bench/distractors.py [--descriptors FILE.npz] [--count 1000000] [--kinds floats-flat,...]

Distractors are generated around real descriptors, those of FILE (from ``kestrel describe``) or, without one,
around seeded random ones with a few strong directions. A distractor is a real descriptor moved by a random
share of the difference of two others and a little noise, so that the million lies as the real ones do:
isotropic noise would make all distances alike, which is both unreal and the worst case for every
approximate search. Queries are generated in the same way, from another part of the random sequence.

Each kind runs in a process of its own, which generates the same distractors in blocks while it adds them, so
that its peak of memory is that of the index. Recall is against an exact search: the share of the k truly
nearest that are among the k found, once with the same codes (what the structure loses; an equal score counts
as found) and once with floats (what structure and codes lose together). Writes
``build/bench/distractors.json``.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, from_bytes, to_bits, to_bytes
from kestrel.sw.retrieval.search.neighbours import Neighbours
from kestrel.sw.retrieval.search.refined import RefinedNeighbours
from kestrel.sw.retrieval.search.structures import Kind

OUTPUT = Path("build/bench/distractors.json")

KINDS = ("floats-flat", "bytes-flat", "bits-flat", "floats-ivf", "bytes-ivf", "bits-hnsw", "bytes-hnsw",
         "floats-hnsw", "floats-ivfpq", "bytes-ivfpq")

EFFORTS: dict[str, tuple[int | None, ...]] = {"flat": (None,), "hnsw": (24, 96, 384), "ivf": (6, 24, 96),
                                             "ivfpq": (6, 24, 96)}
"""Tried on each structure; the middle one is the default of the index."""

DIMENSION, CENTRES, DIRECTIONS = 512, 2000, 48
"""Of the made-up descriptors."""

BLOCK = 1 << 14

DEPTH = 10
"""Neighbours asked for."""

ALONE = 50
"""Queries asked one by one."""

TRAINING = 1 << 16
"""Distractors that cells, ranges and thresholds are learned from."""

SHARE = (0.1, 0.6)
"""Of the difference of two real descriptors."""

NOISE = 0.15
"""Length of the isotropic part, in descriptors."""


@dataclass(frozen=True)
class Job:
    """What a process is told. centres: float32 [C, D], unit length."""

    kind: str
    centres: np.ndarray
    count: int
    queries: int
    seed: int
    spool: Path


@dataclass(frozen=True)
class Search:
    """Rows and scores [Q, DEPTH] found with an effort (None: exact). seconds: for all queries together, and
    of all processors; single_ms: for one asked alone."""

    effort: int | None
    rows: np.ndarray
    scores: np.ndarray
    seconds: float
    processor_seconds: float
    single_ms: float


@dataclass(frozen=True)
class Built:
    """An index: time to learn and to add (also of all processors together, which other programs on the
    machine change little), its size in a file, the process's peak of memory, and what it holds after the
    searches without mapped files, which the system may take back."""

    train_seconds: float
    add_seconds: float
    add_processor_seconds: float
    index_bytes: int
    peak_bytes: int
    held_bytes: int
    searches: tuple[Search, ...]


def made_up_centres(seed: int) -> np.ndarray:
    """Float32 [CENTRES, DIMENSION] like pooled features: positive, a common direction, few strong others."""
    generator = np.random.default_rng([seed, 0])
    place = generator.standard_normal((CENTRES, DIRECTIONS)) / np.sqrt(1 + np.arange(DIRECTIONS))
    return unit(np.exp(0.35 * place @ generator.standard_normal((DIRECTIONS, DIMENSION))))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def around(centres: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """float32 [count, D], see the module's docstring."""
    here, one, other = generator.integers(0, len(centres), (3, count))
    share = generator.uniform(*SHARE, (count, 1)).astype(np.float32)
    noise = generator.standard_normal((count, centres.shape[1]), dtype=np.float32)
    noise *= np.float32(NOISE / np.sqrt(centres.shape[1]))
    return unit(centres[here] + share * (centres[one] - centres[other]) + noise)


def distractors(job: Job) -> Iterator[np.ndarray]:
    """All of them in blocks, the same for every kind."""
    for block, start in enumerate(range(0, job.count, BLOCK)):
        generator = np.random.default_rng([job.seed, 1, block])
        yield around(job.centres, min(BLOCK, job.count - start), generator)


def measure(job: Job) -> Built:
    """Builds and searches one kind, in a fresh process."""
    codes, structure = job.kind.split("-")
    training = around(job.centres, min(TRAINING, job.count), np.random.default_rng([job.seed, 2]))
    quantiser = fit_quantiser(training)
    coders: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "floats": lambda x: x,
        "bytes": lambda x: from_bytes(to_bytes(x, quantiser), quantiser),
        "bits": lambda x: to_bits(x, quantiser),
    }
    code = coders[codes]
    dimension = job.centres.shape[1]
    started = time.perf_counter()
    kind = Kind(codes, structure)
    byte_range = (quantiser.low, quantiser.high) if codes == "bytes" else None
    if structure == "ivfpq":
        index: Neighbours = RefinedNeighbours.empty(kind, dimension, training, byte_range, job.spool)
    else:
        index = Neighbours.empty(kind, -(-dimension // 8) * 8 if codes == "bits" else dimension, training,
                                 byte_range)
    trained = time.perf_counter()
    del training
    adding = processors = 0.0
    for block in distractors(job):
        values = code(block)
        start, start_processors = time.perf_counter(), time.process_time()
        index.add(values)
        adding += time.perf_counter() - start
        processors += time.process_time() - start_processors
    queries = code(around(job.centres, job.queries, np.random.default_rng([job.seed, 3])))
    searches = tuple(timed_search(index, queries, effort) for effort in EFFORTS[structure])
    held = memory("RssAnon")
    counter = ByteCounter()
    index.write(cast(IO[bytes], counter))
    if isinstance(index, RefinedNeighbours):
        index.rows.write(cast(IO[bytes], counter))
    return Built(trained - started, adding, processors, counter.count, memory("VmHWM"),
                 held, searches)


def timed_search(index: Neighbours, queries: np.ndarray, effort: int | None) -> Search:
    """All queries at once, then some of them one by one, as a user asks."""
    start, start_processors = time.perf_counter(), time.process_time()
    scores, rows = index.search(queries, DEPTH, effort)
    together, processors = time.perf_counter() - start, time.process_time() - start_processors
    alone = queries[:ALONE]
    start = time.perf_counter()
    for n in range(len(alone)):
        index.search(alone[n:n + 1], DEPTH, effort)
    single = (time.perf_counter() - start) / len(alone)
    return Search(effort, rows, scores, together, processors, 1000 * single)


class ByteCounter:
    """A stream that only counts."""

    count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)


def memory(field: str) -> int:
    """Of this process: VmHWM, the most it has held, or RssAnon, what it holds and no file backs. Not
    getrusage's figure, which begins with the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(field)))


def recall_of_ties(found: Search, exact: Search, depth: int) -> float:
    """Share of the first ``depth`` found that score as well as the ``depth``-th of the exact search."""
    worst = exact.scores[:, depth - 1:depth]
    sign = 1 if (np.diff(exact.scores, axis=1) >= 0).all() else -1  # distances rise, products fall
    good = (sign * found.scores[:, :depth] <= sign * worst + 1e-9) & (found.rows[:, :depth] >= 0)
    return float(good.mean())


def recall(found: Search, exact: Search, depth: int) -> float:
    """Share of the exact first ``depth`` that are among the first ``depth`` found."""
    pairs = zip(found.rows[:, :depth], exact.rows[:, :depth], strict=True)
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / depth for a, b in pairs]))


def report(kind: str, built: Built, flat: dict[str, Search]) -> dict[str, Any]:
    """JSON of one kind. ``flat``: exact searches by codes, those that were run."""
    codes = kind.partition("-")[0]
    searches: list[dict[str, Any]] = []
    for search in built.searches:
        entry: dict[str, Any] = {
            "effort": search.effort, "seconds": search.seconds, "single_ms": search.single_ms,
            "queries_per_second": len(search.rows) / search.seconds,
            "processor_ms": 1000 * search.processor_seconds / len(search.rows),
        }  # fmt: skip
        for depth in (1, DEPTH):
            entry[f"recall_at_{depth}"] = (
                recall_of_ties(search, flat[codes], depth) if codes in flat else None)
            entry[f"recall_at_{depth}_of_floats"] = (
                recall(search, flat["floats"], depth) if "floats" in flat else None)
        searches.append(entry)
    return {"kind": kind, "train_seconds": built.train_seconds, "add_seconds": built.add_seconds,
            "add_processor_seconds": built.add_processor_seconds, "index_bytes": built.index_bytes,
            "peak_bytes": built.peak_bytes, "held_bytes": built.held_bytes, "searches": searches}


def run(centres: np.ndarray, kinds: Sequence[str], count: int, queries: int, seed: int,
        spool: Path) -> Iterator[dict[str, Any]]:
    """Reports of the kinds, one after the other, the exact ones first."""
    flat: dict[str, Search] = {}
    for kind in sorted(kinds, key=lambda k: not k.endswith("-flat")):
        # A process for each: its peak of memory is then the index's alone.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            built = pool.submit(measure, Job(kind, centres, count, queries, seed, spool)).result()
        if kind.endswith("-flat"):
            flat[kind.partition("-")[0]] = built.searches[0]
        yield report(kind, built, flat)


def main(arguments: Sequence[str]) -> int:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--descriptors", type=Path, help="descriptor file to generate distractors around")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    kinds = options.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"kind {unknown[0]!r}; allowed: {', '.join(KINDS)}")
    if options.count < DEPTH or options.queries < 1 or options.threads < 1 or options.seed < 0:
        parser.error(f"at least {DEPTH} descriptors, a query, a thread, and a seed from 0 are needed")
    try:
        centres = (made_up_centres(options.seed) if options.descriptors is None
                   else load_descriptors(options.descriptors).vectors)
    except InputError as error:
        parser.error(str(error))
    centres = centres[np.linalg.norm(centres, axis=1) > 0]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read by the processes' libraries
        os.environ[variable] = str(options.threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait must not count as work

    started = time.perf_counter()
    payload: dict[str, Any] = {
        "count": options.count, "queries": options.queries, "dimension": centres.shape[1],
        "centres": len(centres), "around": options.descriptors.name if options.descriptors else "generated",
        "threads": options.threads, "seed": options.seed, "depth": DEPTH, "results": [],
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for result in run(centres, kinds, options.count, options.queries, options.seed,
                      options.output.parent):
        show(result)
        payload["results"].append(result)
        payload["seconds"] = time.perf_counter() - started
        with atomic_write(options.output) as temporary:  # a run that is stopped leaves what it has
            temporary.write_text(json.dumps(payload, indent=2) + "\n", encoding="utf-8")
    print(f"written: {options.output}, {payload['seconds']:.0f} s")
    return 0


def show(result: dict[str, Any]) -> None:
    """One line, with the index's usual effort."""
    usual = result["searches"][len(result["searches"]) // 2]
    same, floats = (shown(usual[key]) for key in (f"recall_at_{DEPTH}", f"recall_at_{DEPTH}_of_floats"))
    print(f"{result['kind']:<12} added in {result['add_seconds']:6.1f} s "
          f"({result['add_processor_seconds']:.1f} of processors), {result['index_bytes'] / 1e6:7.1f} MB, "
          f"peak {result['peak_bytes'] / 1e9:.2f} GB; {usual['single_ms']:7.2f} ms a query, "
          f"{usual['queries_per_second']:.0f} a second together "
          f"({usual['processor_ms']:.2f} ms of processors each); "
          f"recall at {DEPTH}: {same}, of floats {floats}", flush=True)


def shown(share: float | None) -> str:
    """A share, or that it was not measured."""
    return "-" if share is None else f"{share:.4f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
