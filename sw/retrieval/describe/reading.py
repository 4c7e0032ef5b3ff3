"""Pictures read, turned into the backend's inputs, in worker processes ahead of the backend.

Nothing heavy is imported here, since every worker imports this module.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.describe.crops import CropSettings, Inputs, cut_crops

WORKERS_MAX = 64
FEW_PICTURES = 16
"""Up to so many, starting processes costs more than they save."""

USUAL_WORKERS = 4
"""At most; half the processors, since reading takes a tenth of the backend's time or less."""

FEW_PROCESSORS = 2
"""Up to so many, the network keeps all of them busy, and a process beside it stops the thread that all others
then wait for: measured on two, 0.94 of the bare network's speed without such a process, 0.76 with one."""


def usual_workers(count: int) -> int:
    """Processes that suit so many pictures."""
    processors = os.cpu_count() or 1
    if count <= FEW_PICTURES or processors <= FEW_PROCESSORS:
        return 0
    return max(1, min(USUAL_WORKERS, processors // 2))


def read_inputs(
    paths: Sequence[Path], settings: CropSettings, workers: int
) -> Generator[Inputs | InputError, None, None]:
    """For each picture, in order, its inputs, or why it cannot be used.

    Raises InputError when a worker process dies, which a picture should not bring about.
    """
    if not 0 <= workers <= WORKERS_MAX:
        raise InputError(f"workers {workers}; allowed: 0..{WORKERS_MAX}")
    if workers == 0:
        yield from (_read(path, settings) for path in paths)
        return
    # Started afresh, not forked: threads of this process (torch's) would be cut off within a copy.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_leave_interrupts) as pool:
        waiting: deque[Future[Inputs | InputError]] = deque()
        rest = iter(paths)
        try:
            while True:
                # A few pictures ahead, so that memory stays bounded however many there are.
                for path in islice(rest, 2 * workers + 2 - len(waiting)):
                    waiting.append(pool.submit(_read, path, settings))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError("a process reading pictures died (out of memory?); "
                             "allowed: fewer --workers, or 0, which reads in the main process") from error
        finally:
            pool.shutdown(cancel_futures=True)  # waits for the workers, for a picture each at most


def _leave_interrupts() -> None:
    """Ctrl-C is for the main process, which ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(path: Path, settings: CropSettings) -> Inputs | InputError:
    try:
        picture = read_picture(path)
        return replace(cut_crops(picture.rgb, settings), remarks=picture.remarks)
    except InputError as error:
        return error
