"""``kestrel regress``: the nightly set."""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.options.cluster import (
    SHARED,
    DaskWorkersOption,
    SchedulerOption,
    WorkerMemoryOption,
    chosen_cluster,
)
from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent, Given
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.hw.spec.errors import InputError
from kestrel.sw.cluster.lock import lock_output
from kestrel.sw.cluster.runner import Cluster, open_runner
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import (
    COVERAGE,
    COVERAGE_PAGE,
    NOTHING,
    REGRESS_JUNIT,
    REGRESS_RESULTS,
    file_kind,
)
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.sources import sources_hash
from kestrel.verif.coverage.collect import Collector, commit, now
from kestrel.verif.coverage.crosses import cross, samples
from kestrel.verif.coverage.report import HTML, JSON, Run, percent
from kestrel.verif.coverage.summary import Figure
from kestrel.verif.regress.cases import KINDS, all_cases, make_frame
from kestrel.verif.regress.draw import TARGETS, Case
from kestrel.verif.regress.junit import junit_xml
from kestrel.verif.regress.pieces import run_in_pieces
from kestrel.verif.regress.results import Result, Store, Summary, summarise
from kestrel.verif.regress.run import run_cases

EXIT_FAILED = 1
RESULTS, JUNIT = "results.jsonl", "junit.xml"


@declares(
    "seeds filter configs list_",
    writes={
        "output": FolderOutput(((RESULTS, REGRESS_RESULTS), (JUNIT, REGRESS_JUNIT))),
        "coverage": FolderOutput(((JSON, COVERAGE), (HTML, COVERAGE_PAGE))),
    },
    effects={
        "output force": Absent("list_"),
        "jobs": (Absent("list_"), Absent("scheduler"), Absent("dask_workers")),
        "coverage": (Absent("list_"), Absent("scheduler"), Absent("dask_workers")),
        "worker_memory": (Absent("list_"), SHARED["worker_memory"]),
        **{name: (Absent("list_"), SHARED[name]) for name in ("scheduler", "dask_workers")},
        "again": (Absent("list_"), Absent("coverage")),
        "waivers": Given("coverage"),
    },
    kept=keeps(lambda values: values["output"] / RESULTS, "the cases that were finished"),
)
def regress(
    seeds: Annotated[str, typer.Option(metavar="N|A..B", help="Seeds 1..N, or A..B.")] = "20",
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor.")] = None,
    filter: Annotated[
        str, typer.Option(metavar="TEXT", help="Only cases with TEXT in their name, such as edge/vgg16.")
    ] = "",
    configs: Annotated[
        str, typer.Option(metavar="NAME,...", show_default="all", help=f"Of {', '.join(TARGETS)}.")
    ] = ",".join(TARGETS),
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the results, created when missing.")
    ] = Path("build/regress"),
    scheduler: SchedulerOption = None,
    dask_workers: DaskWorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also run what has passed before from the same sources.")
    ] = False,
    coverage: Annotated[
        Path | None,
        typer.Option("--coverage", metavar="FOLDER", help="Also measure coverage; folder of its page."),
    ] = None,
    waivers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of what need not be covered, and why.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the cases and run none.")] = False,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Run the nightly set: frames of all networks on all configurations against reference and cycle model.

    Results are saved as they come, so that after an interruption the same command continues where it stopped.
    Exit code 1 if any case failed, 2 if none is selected. --coverage builds engines that count what the
    frames reach, runs all cases, also those that have passed, and writes coverage.json and coverage.html at
    the end.
    """
    chosen = parse_seeds(seeds)
    cluster = chosen_cluster(scheduler, dask_workers, worker_memory)
    cases = _selected(chosen, filter, configs)
    if list_:
        names = list(dict.fromkeys(case.name for case in cases))
        payload = {"cases": names, "seeds": [chosen[0], chosen[-1]], "count": len(cases)}
        emit(payload, lambda console: console.print("\n".join(names), highlight=False), json)
        return
    jobs = jobs or os.cpu_count() or 1
    results = _folder(output) / RESULTS
    with lock_output(output):
        if results.is_file() and file_kind(results) not in (REGRESS_RESULTS, NOTHING):
            results.unlink()  # otherwise lines would be added to it; --force was given
        collector = Collector(waivers) if coverage is not None else None
        report_folder = None if coverage is None else _folder(coverage)
        store = Store(results)
        sources = sources_hash()
        earlier = {} if again or collector else store.load(sources)
        kept = [earlier[case.key] for case in cases if case.key in earlier and earlier[case.key].passed]
        passed_before = {result.case.key for result in kept}
        due = [case for case in cases if case.key not in passed_before]
        ran: list[Result] = []
        built = 0
        start = time.perf_counter()
        try:
            with _termination_interrupts(), progress("cases", len(due)) as advance:
                for result, new in _results(due, sources, jobs, collector, cluster):
                    store.append(result)
                    ran.append(result)
                    built += 1 if new else 0
                    advance(1)
                    if not result.passed:
                        note(f"FAILED {result.case.key}: {_headline(result)}\n    {result.repeat}")
        finally:
            with atomic_write(output / JUNIT) as temporary:
                temporary.write_text(junit_xml(_in_order(cases, [*ran, *kept])), encoding="utf-8")
    payload = _payload(cases, ran, kept, time.perf_counter() - start)
    payload |= {"seeds": [chosen[0], chosen[-1]], "sources": sources}
    payload |= {"jobs": jobs} if cluster is None else {"engines_built": built}
    payload |= {"results_file": output / RESULTS, "junit": output / JUNIT}
    if collector is not None and report_folder is not None:
        payload["coverage"] = _coverage(collector, ran, chosen, filter, report_folder)
    emit(payload, lambda console: _show(console, payload), json)
    if payload["failed"] or len(ran) + len(kept) != len(cases):
        raise typer.Exit(EXIT_FAILED)
    if collector is not None:
        collector.check_waivers()


def _results(
    cases: Sequence[Case], sources: str, jobs: int, collector: Collector | None, cluster: Cluster | None
) -> Iterator[tuple[Result, bool]]:
    """The results as they come, and of a cluster, whether an engine was built for them; what the frames reach
    goes to the collector."""
    if cluster is not None:
        with open_runner(cluster) as runner:
            yield from ((ran.result, ran.built) for ran in run_in_pieces(cases, sources, runner))
        return
    if collector is None:
        yield from ((result, False) for result in run_cases(cases, sources, jobs))
        return
    with collector:
        build = partial(build_engine, coverage=True)
        for result in run_cases(cases, sources, jobs, build, collector.parts):
            collector.take()
            yield result, False


def _coverage(
    collector: Collector, ran: Sequence[Result], seeds: range, text: str, folder: Path
) -> dict[str, Any]:
    """Writes the report; where it lies, and the shares."""
    run = Run(
        configs=tuple(dict.fromkeys(result.config for result in ran)), seeds=(seeds[0], seeds[-1]),
        filter=text, frames=len(ran), failed=sum(not result.passed for result in ran),
        cycles=sum(result.cycles for result in ran), sources=ran[0].sources, commit=commit(), date=now(),
    )  # fmt: skip
    frames = [make_frame(result.case) for result in ran if not result.crashed]
    visits = [sample for frame in frames for sample in samples(frame.plan, pauses=frame.pauses is not None)]
    crosses = cross(visits, [TARGETS[name] for name in run.configs])
    summary, files = collector.write(run, crosses, folder)
    found = summary.totals | {"functional": Figure(len(crosses.hits), crosses.covered, 0)}
    totals = {name: {**asdict(figure), "share": figure.share} for name, figure in found.items()}
    return {"files": files, "totals": totals}


def parse_seeds(text: str) -> range:
    """The seeds 1..N for ``N``, or A..B for ``A..B``. Raises InputError."""
    match = re.fullmatch(r"(?:([0-9]{1,9})\.\.)?([0-9]{1,9})", text)
    if match is None or int(match[2]) < int(match[1] or 1):
        raise InputError(f"seeds {text!r}; allowed: a number N for 1..N (N at least 1), or A..B with A <= B")
    return range(int(match[1] or 1), int(match[2]) + 1)


def _selected(seeds: range, text: str, configs: str) -> list[Case]:
    names = configs.split(",")
    for name in names:
        if name not in TARGETS:
            raise InputError(f"configs {configs!r}: {name!r} is not known; allowed: {', '.join(TARGETS)}")
    cases = [case for case in all_cases(seeds) if case.config in names and text in case.name]
    if not cases:
        raise InputError(
            f"filter {text!r} selects no case of {configs}; allowed: a part of CONFIGURATION/KIND "
            f"with kinds {', '.join(KINDS)}"
        )
    return cases


def _folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {output}: cannot be created ({error.strerror})") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"output {output}: may not be written")
    return output


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """While active, SIGTERM, by which a time limit ends a run, leaves as many results as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _headline(result: Result) -> str:
    lines = result.message.splitlines() or [""]
    return lines[-1] if result.crashed else lines[0]


def _in_order(cases: Sequence[Case], results: Sequence[Result]) -> list[Result]:
    by_key = {result.case.key: result for result in results}
    return [by_key[case.key] for case in cases if case.key in by_key]


def _payload(
    cases: Sequence[Case], ran: Sequence[Result], kept: Sequence[Result], seconds: float
) -> dict[str, Any]:
    rows = [
        summarise([r for r in ran if r.config == name], [k for k in kept if k.config == name], name)
        for name in dict.fromkeys(case.config for case in cases)
    ]
    total = asdict(summarise(ran, kept, "all"))
    failures = [result for result in _in_order(cases, ran) if not result.passed]
    return {
        "cases": len(cases),
        "ran": len(ran),
        **{name: total[name] for name in ("passed", "failed", "kept")},
        "values_compared": total["values"],
        "cycles": total["cycles"],
        "case_seconds": total["seconds"],
        "seconds": seconds,
        "configs": [asdict(row) for row in rows],
        "failures": [
            {
                "name": result.case.name,
                "seed": result.seed,
                "crashed": result.crashed,
                "message": result.message,
                "repeat": result.repeat,
            }
            for result in failures
        ],
    }


def _show(console: Console, payload: dict[str, Any]) -> None:
    table = Table(title=f"nightly set, seeds {'..'.join(map(str, payload['seeds']))}", title_justify="left")
    table.add_column("config")
    for name in ("cases", "passed", "failed", "kept", "values compared", "cycles", "seconds"):
        table.add_column(name, justify="right")

    def add(row: Summary) -> None:
        counts = (row.cases, row.passed, row.failed, row.kept, row.values, row.cycles)
        table.add_row(row.name, *(f"{count:,}" for count in counts), f"{row.seconds:,.1f}")

    rows = [Summary(**row) for row in payload["configs"]]
    for row in rows:
        add(row)
    table.add_section()
    table.add_row(
        "all",
        *(f"{payload[name]:,}" for name in ("cases", "passed", "failed", "kept")),
        f"{payload['values_compared']:,}",
        f"{payload['cycles']:,}",
        f"{payload['case_seconds']:,.1f}",
    )
    console.print(table)
    for failure in payload["failures"]:
        console.print(f"{failure['name']}@{failure['seed']}", style="bold red")
        console.print(
            f"{failure['message']}\nrepeat: {failure['repeat']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if "coverage" in payload:
        figures = {name: Figure(found["points"], found["covered"], found["waived"])
                   for name, found in payload["coverage"]["totals"].items()}  # fmt: skip
        shares = ", ".join(f"{name} {percent(figure)}" for name, figure in figures.items())
        page = payload["coverage"]["files"][-1]
        console.print(f"coverage: {shares}; {page}", highlight=False, soft_wrap=True)
    where = (f"with {payload['jobs']} processes" if "jobs" in payload else
             f"in pieces, {payload['engines_built']} engines built for them")
    console.print(f"{payload['seconds']:.0f} s {where}; {payload['junit']}")
    good = not payload["failed"]
    console.print(
        "verdict: all passed" if good else f"verdict: {payload['failed']} FAILED",
        style="bold green" if good else "bold red",
    )
