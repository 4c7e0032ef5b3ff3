"""Results of the nightly set: one line of JSON each, kept between runs, and summarised for the table."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from kestrel.verif.regress.draw import Case


@dataclass(frozen=True)
class Result:
    """The outcome of a case.

    ``sources`` is the hash of everything from which it was generated and simulated. ``passed`` says that
    every element of every layer is equal and the cycles are as modelled. ``crashed`` says that the comparison
    was not made or not completed. ``message`` is empty, or says what was wrong. ``values`` were compared,
    ``cycles`` simulated, and ``seconds`` is the time of this case alone.
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
    """A row of the table. ``kept`` counts the cases that passed in an earlier run from the same sources and
    were not run again."""

    name: str
    cases: int
    passed: int
    failed: int
    kept: int
    values: int
    cycles: int
    seconds: float


class Store:
    """The file of results. Whole lines are appended as cases end; only the last line of a case counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, sources: str) -> dict[str, Result]:
        """The results from ``sources``, by the keys of the cases. Anything that is not a result, such as the
        incomplete line of a killed run, is ignored, and its case runs again."""
        found: dict[str, Result] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                result = _read(line)
                if result is not None and result.sources == sources:
                    found[result.case.key] = result
        return found

    def append(self, result: Result) -> None:
        """Adds a line. On a full disk the file stays as it was; raises OSError."""
        with self.path.open("ab+", buffering=0) as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
            torn = end > 0 and file.read(1) != b"\n"
            left = b"\n" * torn + json.dumps(asdict(result)).encode() + b"\n"
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(end)
                raise


def _read(line: str) -> Result | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or values.keys() != {field.name for field in fields(Result)}:
        return None
    return Result(**values)


def summarise(results: Sequence[Result], kept: Iterable[Result], name: str) -> Summary:
    """A row of the table, from ``results`` of this run and ``kept`` from earlier ones."""
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
