"""Results of the soak: a line of JSON for each piece, and what they add up to."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.verif.soak.pieces import Done, Kind


def read_results(path: Path) -> list[Done]:
    """The pieces in a file; none if it is not there. A last line that a killed run has left unfinished does
    not count. Raises InputError for what is not a result."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n") and not _is_json(lines[-1]):
        del lines[-1]
    return [_read(path, number, line) for number, line in enumerate(lines, 1)]


def append_result(path: Path, done: Done) -> None:
    """Adds a piece. A last line that a killed run has left unfinished gives way."""
    with path.open("ab+") as file:
        file.seek(0)
        last = (file.readlines() or [b"\n"])[-1]
        if not last.endswith(b"\n") and not _is_json(last):
            file.truncate(file.tell() - len(last))
            last = b"\n"
        file.write(b"" if last.endswith(b"\n") else b"\n")
        file.write(done.line().encode())


def check_same(path: Path, results: Sequence[Done], seed: int, sources: str) -> None:
    """Raises InputError if there are results of another seed or of other sources, which are another run."""
    for done in results:
        if done.seed != seed:
            raise InputError(f"{path}: results of seed {done.seed}; allowed: that seed, or a new file")
        if done.sources != sources:
            raise InputError(f"{path}: results of other sources ({done.sources}); allowed: a new file")


def totals(results: Sequence[Done]) -> dict[str, Any]:
    """What the results add up to: values, disturbances, pieces of each kind, and the failures by name."""
    failed = [done for done in results if done.message]
    kinds: dict[str, dict[str, int]] = {}
    for done in results:
        kind = done.piece.partition("/")[0]
        sums = kinds.setdefault(f"{kind} {done.what}".strip(), {"ran": 0, "failed": 0})
        sums["ran"] += 1
        sums["failed"] += bool(done.message)
    good = [done for done in results if not done.message]
    frames = [done for done in good if done.piece.startswith(Kind.FRAME)]
    return {
        "values_compared": sum(done.values for done in good),
        "frames": len(frames),
        "cycles": sum(done.cycles for done in good),
        "disturbed_frames": sum(done.disturbed for done in good),
        "disturbances": dict(sorted(sum((Counter(done.counts) for done in good), Counter[str]()).items())),
        "configurations": {
            str(kind): len({done.piece.split("/")[1] for done in results if done.piece.startswith(kind)})
            for kind in Kind
        },
        "kinds": dict(sorted(kinds.items())),
        "failures": [done.piece for done in failed],
        "seeds": sorted({done.seed for done in results}),
        "hours": round(sum(done.seconds for done in results) / 3600, 2),
    }


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read(path: Path, number: int, line: bytes) -> Done:
    values = json.loads(line) if _is_json(line) else None
    if not isinstance(values, dict) or values.keys() != {f.name for f in fields(Done)}:
        raise InputError(f"{path}: line {number} is no result of the soak; allowed: a file that it wrote")
    return Done(**values)
