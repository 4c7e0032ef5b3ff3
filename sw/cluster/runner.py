"""Pieces on the workers of dask.distributed: on this machine, or behind a scheduler that runs already."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.pieces import Done, Here, Piece, Runner, attempt, one_line, reason_of
from kestrel.sw.cluster.versions import Versions, versions_here

if TYPE_CHECKING:
    from distributed import Client, Future

WORKERS_MAX = 256
AHEAD = 2
"""Pieces in flight for each worker: one that it computes, and one so that it never waits."""
DEATHS = 1
"""So many workers may die of a piece before it counts as lost; a scheduler of others has its own number."""
RETRIES = 1
"""After an exception that is no InputError: a shared folder may be away for a moment."""
MEMORY_MIN = 500_000_000
CONNECT_SECONDS = 30
WORKERS_SECONDS = 120
"""Without any worker for so long, a run ends. Workers that died start anew in less."""
RESTART_SECONDS = 60
"""A worker that died is given up after so long, and another started in its place."""
POLL_SECONDS = 5


@dataclass(frozen=True)
class Cluster:
    """Where pieces run. scheduler: the address of one, such as tcp://10.0.0.1:8786; without, workers: the
    processes that are started on this machine, 0 for none, so that all runs in this process; memory: the
    most bytes that each of them may hold (None: an equal share of the machine's), beyond which it is
    replaced, as one that died. Raises InputError for both and for a number that is out of range."""

    scheduler: str = ""
    workers: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.scheduler and self.workers:
            raise InputError(f"scheduler {self.scheduler} with {self.workers} workers of this machine; "
                             "allowed: one of the two")
        if not 0 <= self.workers <= WORKERS_MAX:
            raise InputError(f"dask workers {self.workers}; allowed: 0..{WORKERS_MAX}")
        if self.memory is not None and self.memory < MEMORY_MIN:
            raise InputError(f"worker memory of {self.memory / 1e9:g} GB; allowed: {MEMORY_MIN / 1e9:g} or "
                             "more, which Python and torch alone need")


def check_installed() -> None:
    """Raises InputError, which says what to install, where dask.distributed is missing."""
    if find_spec("distributed") is None:
        raise InputError("a cluster needs dask.distributed, which is not installed; "
                         "allowed: after pip install 'kestrel-engine[distributed]'")


@contextmanager
def open_runner(cluster: Cluster) -> Iterator[Runner]:
    """What runs pieces there, ready, all workers being of this process's versions. Raises InputError."""
    if not cluster.scheduler and not cluster.workers:
        yield Here()
        return
    check_installed()
    with _quiet(), _client(cluster) as (client, revive):
        yield OnWorkers(client, cluster.scheduler, revive)


class OnWorkers:
    """Runs pieces on a client's workers. address: of the scheduler where that is another's; revive: starts
    the workers that are missing. Raises InputError where there is no worker, and for one of other versions.
    """

    def __init__(self, client: "Client", address: str = "", revive: Callable[[], None] | None = None) -> None:
        self._client: Any = client  # typed as what it is in asynchronous programs too
        self._revive = revive or (lambda: None)
        self._seen = time.monotonic()  # when there was a worker
        self._where = f"scheduler {address}" if address else "cluster of this machine"
        self._versions = versions_here()
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError as error:
            raise self._no_workers() from error
        self._check_versions()

    def run(self, pieces: Iterable[Piece]) -> Iterator[Done]:
        """Each piece once it is done or has failed for good, in any order. Raises InputError when the
        scheduler or all workers are lost, and for a worker of other versions that has joined."""
        lost: list[Piece] = []
        yield from self._run(pieces, lost.append)
        # A worker that dies takes the pieces with it that wait beside the one it died of. Run alone, each
        # shows whether it was the cause.
        for piece in lost:
            causes: list[Piece] = []
            yield from self._run([piece], causes.append)
            for cause in causes:
                yield Done(cause, failed="the workers that ran it died, each time (killed, out of memory, or "
                                         "a crash below Python)")

    def _run(self, pieces: Iterable[Piece], lose: Callable[[Piece], None]) -> Iterator[Done]:
        from distributed import KilledWorker  # noqa: PLC0415 - of an extra

        self._seen = time.monotonic()
        rest = iter(pieces)
        running: dict[Future, Piece] = {}
        try:
            while True:
                room = max(1, AHEAD * self._workers()) - len(running)
                for piece in islice(rest, max(room, 0)):
                    running[self._submit(piece)] = piece
                if not running:
                    return
                for future in self._wait(list(running)):
                    piece = running.pop(future)
                    if future.status == "finished":
                        try:
                            value, failed, refused = future.result(timeout=POLL_SECONDS)
                        except TimeoutError:  # lost with its worker: the scheduler computes it again
                            running[future] = piece
                            self._waited_in_vain()
                            continue
                        except KilledWorker:  # and the next one was lost too
                            lose(piece)
                            continue
                        if refused:
                            raise InputError(refused)
                        yield Done(piece, value, failed)
                    elif future.status == "error":
                        error: Any = future.exception()
                        if isinstance(error, KilledWorker):
                            lose(piece)
                        else:
                            yield Done(piece, failed=reason_of(error))
                    elif future.status == "lost":  # its worker died before the result was fetched
                        running[self._submit(piece)] = piece
                    else:
                        raise self._lost(str(future.status))
        finally:
            if running:
                with suppress(Exception):  # of a scheduler that is gone
                    self._client.cancel(list(running))

    def _submit(self, piece: Piece) -> "Future":
        try:
            return self._client.submit(_run_there, piece, self._versions, pure=False, retries=RETRIES,
                                       key=f"kestrel-{secrets.token_hex(8)}")
        except OSError as error:
            raise self._lost(str(error)) from error

    def _wait(self, futures: "list[Future]") -> "set[Future]":
        from distributed import CancelledError, wait  # noqa: PLC0415 - of an extra

        while True:
            try:
                with self._client.as_current():
                    found: Any = wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
                return found.done
            except TimeoutError:
                self._waited_in_vain()
            except (CancelledError, OSError) as error:
                raise self._lost(str(error)) from error

    def _waited_in_vain(self) -> None:
        """Called when nothing has come for a while. Raises InputError without any worker for too long."""
        self._revive()
        now = time.monotonic()
        if self._workers():
            self._seen = now
        elif now - self._seen >= WORKERS_SECONDS:
            raise self._no_workers()

    def _workers(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def _check_versions(self) -> None:
        found: dict[str, Any] = self._client.run(versions_there, on_error="return")
        for worker, other in sorted(found.items()):
            if not isinstance(other, Versions):
                raise InputError(f"worker {worker} cannot run Kestrel ({one_line(repr(other))}); allowed: "
                                 "workers with the same installation")
            if refused := _refusal(worker, self._versions, other):
                raise InputError(refused)

    def _no_workers(self) -> InputError:
        return InputError(f"{self._where}: no worker for {WORKERS_SECONDS} s; allowed: with workers")

    def _lost(self, why: str) -> InputError:
        return InputError(f"{self._where} was lost ({one_line(why)}); what is finished is kept, and the same "
                          "command goes on from there")


def versions_there() -> Versions:
    """Of the worker that this runs on."""
    return versions_here()


def _run_there(piece: Piece, wanted: Versions) -> tuple[Any, str, str]:
    """On a worker: what the piece returned, why it failed, why the worker is refused. Exceptions that are no
    InputError pass, so that the scheduler repeats the piece."""
    from distributed import get_worker  # noqa: PLC0415 - of an extra

    if refused := _refusal(get_worker().address, wanted, versions_there()):
        return None, "", refused
    done = attempt(piece, defects=False)
    return done.value, done.failed, ""


def _refusal(worker: str, wanted: Versions, found: Versions) -> str:
    difference = wanted.difference(found)
    if not difference:
        return ""
    return f"worker {worker} has {difference}; allowed: workers of the same versions"


@contextmanager
def _client(cluster: Cluster) -> "Iterator[tuple[Client, Callable[[], None]]]":
    """The client, and what starts the workers that are missing."""
    import dask.config  # noqa: PLC0415 - of an extra
    from distributed import Client, LocalCluster  # noqa: PLC0415

    if cluster.scheduler:
        try:
            client = Client(cluster.scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"scheduler {cluster.scheduler}: {one_line(str(error))}; allowed: the address "
                             "of a running one, such as tcp://10.0.0.1:8786") from error
        with client:
            yield client, lambda: None
        return
    settings = {"distributed.scheduler.allowed-failures": DEATHS,
                "distributed.deploy.lost-worker-timeout": f"{RESTART_SECONDS} s"}
    with dask.config.set(settings), LocalCluster(
        n_workers=cluster.workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
        host="127.0.0.1", silence_logs=logging.CRITICAL, memory_limit=cluster.memory or "auto",
    ) as local, Client(local, set_as_default=False) as client:  # fmt: skip
        started: Any = local  # typed as what it is in asynchronous programs too
        # A worker that dies while it starts is not started again by the process that watches it.
        yield client, lambda: started.scale(cluster.workers)


@contextmanager
def _quiet() -> Iterator[None]:
    """What happens to workers is told in our own lines."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
