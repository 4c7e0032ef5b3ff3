"""Where work runs in pieces: options of the commands that can be shared between processes and machines."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.rules.effects import Absent, Condition, When
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.cluster.runner import Cluster, check_installed
from kestrel.sw.common.store import is_url

GIGABYTE = 1_000_000_000

SchedulerOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run in pieces on the workers of this dask.distributed scheduler."),
]
DaskWorkersOption = Annotated[
    int | None,
    typer.Option("--dask-workers", metavar="N",
                 help="Run in pieces on N processes of this machine; 0: in this one."),
]
WorkerMemoryOption = Annotated[
    float | None,
    typer.Option("--worker-memory", metavar="GB",
                 help="Most memory of each of the N; default: an equal share of this machine's."),
]
PartsOption = Annotated[
    str | None,
    typer.Option("--parts", metavar="PLACE",
                 help="Folder or URL (fsspec: s3://bucket/run) of finished parts, shared by all workers."),
]
SHARED: dict[str, Condition] = {
    "scheduler": Absent("dask_workers"),
    "dask_workers": Absent("scheduler"),
    "worker_memory": When(lambda values: bool(values["dask_workers"]), "without processes",
                          "with --dask-workers 1 or more"),
}
"""When they have an effect."""


def chosen_cluster(scheduler: str | None, dask_workers: int | None,
                   worker_memory: float | None) -> Cluster | None:
    """Of the options' values; None for no pieces. Raises InputError, also without dask.distributed."""
    if scheduler is None and dask_workers is None:
        return None
    memory = None if worker_memory is None else round(worker_memory * GIGABYTE)
    chosen = Cluster(scheduler or "", dask_workers or 0, memory)
    if scheduler is not None or dask_workers:
        check_installed()
    return chosen


def locked(parts: str | None) -> AbstractContextManager[None]:
    """While active, another run is refused that has the same folder of parts; of a URL nobody is. Raises
    InputError."""
    return nullcontext() if parts is None or is_url(parts) else lock_output(Path(parts))
