"""``python -m kestrel.verif.coverage coverage.json docs/verification.json``: records the shares of a report.

The entry ``coverage`` of the second file, or ``coverage_of_benches`` for a report of benches, is replaced by
the first file's shares, with what was run, the commit and the date; its other entries stay.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.verif.coverage.figures import read_object, write_entry
from kestrel.verif.coverage.report import JSON

FRAMES = "frames"


def record(report: Path, into: Path) -> None:
    """Raises InputError for a file that cannot be read or is no such report, and for a run that failed."""
    found = read_object(report)
    if found.get("kestrel") != "coverage":
        raise InputError(f"{report}: no report of coverage; allowed: {JSON} of kestrel regress --coverage")
    run = dict(found["run"])
    if run["failed"] or not run["frames"]:
        raise InputError(f"{report}: {run['failed']} of {run['frames']} frames failed; allowed: none")
    check_output(into)
    entry = {name: figure["share"] for name, figure in found["totals"].items()}
    name = "coverage" if run.pop("what", FRAMES) == FRAMES else "coverage_of_benches"
    write_entry(into, name, entry | {"commit": run.pop("commit"), "date": run.pop("date"), "run": run})


def main(
    report: Annotated[Path, typer.Argument(help="The report.")],
    into: Annotated[Path, typer.Argument(help="The file of figures.")],
) -> None:
    """Record the shares of a report of coverage."""
    try:
        record(report, into)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
