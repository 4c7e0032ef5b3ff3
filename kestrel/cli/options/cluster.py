"""Where work runs in pieces: options of the commands that can be shared between processes and machines."""

from typing import Annotated

import typer

from kestrel.cli.rules.effects import Absent
from kestrel.sw.cluster.runner import Cluster, check_installed

SchedulerOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run in pieces on the workers of this dask.distributed scheduler."),
]
DaskWorkersOption = Annotated[
    int | None,
    typer.Option("--dask-workers", metavar="N",
                 help="Run in pieces on N processes of this machine; 0: in this one."),
]
SHARED = {"scheduler": Absent("dask_workers"), "dask_workers": Absent("scheduler")}
"""When they have an effect."""


def chosen_cluster(scheduler: str | None, dask_workers: int | None) -> Cluster | None:
    """Of the options' values; None for no pieces. Raises InputError, also without dask.distributed."""
    if scheduler is None and dask_workers is None:
        return None
    if scheduler is not None or dask_workers:
        check_installed()
    return Cluster(scheduler or "", dask_workers or 0)
