"""How work on many pictures grows: extraction with processes, and the index with descriptors.

    python bench/scale.py pictures NETWORK FOLDER [--workers 1,2,4] [--images 240]
    python bench/scale.py index [--descriptors FILE.npz] [--counts 1000000,3000000,10000000]

``pictures`` describes the same photographs in pieces on 1, 2 and 4 processes of dask.distributed, several
times in turn, since others at work on the machine slow down one run more than another; medians count. The
descriptors must be equal to the byte, otherwise the exit code is 1. Efficiency is the rate against that of
one process times the number of processes, or of processors where those are fewer. On a machine with other
work, where four processes get more of it than one, it says little; the processor time that a picture takes,
of all processes with the scheduler's and the command's, does.

``index`` builds an index of bytes behind 4-bit codes (``ivfpq``) of generated descriptors
(``bench/distractors.py``) in blocks, in a process of its own for each count. The exact search that recall is
measured against goes along: each block is compared with all questions while it is there, as bytes and as
floats, and its time is not counted.

Both write their part of ``build/bench/scale.json``; docs/growth.md draws on it.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from distractors import DEPTH, Job, around, distractors, made_up_centres, memory, timed_search

from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.pieces import Piece, Runner
from kestrel.sw.cluster.runner import Cluster, open_runner
from kestrel.sw.common.files import atomic_write
from kestrel.sw.pictures.listing import find_pictures
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.pieces import describe_in_pieces
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, from_bytes, to_bytes
from kestrel.sw.retrieval.search.refined import RefinedNeighbours
from kestrel.sw.retrieval.search.structures import Kind

OUTPUT = Path("build/bench/scale.json")

KIND = Kind("bytes", "ivfpq")
EFFORTS = (6, 24, 96)
"""Cells that a query visits; the middle one is the index's default."""

TRAINING = 1 << 16
"""Descriptors that is learned from, as ``kestrel index build`` takes."""

PIECE = 8
"""Pictures of a piece: few, so that also four processes have equal shares of few hundred photographs."""


# --------------------------------------------------------------------------------------------------------
# Pictures
# --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extraction:
    """Pictures a second with so many processes. rates: of each repetition; efficiency: see the module's
    docstring; processor_ms: of a picture, median; overhead: how much of it one process alone would not have
    taken; peak_bytes: the most memory that one of the processes has held."""

    workers: int
    rates: tuple[float, ...]
    pictures_per_second: float
    speedup: float
    efficiency: float
    processor_ms: float
    overhead: float
    peak_bytes: int


def extraction(network: str, folder: Path, workers: Sequence[int], images: int, repeats: int,
               size: int) -> tuple[list[Extraction], bool, int]:
    """Measurements, whether all descriptors were equal, and how many pictures there were."""
    describer = make_describer(network, DescriptorOptions(size=size))
    found = find_pictures(folder)
    paths, names = found.paths[:images], found.names[:images]
    rates: dict[int, list[float]] = {count: [] for count in workers}
    costs: dict[int, list[float]] = {count: [] for count in workers}
    results: set[bytes] = set()
    with ExitStack() as open_ones:
        runners = {n: open_ones.enter_context(open_runner(Cluster(workers=n))) for n in workers}
        own = {n: started(n, runners) for n in workers}
        for n, runner in runners.items():  # each process loads the network once
            described(describer, paths[:4 * n * PIECE], names[:4 * n * PIECE], runner)
        for _ in range(repeats):
            for n, runner in runners.items():
                start, start_processors = time.perf_counter(), processor_seconds(own[n])
                results.add(described(describer, paths, names, runner))
                rates[n].append(len(paths) / (time.perf_counter() - start))
                costs[n].append((processor_seconds(own[n]) - start_processors) / len(paths))
        peaks = {n: max(peak_of(pid) for pid in own[n]) for n in workers}
    median = {n: statistics.median(values) for n, values in rates.items()}
    cost = {n: statistics.median(values) for n, values in costs.items()}
    alone = median[min(workers)] / min(workers)
    processors = len(os.sched_getaffinity(0))
    rows = [Extraction(n, tuple(rates[n]), median[n], median[n] / alone,
                       median[n] / alone / min(n, processors), 1000 * cost[n],
                       cost[n] / cost[min(workers)] - 1, peaks[n]) for n in workers]
    return rows, len(results) == 1, len(paths)


def described(describer: Describer, paths: Sequence[Path], names: Sequence[str], runner: Runner) -> bytes:
    """The vectors of the pictures, from parts that are new."""
    with tempfile.TemporaryDirectory() as folder:
        found = describe_in_pieces(describer, paths, names, runner, Path(folder) / "parts", pictures=PIECE)
    return found.vectors.tobytes()


def started(count: int, runners: dict[int, Runner]) -> set[int]:
    """Processes of one cluster, the ``count`` of them: those that run its pieces."""
    seen: set[int] = set()
    while len(seen) < count:
        pieces = [Piece(f"process {n}", own_process, (0.05,)) for n in range(4 * count)]
        seen |= {done.value for done in runners[count].run(pieces)}
    return seen


def own_process(seconds: float) -> int:
    """The number of the process that runs this, after a moment, so that others get one too."""
    time.sleep(seconds)
    return os.getpid()


def processor_seconds(others: set[int]) -> float:
    """Of this process, which is the scheduler too, and of ``others``."""
    total = time.process_time()
    for process in others:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peak_of(process: int) -> int:
    """VmHWM of a process, bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


# --------------------------------------------------------------------------------------------------------
# Index
# --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Questions with an effort: all in one batch, and one by one. recall_at_1, recall_at_10: of the exact
    search of the same bytes, what the index loses; of_floats: of that of floats, what bytes lose too."""

    effort: int
    queries_per_second: float
    processor_ms: float
    single_ms: float
    recall_at_1: float
    recall_at_10: float
    recall_at_1_of_floats: float
    recall_at_10_of_floats: float


@dataclass(frozen=True)
class Grown:
    """An index of so many descriptors. Seconds to learn and to add, by the clock and of all processors;
    memory: what the process holds that no file backs, after all have been added, less what it held before;
    peak_bytes: the most it has held, with mapped files; row_bytes: of the rows in their file."""

    count: int
    cells: int
    train_seconds: float
    train_processor_seconds: float
    add_seconds: float
    add_processor_seconds: float
    memory_bytes: int
    memory_a_descriptor: float
    peak_bytes: int
    row_bytes: int
    asked: tuple[Asked, ...]
    seconds: float


class Exact:
    """The DEPTH nearest of all blocks seen, by inner products of floats."""

    def __init__(self, queries: np.ndarray) -> None:
        self._queries = queries
        self._scores = np.full((len(queries), DEPTH), -np.inf, dtype=np.float32)
        self.rows = np.full((len(queries), DEPTH), -1, dtype=np.int64)
        self._count = 0

    def see(self, block: np.ndarray) -> None:
        """float32 [N, D], the next descriptors."""
        products = self._queries @ block.T
        best = np.argpartition(-products, min(DEPTH, len(block)) - 1, axis=1)[:, :DEPTH]
        scores = np.concatenate([self._scores, np.take_along_axis(products, best, axis=1)], axis=1)
        rows = np.concatenate([self.rows, best + self._count], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self.rows = np.take_along_axis(rows, order, axis=1)
        self._count += len(block)

    def recall(self, found: np.ndarray, depth: int) -> float:
        """Share of the first ``depth`` that are among the first ``depth`` of ``found``, int64 [Q, DEPTH]."""
        pairs = zip(found[:, :depth], self.rows[:, :depth], strict=True)
        return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / depth for a, b in pairs]))


def grow(job: Job) -> Grown:
    """Builds and asks an index, in a fresh process."""
    began = time.perf_counter()
    training = around(job.centres, min(TRAINING, job.count), np.random.default_rng([job.seed, 2]))
    queries = around(job.centres, job.queries, np.random.default_rng([job.seed, 3]))
    quantiser = fit_quantiser(training)
    before = memory("RssAnon") - training.nbytes
    start, start_processors = time.perf_counter(), time.process_time()
    index = RefinedNeighbours.empty(KIND, job.centres.shape[1], training, (quantiser.low, quantiser.high),
                                    job.spool, job.count)
    learned, learned_processors = time.perf_counter() - start, time.process_time() - start_processors
    del training
    coded = from_bytes(to_bytes(queries, quantiser), quantiser)
    exact, exact_floats = Exact(coded), Exact(queries)
    adding = processors = 0.0
    for number, block in enumerate(distractors(job)):
        values = from_bytes(to_bytes(block, quantiser), quantiser)
        exact_floats.see(block)
        exact.see(values)
        start, start_processors = time.perf_counter(), time.process_time()
        index.add(values)
        adding += time.perf_counter() - start
        processors += time.process_time() - start_processors
        if number % 64 == 0:
            print(f"  {len(index):,} of {job.count:,} after {time.perf_counter() - began:.0f} s",
                  file=sys.stderr, flush=True)
    held = memory("RssAnon") - before
    asked = tuple(ask(index, coded, effort, exact, exact_floats) for effort in EFFORTS)
    return Grown(job.count, index.describe()["cells"], learned, learned_processors, adding, processors, held,
                 held / job.count, memory("VmHWM"), job.count * job.centres.shape[1], asked,
                 time.perf_counter() - began)


def ask(index: RefinedNeighbours, queries: np.ndarray, effort: int, exact: Exact, floats: Exact) -> Asked:
    """Both ways of asking, and what was found."""
    found = timed_search(index, queries, effort)
    return Asked(effort, len(queries) / found.seconds, 1000 * found.processor_seconds / len(queries),
                 found.single_ms, exact.recall(found.rows, 1), exact.recall(found.rows, DEPTH),
                 floats.recall(found.rows, 1), floats.recall(found.rows, DEPTH))


# --------------------------------------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    pictures = parts.add_parser("pictures")
    pictures.add_argument("network", help="compressed network, or one that comes along")
    pictures.add_argument("folder", type=Path, help="photographs")
    pictures.add_argument("--workers", type=numbers, default=(1, 2, 4))
    pictures.add_argument("--images", type=int, default=240)
    pictures.add_argument("--repeats", type=int, default=3)
    pictures.add_argument("--size", type=int, default=224)
    index = parts.add_parser("index")
    index.add_argument("--descriptors", type=Path, help="descriptor file to generate around")
    index.add_argument("--counts", type=numbers, default=(1_000_000, 3_000_000, 10_000_000))
    index.add_argument("--queries", type=int, default=1000)
    index.add_argument("--threads", type=int, default=2)
    index.add_argument("--seed", type=int, default=1)
    for part in (pictures, index):
        part.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    try:
        good = measure_pictures(options) if options.part == "pictures" else measure_index(options)
    except InputError as error:
        parser.error(str(error))
    return 0 if good else 1


def numbers(text: str) -> tuple[int, ...]:
    """Positive numbers, separated by commas. Raises ValueError."""
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


def measure_pictures(options: argparse.Namespace) -> bool:
    """Whether all descriptors were equal."""
    rows, equal, count = extraction(options.network, options.folder, options.workers, options.images,
                             options.repeats, options.size)
    for row in rows:
        print(f"{row.workers} processes: {row.pictures_per_second:.2f} pictures a second, "
              f"{row.speedup:.2f} times, efficiency {row.efficiency:.2f}, {row.processor_ms:.0f} ms of "
              f"processors a picture ({100 * row.overhead:+.1f}%), most memory of one "
              f"{row.peak_bytes / 1e6:.0f} MB")
    print(f"descriptors equal to the byte: {equal}")
    keep(options.output, "pictures", {
        "network": options.network, "images": count, "size": options.size,
        "repeats": options.repeats, "processors": len(os.sched_getaffinity(0)), "load": os.getloadavg(),
        "equal": equal, "workers": [asdict(row) for row in rows]})
    return equal


def measure_index(options: argparse.Namespace) -> bool:
    """True."""
    centres = (made_up_centres(options.seed) if options.descriptors is None
               else load_descriptors(options.descriptors).vectors)
    centres = centres[np.linalg.norm(centres, axis=1) > 0]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read by the processes' libraries
        os.environ[variable] = str(options.threads)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait must not count as work
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Grown] = []
    for count in options.counts:
        # A process for each: its peak of memory is then the index's alone.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            job = Job("bytes-ivfpq", centres, count, options.queries, options.seed, options.output.parent)
            rows.append(pool.submit(grow, job).result())
        show(rows[-1])
        keep(options.output, "index", {
            "around": options.descriptors.name if options.descriptors else "generated",
            "centres": len(centres), "dimension": centres.shape[1], "queries": options.queries,
            "threads": options.threads, "seed": options.seed, "load": os.getloadavg(),
            "counts": [asdict(row) for row in rows]})
    return True


def show(row: Grown) -> None:
    """A few lines of one count."""
    print(f"{row.count:,}: {row.cells} cells learned in {row.train_seconds:.0f} s, added in "
          f"{row.add_seconds:.0f} s ({row.add_processor_seconds:.0f} of processors); "
          f"{row.memory_a_descriptor:.0f} bytes of memory a descriptor", flush=True)
    for asked in row.asked:
        print(f"  effort {asked.effort}: {asked.queries_per_second:.0f} a second together "
              f"({asked.processor_ms:.2f} ms of processors), {asked.single_ms:.1f} ms alone, recall at 1 "
              f"{asked.recall_at_1:.3f}, at 10 {asked.recall_at_10:.3f} "
              f"(of floats {asked.recall_at_10_of_floats:.3f})", flush=True)


def keep(output: Path, part: str, found: dict[str, object]) -> None:
    """Puts one part into the file, beside the other."""
    output.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(known | {part: found}, indent=2) + "\n", encoding="utf-8")
    print(f"written: {output}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
