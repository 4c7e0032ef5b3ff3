r"""Reads the counts that Verilator's coverage leaves behind a run, and adds up those of many runs.

The format is text, a line a point: ``C '``, then for each field ``\x01``, its key, ``\x02`` and its value,
then ``'`` and how often the point was reached. Verilator's own program for it, ``verilator_coverage``, is not
part of the packaged simulator.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.errors import InputError

HEADER = "# SystemC::Coverage-3"
MEASURES = {"line": "line", "branch": "branch", "expr": "expression", "toggle": "toggle"}
"""What is measured, by Verilator's name for such points."""


@dataclass(frozen=True, order=True)
class Point:
    """What a run reaches or not. file, line, column: where it stands in the Verilog, from 1 on; name: which
    of the points there it is (``if``, ``else``, a term of a condition, ``signal[3]:0->1``); lines: those that
    run where it is reached, (1, 3) for the first three lines of the file, or () for none."""

    file: str
    line: int
    column: int
    kind: str
    name: str
    lines: tuple[int, ...] = ()


Counts = Counter[Point]
"""How often each point was reached; those that were not are there with 0."""


def read_counts(path: Path) -> Counts:
    """The counts in a file. Instances of a module are counted together. Raises InputError for a file that
    cannot be read, is of another format, or is cut off."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"coverage {path}: cannot be read ({error})") from error
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        raise InputError(f"coverage {path}: begins with {(lines or [''])[0][:40]!r}; allowed: {HEADER!r}")
    counts: Counts = Counter()
    for number, line in enumerate(lines[1:], 2):
        try:
            point, count = _point(line)
        except (ValueError, KeyError) as error:
            raise InputError(f"coverage {path}, line {number}: {line[:60]!r} is no point") from error
        counts[point] += count
    if not counts or not text.endswith("\n"):
        raise InputError(f"coverage {path}: no points, or cut off")
    return counts


def merge(into: Counts, other: Counts) -> None:
    """Adds ``other``'s counts. ``Counter.update`` keeps what was never reached, which ``+`` would drop."""
    into.update(other)


def _point(line: str) -> tuple[Point, int]:
    body, _, count = line.rpartition("' ")
    if not body.startswith("C '\x01"):
        raise ValueError(line)
    fields = dict(field.split("\x02", 1) for field in body[4:].split("\x01"))
    if fields["t"] not in MEASURES:
        raise ValueError(fields["t"])
    lines = tuple(sorted({n for part in fields.get("S", "").split(",") if part for n in _range(part)}))
    point = Point(fields["f"], int(fields["l"]), int(fields["n"]), fields["t"],
                  fields["o"].replace("__05F", "_"), lines)  # fmt: skip
    return point, int(count)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)
