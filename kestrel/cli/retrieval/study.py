"""``kestrel study``: methods of compression on many networks, in bytes against mAP."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from kestrel.cli.options.cluster import (
    SHARED,
    DaskWorkersOption,
    SchedulerOption,
    WorkerMemoryOption,
    chosen_cluster,
)
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent, When
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.cluster.runner import open_runner
from kestrel.sw.study.grid import read_grid
from kestrel.sw.study.quick import make_data, quick_grid
from kestrel.sw.study.report.fronts import front
from kestrel.sw.study.report.pages import write_report
from kestrel.sw.study.report.tables import grouped
from kestrel.sw.study.rows import Results, Row
from kestrel.sw.study.run import QUICK, Place, claim, run_study


@declares(
    "output only", writes={"output": FolderOutput()},
    effects=SHARED | {
             "jobs": (Absent("scheduler"), Absent("dask_workers")),
             "root": When(lambda values: values["grid"] != QUICK, f"with the grid {QUICK}",
                          "with a grid file")},
    kept=keeps(lambda values: values["output"], "the rows that were finished"),
)
def study(
    grid: Annotated[str, typer.Argument(help=f"A grid (TOML), or {QUICK}: generated data, minutes.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the study; continued if there.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder that the grid's files are in; default: the grid's own.")
    ] = None,
    only: Annotated[str, typer.Option(help="Tasks by name, with * for anything: 'vgg16/*'.")] = "*",
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    scheduler: SchedulerOption = None,
    dask_workers: DaskWorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Measure networks, cuts and codecs of a grid: bytes of files that decode, against mAP.

    Writes table.csv, table.json and a report (HTML, Markdown, SVG). A stopped study continues; each row has
    the command that repeats it. """
    start = time.perf_counter()
    chosen = quick_grid() if grid == QUICK else read_grid(Path(grid))
    folder = root or Path(grid).parent
    place = Place(grid, folder, output)
    cluster = chosen_cluster(scheduler, dask_workers, worker_memory)
    with lock_output(output):
        claim(chosen, place, force=force)
        if grid == QUICK:
            place = Place(grid, make_data(output), output)
        with nullcontext() if cluster is None else open_runner(cluster) as runner:
            results = run_study(chosen, place, only=only, jobs=jobs, runner=runner, progress=progress,
                                report=lambda text: note(f"kestrel: {text}"))
        files = write_report(results, chosen, output)
    payload = {"grid": grid, **_payload(results), "files": files, "seconds": time.perf_counter() - start}

    def human(console: Console) -> None:
        console.print("Pareto fronts of bytes against mAP")
        for rows in grouped(results.rows).values():
            console.print(_table(front(rows)))
        for file in files:
            console.print(f"written: {file}", highlight=False)

    emit(payload, human, json)


def _table(rows: list[Row]) -> RichTable:
    first = rows[0]
    shown = RichTable(title=f"{first.network}, {first.data}, {first.pooling}, whitening {first.whitening}",
                      title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("cut", "codec"):
        shown.add_column(column, no_wrap=True)
    for column in ("bytes", "bits a weight", "mAP"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(row.cut, row.codec, f"{row.file_bytes:,}", f"{row.bits_per_weight:.2f}",
                      f"{row.map:.4f}")
    return shown


def _fronts(results: Results) -> list[Row]:
    return [row for rows in grouped(results.rows).values() for row in front(rows)]


def _payload(results: Results) -> dict[str, Any]:
    return {
        "rows": len(results.rows), "dense_rows": len(results.dense),
        "pareto": [{"network": row.network, "data": row.data, "pooling": row.pooling,
                    "whitening": row.whitening, "cut": row.cut, "codec": row.codec, "bytes": row.file_bytes,
                    "bits_per_weight": row.bits_per_weight, "map": row.map} for row in _fronts(results)],
    }  # fmt: skip
