"""``python -m kestrel.verif.coverage coverage.json docs/verification.json``: records the shares of a report.

The entry ``coverage`` of the second file, or ``coverage_of_benches`` for a report of benches, is replaced by
the first file's shares, with what was run, the commit and the date; its other entries stay.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write, check_output
from kestrel.verif.coverage.report import JSON

FRAMES = "frames"


def record(report: Path, into: Path) -> None:
    """Raises InputError for a file that cannot be read or is no such report, and for a run that failed."""
    found = _object(report)
    if found.get("kestrel") != "coverage":
        raise InputError(f"{report}: no report of coverage; allowed: {JSON} of kestrel regress --coverage")
    run = dict(found["run"])
    if run["failed"] or not run["frames"]:
        raise InputError(f"{report}: {run['failed']} of {run['frames']} frames failed; allowed: none")
    check_output(into)
    known = _object(into) if into.exists() else {}
    entry = {name: figure["share"] for name, figure in found["totals"].items()}
    name = "coverage" if run.pop("what", FRAMES) == FRAMES else "coverage_of_benches"
    known[name] = entry | {"commit": run.pop("commit"), "date": run.pop("date"), "run": run}
    with atomic_write(into) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: allowed: a JSON object")
    return found


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
