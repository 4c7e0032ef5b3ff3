"""Faults of a cluster, with real processes: what they cost, and that they change no byte.

    python bench/faults.py [--kills 100] [--commands 10] [--seed 1]

Runs describe generated pictures in pieces on two workers of dask.distributed, one of which is killed
(SIGKILL) at a random moment of each, until ``kills`` have been; another is started in its place. Then
``commands`` commands that describe alone are killed at random moments, each of which goes on where the one
before was. Then a worker is stopped (SIGSTOP) for good, which the scheduler gives up after a while, and one
for some seconds; and the disk of the parts is full, a small tmpfs where one may be mounted, otherwise by a
limit on the size of files. All results must equal, to the byte, those of an undisturbed run; the exit code
is 1 if any does not. Writes
``build/bench/faults.json``.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import forkserver, get_context
from pathlib import Path
from random import Random
from typing import Any

import dask.config
import numpy as np
import psutil
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.pieces import Here, Runner
from kestrel.sw.cluster.runner import Cluster, open_runner
from kestrel.sw.common.files import atomic_write
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.pieces import describe_in_pieces
from kestrel.verif.cases.random_network import random_network

OUTPUT = Path("build/bench/faults.json")
NETWORK = "vgg16/32:pool2"
PICTURES, SIDE, PIECE = 24, 64, 2
WORKERS = 2
DISK_PAGES = 6
"""Of the small disk: its root takes none, the folder of parts none, and each part one."""
GIVE_UP_SECONDS = 10
"""After which the scheduler takes a silent worker for dead; by default five minutes."""


@dataclass(frozen=True)
class Setting:
    """What is described: undisturbed, it gives ``expected``."""

    folder: Path
    describer: Describer
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    expected: bytes

    def describe(self, runner: Runner) -> bytes:
        """The vectors, from parts that are new."""
        parts = self.folder / "parts"
        shutil.rmtree(parts, ignore_errors=True)
        return describe_in_pieces(self.describer, self.paths, self.names, runner, parts,
                                  pictures=PIECE).vectors.tobytes()


@dataclass(frozen=True)
class Outcome:
    """Runs with one kind of fault. struck: those in which it came before the end; equal: those whose result
    equals the undisturbed one's; failed: those that ended with an error; seconds: of all."""

    runs: int
    struck: int
    equal: int
    failed: int
    seconds: float


def prepare(folder: Path) -> Setting:
    """Network and pictures in ``folder``."""
    network = random_network(np.random.default_rng(5), parse_network(NETWORK).layers, 3, name=NETWORK)
    save_network(network, folder / "n.safetensors")
    (folder / "photos").mkdir()
    names = tuple(f"{n:02}.png" for n in range(PICTURES))
    for n, name in enumerate(names):
        Image.fromarray(generate_picture(80, 100, n)).save(folder / "photos" / name)
    describer = make_describer(folder / "n.safetensors", DescriptorOptions(size=SIDE))
    paths = tuple(folder / "photos" / name for name in names)
    found = describe_in_pieces(describer, paths, names, Here(), folder / "first", pictures=PIECE)
    return Setting(folder, describer, paths, names, found.vectors.tobytes())


@contextmanager
def cluster(seconds: float | None = None) -> Iterator[Runner]:
    """On two workers; seconds: of silence before one counts as dead."""
    settings: dict[str, Any] = {"distributed.worker.multiprocessing-method": "forkserver"}
    settings |= {} if seconds is None else {"distributed.scheduler.worker-ttl": f"{seconds} s"}
    with dask.config.set(settings), open_runner(Cluster(workers=WORKERS)) as runner:
        yield runner


def processes() -> list[int]:
    """Of the workers that live now, be it that they have only begun to start: the server's children."""
    found: list[int] = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.ppid() != os.getpid():
                found.append(child.pid)
    return found


def disturbed(setting: Setting, runner: Runner, moment: float,
              strike: Callable[[], bool]) -> tuple[bool, bool, str]:
    """A run, during which ``strike`` is called after ``moment`` seconds: whether it struck before the end,
    whether the result is right, and the error."""
    struck, ended = threading.Event(), threading.Event()

    def wait() -> None:
        if not ended.wait(moment) and strike():
            struck.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        right, error = setting.describe(runner) == setting.expected, ""
    except Exception as failure:  # noqa: BLE001 - is counted
        right, error = False, f"{type(failure).__name__}: {failure}"
    ended.set()
    thread.join()
    return struck.is_set(), right, error


def kills(setting: Setting, wanted: int, random: Random) -> tuple[Outcome, list[str]]:
    """A worker is killed in each run, until so many have been; some runs end before."""
    struck = equal = failed = 0
    errors: list[str] = []
    start = time.perf_counter()
    with cluster() as runner:
        for _ in range(2):
            setting.describe(runner)
        begin = time.perf_counter()
        setting.describe(runner)
        shortest = time.perf_counter() - begin

        def strike() -> bool:
            for pid in random.sample(alive := processes(), len(alive)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                return True
            return False

        number = 0
        while struck < wanted:
            begin = time.perf_counter()
            hit, right, error = disturbed(setting, runner, random.uniform(0, shortest), strike)
            shortest = min(shortest, time.perf_counter() - begin)
            struck, equal, failed = struck + hit, equal + right, failed + bool(error)
            if error:
                errors.append(error)
                print(f"  run {number}: {error}", file=sys.stderr, flush=True)
            number += 1
            if number % 10 == 0:
                print(f"  {number} runs, {struck} kills, {equal} equal, {failed} failed, "
                      f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return Outcome(number, struck, equal, failed, time.perf_counter() - start), errors


def stopped_workers(setting: Setting) -> tuple[Outcome, Outcome]:
    """A worker that stops answering for good, and one that pauses."""
    outcomes: list[Outcome] = []
    for pause in (None, 3.0):
        start = time.perf_counter()
        with cluster(GIVE_UP_SECONDS if pause is None else None) as runner:
            setting.describe(runner)
            victims: list[int] = []

            def strike(victims: list[int] = victims, pause: float | None = pause) -> bool:
                victims.append(processes()[0])
                os.kill(victims[0], signal.SIGSTOP)
                if pause is not None:
                    time.sleep(pause)
                    os.kill(victims[0], signal.SIGCONT)
                return True

            hit, right, error = disturbed(setting, runner, 0.1, strike)
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue
            print(f"  {error}" if error else "", end="", file=sys.stderr)
        outcomes.append(Outcome(1, int(hit), int(right), int(bool(error)), time.perf_counter() - start))
    return outcomes[0], outcomes[1]


def commands(setting: Setting, runs: int, random: Random) -> Outcome:
    """``kestrel describe`` is killed and started again, ``runs`` times, then runs to its end."""
    start = time.perf_counter()
    output = setting.folder / "killed.npz"
    command = [sys.executable, "-m", "kestrel.cli.main", "describe", setting.folder / "n.safetensors",
               setting.folder / "photos", "-o", output, "--size", str(SIDE), "--dask-workers", "0"]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    usual = time.perf_counter() - begin
    expected = output.read_bytes()
    output.unlink()
    struck = 0
    for _ in range(runs):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(random.uniform(0.3, 1.0) * usual)
            except subprocess.TimeoutExpired:
                process.kill()
                struck += 1
        if output.exists() and output.read_bytes() != expected:
            return Outcome(runs, struck, 0, 1, time.perf_counter() - start)
    done = subprocess.run(command, check=False, capture_output=True)
    equal = output.read_bytes() == expected and not list(setting.folder.glob("*.parts"))
    return Outcome(runs, struck, runs * equal, done.returncode, time.perf_counter() - start)


def full_disk(setting: Setting) -> dict[str, Any]:
    """A disk that has room for a few parts: the error, and what is left of them; then with room."""
    disk = setting.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_PAGES * 4}k", "tmpfs", disk],
                             check=False, capture_output=True).returncode == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def describe() -> bytes:
        return describe_in_pieces(setting.describer, setting.paths, setting.names, Here(), disk / "parts",
                                  pictures=PIECE).vectors.tobytes()

    try:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        error = ""
        try:
            describe()
        except InputError as refusal:
            error = str(refusal)
        kept = [path.name for path in disk.rglob("*") if path.is_file()]
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True, capture_output=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        equal = describe() == setting.expected
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)
    halves = [name for name in kept if name.startswith(".")]
    return {"by": "tmpfs" if mounted else "limit", "error": error.replace(str(setting.folder), "FOLDER"),
            "parts_kept": len(kept), "half_files": halves, "equal_with_room": equal,
            "right": "cannot be" in error and not halves and equal}


def main(arguments: Sequence[str]) -> int:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--commands", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    random = Random(options.seed)
    # Workers are forked from a process that has imported everything: a hundred start in minutes.
    get_context("forkserver").set_forkserver_preload(["distributed", describe_in_pieces.__module__])
    forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as folder:
        setting = prepare(Path(folder))
        disk = full_disk(setting)
        print(f"full disk: {disk}", flush=True)
        payload: dict[str, Any] = {"seed": options.seed, "pictures": PICTURES, "pieces": PICTURES // PIECE,
                                   "workers": WORKERS, "full_disk": disk}
        killed, payload["errors"] = kills(setting, options.kills, random)
        outcomes = {"workers_killed": killed}
        keep(payload, outcomes, options.output)
        outcomes["commands_killed"] = commands(setting, options.commands, random)
        keep(payload, outcomes, options.output)
        outcomes["worker_stopped"], outcomes["worker_paused"] = stopped_workers(setting)
        keep(payload, outcomes, options.output)
    print(f"written: {options.output}")
    return 0 if disk["right"] and all(o.equal == o.runs for o in outcomes.values()) else 1


def keep(payload: dict[str, Any], outcomes: dict[str, Outcome], output: Path) -> None:
    """Writes what there is so far: a bench that is stopped leaves it."""
    name, latest = list(outcomes.items())[-1]
    print(f"{name}: {latest}", flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    found = payload | {"load": os.getloadavg()} | {name: asdict(found) for name, found in outcomes.items()}
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
