"""``kestrel regress``: the nightly set."""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.output import JsonOption, emit, note, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.effects import Absent
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.cli.rules.stopping import keeps
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import NOTHING, REGRESS_JUNIT, REGRESS_RESULTS, file_kind
from kestrel.verif.regress.cases import KINDS, all_cases
from kestrel.verif.regress.draw import TARGETS, Case
from kestrel.verif.regress.junit import junit_xml
from kestrel.verif.regress.results import Result, Store, Summary, sources_hash, summarise
from kestrel.verif.regress.run import run_cases

EXIT_FAILED = 1
RESULTS, JUNIT = "results.jsonl", "junit.xml"


@declares(
    "seeds filter configs list_",
    writes={"output": FolderOutput(((RESULTS, REGRESS_RESULTS), (JUNIT, REGRESS_JUNIT)))},
    effects={
        "jobs output again force": Absent("list_"),
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
    again: Annotated[
        bool, typer.Option("--again", help="Also run what has passed before from the same sources.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the cases and run none.")] = False,
    force: ForceOption = False,  # noqa: ARG001 - for check_outputs
    json: JsonOption = False,
) -> None:
    """Run the nightly set: frames of all networks on all configurations against reference and cycle model.

    Results are saved as they come, so that after an interruption the same command continues where it stopped.
    Exit code 1 if any case failed, 2 if none is selected.
    """
    chosen = parse_seeds(seeds)
    cases = _selected(chosen, filter, configs)
    if list_:
        names = list(dict.fromkeys(case.name for case in cases))
        payload = {"cases": names, "seeds": [chosen[0], chosen[-1]], "count": len(cases)}
        emit(payload, lambda console: console.print("\n".join(names), highlight=False), json)
        return
    jobs = jobs or os.cpu_count() or 1
    results = _folder(output) / RESULTS
    if results.is_file() and file_kind(results) not in (REGRESS_RESULTS, NOTHING):
        results.unlink()  # otherwise lines would be added to it; --force was given
    store = Store(results)
    sources = sources_hash()
    earlier = {} if again else store.load(sources)
    kept = [earlier[case.key] for case in cases if case.key in earlier and earlier[case.key].passed]
    passed_before = {result.case.key for result in kept}
    due = [case for case in cases if case.key not in passed_before]
    ran: list[Result] = []
    start = time.perf_counter()
    try:
        with _termination_interrupts(), progress("cases", len(due)) as advance:
            for result in run_cases(due, sources, jobs):
                store.append(result)
                ran.append(result)
                advance(1)
                if not result.passed:
                    note(f"FAILED {result.case.key}: {_headline(result)}\n    {result.repeat}")
    finally:
        with atomic_write(output / JUNIT) as temporary:
            temporary.write_text(junit_xml(_in_order(cases, [*ran, *kept])), encoding="utf-8")
    payload = _payload(cases, ran, kept, time.perf_counter() - start)
    payload |= {"seeds": [chosen[0], chosen[-1]], "jobs": jobs, "sources": sources}
    payload |= {"results_file": output / RESULTS, "junit": output / JUNIT}
    emit(payload, lambda console: _show(console, payload), json)
    if payload["failed"] or len(ran) + len(kept) != len(cases):
        raise typer.Exit(EXIT_FAILED)


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
    console.print(f"{payload['seconds']:.0f} s with {payload['jobs']} processes; {payload['junit']}")
    good = not payload["failed"]
    console.print(
        "verdict: all passed" if good else f"verdict: {payload['failed']} FAILED",
        style="bold green" if good else "bold red",
    )
