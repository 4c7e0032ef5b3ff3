"""Runs readers on bad files: each must take the file or refuse it in one line, in bounded time and memory.

Input number n of a target is the same in every run of a seed, so that a finding is repeated by its number,
and a run can be stopped and continued.
"""

import mmap
import os
import resource
import signal
import struct
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from kestrel.hw.spec.errors import InputError
from kestrel.verif.fuzz.mutate import mutate
from kestrel.verif.fuzz.targets import Target

SECONDS = 5
"""Of processor time that an input may take."""

MEMORY = 1 << 30
"""Bytes that it may take besides what the process has anyway."""

LINE = 2000
"""Characters of a refusal."""

_COUNTERS = struct.Struct("<QQQ")
"""In memory that parent and child share: the number of the next input, those taken, and those refused."""


@dataclass(frozen=True)
class Finding:
    """An input that did not end as it should. problem: what happened; where: of an exception, the last place
    in the package."""

    number: int
    problem: str
    where: str = ""


@dataclass
class Outcome:
    """Of inputs ``first`` to ``next`` (without it) of a target. findings: the first of each problem and
    place."""

    first: int
    next: int
    taken: int = 0
    refused: int = 0
    findings: list[Finding] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        """Counts a finding, and keeps it if it is a new one."""
        key = f"{finding.problem.partition(':')[0]} {finding.where}"
        if not self.problems[key]:
            self.findings.append(finding)
        self.problems[key] += 1


def seeds_of(target: Target) -> list[bytes]:
    """The good files that inputs are made from."""
    with tempfile.TemporaryDirectory() as folder:
        return target.seeds(Path(folder))


def make_input(name: str, target: Target, seeds: list[bytes], seed: int, number: int) -> bytes:
    """Input ``number`` of the target called ``name``."""
    source = Random(f"{seed}/{name}/{number}")
    return mutate(source, source.choice(seeds), seeds, target.mutators)


def try_input(target: Target, path: Path) -> str | None:
    """Reads the file; returns whether it was "taken" or "refused", or what is wrong with the refusal. Raises
    what the reader raises but InputError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(path)
        except InputError as error:
            text = str(error)
            if "\n" in text or len(text) > LINE:
                return f"refusal of {text.count(chr(10)) + 1} lines, {len(text)} characters: {text[:200]!r}"
            if target.named and not any(part in text for part in (str(path), path.name, str(path.parent))):
                return f"refusal without the file's name: {text[:200]!r}"
            return "refused"
    return "taken"


def run(name: str, target: Target, first: int, count: int, seed: int) -> Outcome:
    """Tries ``count`` inputs from number ``first`` on, in a process of its own that is begun again when it
    ends before its time."""
    outcome = Outcome(first, first)
    seeds = seeds_of(target)
    shared = mmap.mmap(-1, _COUNTERS.size)
    with tempfile.TemporaryDirectory(prefix="kestrel-fuzz-", dir=_quick_folder()) as folder:
        target.prepare(Path(folder))
        while outcome.next < first + count:
            shared[:] = _COUNTERS.pack(outcome.next, outcome.taken, outcome.refused)
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                _child(name, target, seeds, Path(folder), first + count, seed, shared, writing)
            os.close(writing)
            with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    number, problem, where = line.rstrip("\n").split("\t")
                    outcome.add(Finding(int(number), problem, where))
            _, status = os.waitpid(pid, 0)
            outcome.next, outcome.taken, outcome.refused = _COUNTERS.unpack(shared[:])
            if status:
                ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                slow = ended == signal.SIGPROF
                problem = f"over {SECONDS} s" if slow else f"the process ended with status {status}"
                outcome.add(Finding(outcome.next, problem))
                outcome.next += 1
    return outcome


def _quick_folder() -> str | None:
    """A folder in memory, if there is one: each input is written to a file."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def _child(
    name: str, target: Target, seeds: list[bytes], folder: Path, end: int, seed: int, shared: mmap.mmap,
    pipe: int,
) -> None:  # fmt: skip
    """Tries inputs and tells of what is wrong, a line each. Does not return."""
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))
    path = folder / target.file
    number, taken, refused = _COUNTERS.unpack(shared[:])
    while number < end:
        path.write_bytes(make_input(name, target, seeds, seed, number))
        problem, where = None, ""
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process, also within a library
        try:
            problem = try_input(target, path)
        except Exception as error:  # noqa: BLE001  # whatever a reader raises is a finding
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            where = _place(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        taken += problem == "taken"
        refused += problem == "refused"
        if problem not in ("taken", "refused"):
            os.write(pipe, f"{number}\t{problem}\t{where}\n".encode("utf-8", "replace"))
        number += 1
        shared[:] = _COUNTERS.pack(number, taken, refused)
    os._exit(0)


def _place(error: BaseException) -> str:
    """The last line of the package that an exception came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/fuzz/" not in f.filename]
    own = [f for f in frames if "/site-packages/" not in f.filename and "/lib/python" not in f.filename]
    last = (own or frames or [None])[-1]
    return f"{Path(last.filename).name}:{last.lineno}" if last else ""


