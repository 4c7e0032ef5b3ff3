"""A module of cocotb tests that stands before those of a bench: it runs the bench once for each mutant.

Its one test comes first. It forks for each mutant in turn; the child selects the mutant and lets the bench
begin, and its parent waits for its end and writes down how it ended. So every mutant has a process of its
own, which begins as a simulation does, and none has to load Python's modules again. The first child has no
mutant; its results are those of the whole run, and if it fails there are no others.
"""

import atexit
import json
import os
import resource
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cocotb

from kestrel.verif.build.verilator import read_report
from kestrel.verif.mutants.netlists.design import SELECT

NUMBERS_VARIABLE = "KESTREL_MUTANTS"
"""The numbers of the mutants, with commas."""

ENDINGS = "endings.jsonl"

FACTOR, LEAST_SECONDS = 5, 4
"""A mutant may take as much processor time as the bench without one, times the first, and at least the
second."""


@dataclass(frozen=True)
class Ending:
    """How the run of a mutant ended. failed: the test that failed; empty if all passed; status: as a waiting
    parent sees it; seconds: processor time; results: whether the run came to its results."""

    number: int
    failed: str
    status: int
    seconds: float
    results: bool


@cocotb.test(stage=-1)
async def each_mutant(dut: Any) -> None:
    numbers = [int(number) for number in os.environ[NUMBERS_VARIABLE].split(",")]
    bound = 0
    for number in (0, *numbers):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            getattr(dut, SELECT).value = number
            _alone(number, bound)
            return
        _, status, usage = os.wait4(child, 0)
        ending = _ending(number, status, usage.ru_utime + usage.ru_stime)
        with Path(ENDINGS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(ending)) + "\n")
        if number == 0:
            if ending.failed or not ending.results:
                break
            bound = max(LEAST_SECONDS, round(FACTOR * ending.seconds))
    sys.stdout.write(Path("0.log").read_text(encoding="utf-8", errors="replace"))
    sys.stdout.flush()
    if Path("0.xml").is_file():
        shutil.copy("0.xml", os.environ["COCOTB_RESULTS_FILE"])
    os._exit(0)


def _alone(number: int, bound: int) -> None:
    """Gives this process output and results of its own, and its bound in seconds, 0 for none."""
    log = os.open(f"{number}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["COCOTB_RESULTS_FILE"] = f"{number}.xml"
    # Verilator's thread, which no child has, would be waited for when the program ends in the usual way.
    atexit.register(os._exit, 0)
    if bound:
        resource.setrlimit(resource.RLIMIT_CPU, (bound, bound))


def _ending(number: int, status: int, seconds: float) -> Ending:
    report = Path(f"{number}.xml")
    _, failed = read_report(report) if report.is_file() else ((), ())
    return Ending(number, failed[0] if failed else "", status, round(seconds, 2), report.is_file())
