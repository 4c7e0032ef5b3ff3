"""Runs the nightly set in parallel processes: many frames, each compared with the reference on every element
of every layer, and its cycles with the closed form. A case that crashes fails but does not end the run."""

import multiprocessing
import shutil
import signal
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.common.threads import one_thread
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.proof import check_plan
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.verilator import COVERAGE_FILE, Build
from kestrel.verif.coverage.collect import SUFFIX
from kestrel.verif.regress.cases import make_frame
from kestrel.verif.regress.draw import TARGETS, Case, Frame
from kestrel.verif.regress.results import Result
from kestrel.verif.simulate.compare import all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import FrameRun, run_frame

AHEAD = 2
"""The number of cases handed out to each process, so that none waits for the next."""

NOT_BUILT = "the engine was not built"
DIED = "the process that ran it died (killed, out of memory, or a crash below Python)"


def run_case(
    case: Case, build: Build, sources: str, counts: Path | None = None,
    make: Callable[[Case], Frame] = make_frame,
) -> Result:  # fmt: skip
    """Draws, simulates and compares one case. Any exception makes the case fail. ``counts`` is a folder for
    what the frame reached, if ``build`` counts that. ``make`` draws it."""
    start = time.perf_counter()

    def result(message: str, *, crashed: bool = False, values: int = 0, cycles: int = 0) -> Result:
        seconds = round(time.perf_counter() - start, 3)
        return Result(
            case.config, case.kind, case.seed, sources, not message, crashed, message, values, cycles, seconds
        )

    frame: Frame | None = None
    try:
        frame = make(case)
        check_plan(frame.plan)
        with tempfile.TemporaryDirectory(prefix="kestrel-") as folder:
            run = run_frame(
                build, frame.network, frame.plan, frame.pixels, Path(folder),
                pauses=frame.pauses, seed=frame.power_up,
            )  # fmt: skip
            if counts is not None:
                _keep_counts(Path(folder) / COVERAGE_FILE, case, counts)
        expected = reference_maps(frame.network, frame.pixels, frame.plan.images)
        compared = compare_run(run, frame.network, expected)
        wrong = [str(layer) for layer in compared if not layer.equal]
        if not wrong and not all_equal(compared):
            wrong.append("nothing was compared")
        wrong += _cycles(run, frame)
        message = "\n".join([*wrong, str(frame)]) if wrong else ""
        return result(message, values=sum(layer.values_compared for layer in compared), cycles=run.cycles)
    except Exception:  # noqa: BLE001 - whatever it is, it is this case's failure
        return result(f"{frame or case.key}\n{traceback.format_exc()}".strip(), crashed=True)


def _keep_counts(file: Path, case: Case, counts: Path) -> None:
    """Under a name that nobody reads until the file is complete."""
    target = counts / f"{case.config}-{case.kind}-{case.seed}"
    shutil.copyfile(file, target)
    target.rename(f"{target}{SUFFIX}")


def _cycles(run: FrameRun, frame: Frame) -> list[str]:
    """The differences from the closed form. Paused streams change only the cycles of input and output."""
    model = frame_cycles(frame.plan)
    wrong = [
        f"{expected.name}: {counted} cycles, not {expected.cycles}"
        for counted, expected in zip(run.record_cycles, model.records, strict=True)
        if counted != expected.cycles and (frame.pauses is None or expected in model.layers)
    ]
    if frame.pauses is None and run.cycles != model.total:
        wrong.append(f"frame: {run.cycles} cycles, not {model.total}")
    if run.start_cycles + sum(run.record_cycles) != run.cycles:
        wrong.append(f"frame: {run.cycles} cycles, but its records add up to another number")
    return wrong


def run_cases(
    cases: Sequence[Case],
    sources: str,
    jobs: int,
    build: Callable[[EngineConfig], Build] = build_engine,
    counts: Path | None = None,
) -> Iterator[Result]:
    """Runs cases, configuration by configuration, and yields each result as soon as it is known.

    An engine is built here, once, when the first of its cases is due. If that fails, so do all of its cases.
    ``counts`` is a folder for what the frames reach, if what ``build`` returns counts that; a frame's file is
    complete there before its result is yielded.
    """
    workers = _Processes(jobs) if jobs > 1 else None
    try:
        for name in dict.fromkeys(case.config for case in cases):
            own = [case for case in cases if case.config == name]
            try:
                engine = build(TARGETS[name])
            except Exception:  # noqa: BLE001 - the other configurations still run
                message = f"{NOT_BUILT}\n{traceback.format_exc()}".strip()
                yield from (failed_case(case, sources, message) for case in own)
                continue
            if workers is not None:
                yield from workers.run(own, engine, sources, counts)
            else:
                yield from _here(own, engine, sources, counts)
    finally:
        if workers is not None:
            workers.close()


def _here(
    cases: Sequence[Case], build: Build, sources: str, counts: Path | None
) -> Iterator[Result]:
    for case in cases:
        with one_thread():
            result = run_case(case, build, sources, counts)
        yield result


def failed_case(case: Case, sources: str, message: str) -> Result:
    """The result of a case of which nothing was compared."""
    return Result(case.config, case.kind, case.seed, sources, False, True, message, 0, 0, 0.0)


class _Processes:
    """A pool of processes that survives the death of some of them."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._executor = _start(jobs)

    def run(
        self, cases: Sequence[Case], build: Build, sources: str, counts: Path | None
    ) -> Iterator[Result]:
        waiting = deque(cases)
        running: dict[Future[Result], Case] = {}
        while waiting or running:
            lost: list[Case] = []
            while waiting and len(running) < AHEAD * self._jobs and not lost:
                case = waiting.popleft()
                try:
                    running[_submit(self._executor, case, build, sources, counts)] = case
                except BrokenProcessPool:
                    lost.append(case)
            done = wait(running, return_when=FIRST_COMPLETED).done if running and not lost else ()
            for future in done:
                case = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(case)
            if lost:
                # All cases that were handed out are lost with the process. Run alone, each shows whether it
                # was the cause.
                lost += running.values()
                running.clear()
                self._executor.shutdown()
                self._executor = _start(self._jobs)
                for case in lost:
                    yield _alone(case, build, sources, counts)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _alone(case: Case, build: Build, sources: str, counts: Path | None) -> Result:
    with _start(1) as executor:
        try:
            return _submit(executor, case, build, sources, counts).result()
        except BrokenProcessPool:
            return failed_case(case, sources, f"{case.key}\n{DIED}")


def _start(jobs: int) -> ProcessPoolExecutor:
    # Spawned, because a fork would inherit the locks of the threads of torch and of the progress bar.
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare_process
    )


def _submit(
    executor: ProcessPoolExecutor, case: Case, build: Build, sources: str, counts: Path | None
) -> Future[Result]:
    # This may start a process, which inherits the signal mask, so Ctrl-C waits until the process is prepared.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(run_case, case, build, sources, counts)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _prepare_process() -> None:
    torch.set_num_threads(1)  # one thread for each process is enough, since the maps are small
    # Ctrl-C reaches all processes. The main one ends the run. These only finish, which is quick because
    # Ctrl-C also ends the simulator they wait for (a handler, unlike SIG_IGN, is not inherited by a program).
    signal.signal(signal.SIGINT, lambda signum, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
