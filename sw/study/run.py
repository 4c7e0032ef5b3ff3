"""Runs a study: its tasks one after another or several at once, each kept when it is done, so that a study
that was stopped continues."""

import fnmatch
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.cluster.pieces import Done, Piece, Runner, failure_of
from kestrel.sw.codecs.batch_norm import FLOAT
from kestrel.sw.common.files import claim_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.common.threads import one_thread
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.compress.fit import SEQUENTIAL_RULE
from kestrel.sw.study.codecs import CODING, FLOAT_CODEC, Codec
from kestrel.sw.study.grid import DenseEntry, Grid, NetworkEntry
from kestrel.sw.study.measure import measure_layer, measure_network
from kestrel.sw.study.rows import Results, read_task, write_task
from kestrel.sw.zoo.networks import find_architecture
from kestrel.sw.zoo.parameters import find_cuts, outline

QUICK = "quick"
"""In place of a grid's file: the one that comes along, on generated data."""
ROWS, KEPT, REPORT, DATA = "rows", "kept", "report", "data"
TABLES = ("table.csv", "table.json")
NAMES = (ROWS, KEPT, REPORT, DATA, *TABLES)
"""What a study writes into its folder."""


@dataclass(frozen=True)
class Place:
    """Where a study reads and writes. grid: as the user named it, for commands; root: of its folders and
    files; output: the folder."""

    grid: str
    root: Path
    output: Path

    def command(self, task: str) -> str:
        """That repeats a task elsewhere."""
        root = "" if self.grid == QUICK else f" --root {self.root}"
        return f"kestrel study {self.grid}{root} -o STUDY --only '{task}'"


@dataclass(frozen=True)
class Task:
    """One network in one coding of its weights, or one dense layer by all methods. name: as ``--only`` has
    it; codings: that the weights are stored with."""

    name: str
    grid: Grid
    network: NetworkEntry | None = None
    codec: Codec = FLOAT_CODEC
    codings: tuple[str, ...] = ()
    dense: DenseEntry | None = None

    def settings(self) -> dict[str, Any]:
        """Everything that decides its rows."""
        return {"seed": self.grid.seed, "data": [asdict(entry) for entry in self.grid.data],
                "poolings": {name: asdict(found) for name, found in self.grid.poolings.items()},
                "whitenings": list(self.grid.whitenings), "codec": asdict(self.codec),
                "codings": list(self.codings), "network": self.network and asdict(self.network),
                "dense": self.dense and asdict(self.dense)}

    def file(self, output: Path) -> Path:
        return output / ROWS / f"{self.name.replace('/', '--')}.json"


def tasks_of(grid: Grid) -> list[Task]:
    """The tasks of a grid, those of float networks first, as the others are compared with them, then codec by
    codec in the grid's order. Raises InputError for a cut that a network does not have."""
    found: list[Task] = []
    normed: dict[str, bool] = {}
    for network in grid.networks:
        architecture = find_architecture(network.name)
        known = outline(architecture)
        find_cuts(architecture, known, network.cuts)
        normed[network.name] = known.count("batch norm") > 0
        found.append(Task(f"{network.name}/float", grid, network))
    codecs = [codec for codec in grid.codecs if codec.family != "float"]
    for label in dict.fromkeys(codec.weights_label for codec in codecs):
        alike = [codec for codec in codecs if codec.weights_label == label]
        codings = tuple(str(codec.options[CODING]) for codec in alike)
        for network in grid.networks:
            engine = bool(find_architecture(network.name).kestrel)
            # On other networks than the engine's, of the rules that measure pictures only one can be fitted.
            if alike[0].by_pictures and not engine and alike[0].options["rule"] != SEQUENTIAL_RULE:
                continue
            if not engine and alike[0].options.get("scalar_bits", SCALAR_BITS) != SCALAR_BITS:
                continue  # Tables of scalars are the engine's.
            if alike[0].options.get("batch_norm", FLOAT) != FLOAT and not normed[network.name]:
                continue  # There is none whose bits could differ.
            codec = alike[0].on_engine() if engine else alike[0]
            found.append(Task(f"{network.name}/{codec.weights_label}", grid, network, codec, codings))
    found = list({task.name: task for task in found}.values())
    found += [Task(f"{entry.network}/dense", grid, dense=entry) for entry in grid.dense]
    return found


def claim(grid: Grid, place: Place, *, force: bool = False) -> None:
    """Makes the output folder this study's. Raises InputError where it is another's."""
    origin = Origin("a study", {"title": grid.title, "seed": grid.seed})
    claim_directory(place.output, origin, NAMES, force=force)
    for name in (ROWS, KEPT, REPORT):
        (place.output / name).mkdir(exist_ok=True)


def run_study(grid: Grid, place: Place, *, only: str = "*", jobs: int = 1, runner: Runner | None = None,
              progress: Progress = silent, report: Callable[[str], None] = lambda text: None) -> Results:
    """Runs the tasks of ``grid`` that are not yet done and whose name matches ``only``; gives the rows of all
    that are done. jobs: processes; runner: in place of them, runs each task as a piece, in processes that see
    the files under the same paths; report: is told of every task that ends. Raises InputError, with a runner
    for tasks that failed once the others are done."""
    tasks = tasks_of(grid)
    chosen = [task for task in tasks if fnmatch.fnmatchcase(task.name, only)]
    if not chosen:
        names = ", ".join(task.name for task in tasks[:8])
        raise InputError(f"--only {only!r} matches no task; allowed: {names}"
                         f"{', ...' if len(tasks) > 8 else ''}")
    left = [task for task in chosen if read_task(task.file(place.output), task.settings()) is None]
    with progress("study", len(left)) as advance:
        start = time.monotonic()
        for done, (name, seconds) in enumerate(_run_all(left, place, jobs, runner), start=1):
            rest = (time.monotonic() - start) / done * (len(left) - done)
            report(f"{name}: {seconds:.0f} s; {done} of {len(left)} done, about {rest / 60:.0f} min left")
            advance(1)
    found = [read_task(task.file(place.output), task.settings()) for task in tasks]
    known = [table for table in found if table is not None]
    return Results(tuple(row for table in known for row in table.rows),
                 tuple(row for table in known for row in table.dense))


def _run_all(tasks: list[Task], place: Place, jobs: int, runner: Runner | None,
             ) -> Iterator[tuple[str, float]]:
    if runner is not None:
        yield from _run_pieces(tasks, place, runner)
        return
    if jobs == 1:
        for task in tasks:
            yield task.name, run_task(task, place)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads,
                             initargs=(1,)) as pool:
        for part in _floats_first(tasks):
            started = {pool.submit(run_task, task, place): task.name for task in part}
            try:
                for future in as_completed(started):
                    yield started[future], future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _floats_first(tasks: list[Task]) -> tuple[list[Task], list[Task]]:
    """The tasks that others are compared with, and the others."""
    first = [task for task in tasks if task.codec == FLOAT_CODEC and task.dense is None]
    return first, [task for task in tasks if task not in first]


def _run_pieces(tasks: list[Task], place: Place, runner: Runner) -> Iterator[tuple[str, float]]:
    failed: list[Done] = []
    for part in _floats_first(tasks):
        pieces = [Piece(task.name, run_piece, (task, place, str(Path.cwd()))) for task in part]
        for done in runner.run(pieces):
            if done.failed:
                failed.append(done)
            else:
                yield done.piece.name, done.value
    if failed:
        order = [task.name for task in tasks]
        failed.sort(key=lambda done: order.index(done.piece.name))
        raise failure_of(failed, len(tasks), f"{place.output} keeps the others; the same command goes on "
                         "from there")


def run_piece(task: Task, place: Place, folder: str) -> float:
    """As ``run_task``, on a worker, from ``folder``, which the paths of ``place`` are relative to, and with
    one thread, so that all sums are in one order."""
    with one_thread(), chdir(folder):
        return run_task(task, place)


def run_task(task: Task, place: Place) -> float:
    """Measures a task and keeps its rows. Returns its seconds."""
    start = time.perf_counter()
    kept, command = place.output / KEPT, place.command(task.name)
    settings: Mapping[str, Any] = task.settings()
    if task.dense is not None:
        dense = measure_layer(task.dense, task.grid, task.name, place.root, kept, command)
        write_task(task.file(place.output), settings, (), dense)
    elif task.network is not None:
        rows = measure_network(task.network, task.codec, task.codings, task.grid, task.name, place.root, kept,
                               command)
        write_task(task.file(place.output), settings, rows, ())
    return time.perf_counter() - start
