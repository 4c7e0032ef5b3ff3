"""Tries mutants of the netlist of one block: builds it once, runs its benches, proves what nothing found."""

import json
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from kestrel.verif.blocks.support.run import bench_settings, block_maker
from kestrel.verif.build.rtl import block_sources
from kestrel.verif.build.verilator import Build, build_cocotb, run_cocotb
from kestrel.verif.mutants.netlists import forks
from kestrel.verif.mutants.netlists.design import Base, NetlistMutant, base_of, with_mutants
from kestrel.verif.mutants.netlists.equivalence import SECONDS, proved_equivalent
from kestrel.verif.mutants.netlists.observed import enables_of
from kestrel.verif.mutants.netlists.refutation import refuted_by
from kestrel.verif.mutants.netlists.units import UNITS, Unit
from kestrel.verif.mutants.outcome import Outcome

_End = tuple[Outcome, forks.Ending, int]
"""And the seed of the bench."""

TIMEOUT_S = 300
"""Of wall time, for each mutant of a run: only a machine that stands still takes so long."""

_UNSETTLED = "did not converge"


@dataclass(frozen=True)
class Result(NetlistMutant):
    """A mutant that was tried, and its outcome. block, config: of the unit; text: of its line of the Verilog;
    signal: the next one with a name, and source: its line of Python; test: what found it, a test of the bench
    or a proof, and bench_seed: with which seed, the last one if nothing did; seconds: processor time of that
    run."""

    block: str
    config: str
    text: str
    signal: str
    source: str
    outcome: Outcome
    test: str
    bench_seed: int
    seconds: float


def base_of_unit(unit: Unit) -> Base:
    """The unit's netlist. What has a bench of its own is not mutated in it. Raises SynthesisError."""
    others = frozenset(name for other in UNITS if other.block != unit.block for name in other.modules)
    return base_of(block_sources(block_maker(unit.block), unit.config, places=True), others)


def try_mutants(
    unit: Unit, base: Base, mutants: Sequence[NetlistMutant], seeds: Sequence[int], folder: Path,
    solver_seconds: float = SECONDS,
) -> list[Result]:  # fmt: skip
    """Outcomes in the order of ``mutants``. The benches run with the first of ``seeds``. What they do not
    find and no proof shows to be equivalent, in ``solver_seconds`` for each (0: none), is tried with the
    other seeds.

    Raises BenchFailed if a bench does not pass without a mutant, RuntimeError if a run with one ends
    in another way than by passing, failing or taking too long, and SynthesisError.
    """
    build = build_cocotb(with_mutants(base, mutants, folder / "netlist"), base.top, optimise=0)
    last: dict[int, _End] = {}
    left = list(range(1, len(mutants) + 1))
    try:
        for seed, bench in product(seeds, unit.benches):
            if not left:
                break
            for number, ending in _run(unit, build, base.top, bench, left, seed, folder / "run").items():
                last[number] = _outcome(ending, folder / "run"), ending, seed
            if solver_seconds and (seed, bench) == (seeds[0], unit.benches[-1]):
                for number in _of(last, Outcome.SURVIVED):
                    outcome, proof = judge(unit, base, mutants[number - 1], folder, solver_seconds)
                    last[number] = outcome, replace(last[number][1], failed=proof), seed
            left = _of(last, Outcome.SURVIVED)
    finally:
        shutil.rmtree(build.binary.parent, ignore_errors=True)
    return [_result(unit, base, mutant, *last[number]) for number, mutant in enumerate(mutants, 1)]


def judge(unit: Unit, base: Base, mutant: NetlistMutant, folder: Path, seconds: float) -> tuple[Outcome, str]:
    """What proofs say of a mutant that no bench has found, and the name of the one that it breaks, if any.
    Raises SynthesisError."""
    if proved_equivalent(unit.block, base, mutant, folder, seconds, enables_of(unit.block, unit.config)):
        return Outcome.EQUIVALENT, ""
    if (proof := refuted_by(base, mutant, folder)) is not None:
        return Outcome.PROOF, proof
    return Outcome.SURVIVED, ""


def _of(last: Mapping[int, _End], outcome: Outcome) -> list[int]:
    return [number for number, (found, _, _) in last.items() if found is outcome]


def _run(
    unit: Unit, build: Build, top: str, bench: str, numbers: Sequence[int], seed: int, folder: Path
) -> dict[int, forks.Ending]:
    """How the mutants' runs ended, by number."""
    shutil.rmtree(folder, ignore_errors=True)
    modules = ("kestrel.verif.mutants.netlists.forks", f"kestrel.verif.blocks.{unit.block}.{bench}")
    settings = bench_settings(unit.block, unit.config) | {
        forks.NUMBERS_VARIABLE: ",".join(map(str, numbers)), "COCOTB_MAX_FAILURES": "1",
    }  # fmt: skip
    timeout = TIMEOUT_S * (len(numbers) + 2)
    run_cocotb(build, top, ",".join(modules), folder, settings, seed, timeout=timeout)
    lines = (folder / forks.ENDINGS).read_text(encoding="utf-8").splitlines()
    endings = [forks.Ending(**json.loads(line)) for line in lines]
    return {ending.number: ending for ending in endings if ending.number}


def _outcome(ending: forks.Ending, folder: Path) -> Outcome:
    if ending.results:
        return Outcome.BENCH if ending.failed else Outcome.SURVIVED
    if os.WIFSIGNALED(ending.status) and os.WTERMSIG(ending.status) == signal.SIGXCPU:
        return Outcome.HANG
    log = (folder / f"{ending.number}.log").read_text(encoding="utf-8", errors="replace")
    if _UNSETTLED in log:  # a loop of logic that never comes to rest
        return Outcome.HANG
    raise RuntimeError(f"{folder}: {ending}\n{log[-2000:]}")


def _result(
    unit: Unit, base: Base, mutant: NetlistMutant, outcome: Outcome, ending: forks.Ending, seed: int
) -> Result:
    return Result(
        **asdict(mutant), block=unit.block, config=unit.label, text=base.text(mutant),
        signal=base.signal(mutant), source=base.place(mutant), outcome=outcome, test=ending.failed,
        bench_seed=seed, seconds=ending.seconds,
    )  # fmt: skip
