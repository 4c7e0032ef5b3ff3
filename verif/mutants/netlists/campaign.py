"""A campaign: which mutants are drawn, and the file that its results go to, block by block."""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.verif.mutants.netlists.design import NetlistMutant, list_mutants
from kestrel.verif.mutants.netlists.shares import shares
from kestrel.verif.mutants.netlists.trial import Result, base_of_unit, try_mutants
from kestrel.verif.mutants.netlists.units import UNITS, Unit
from kestrel.verif.mutants.outcome import Outcome

_KEY = ("block", "config", "module", "cell", "port", "bit", "kind", "control")


@dataclass(frozen=True)
class Campaign:
    """Of ``count`` mutants of ``blocks``, drawn from ``seed``, those that are not in ``results`` are tried
    and appended there. again: survivors are tried once more, too; tries: seeds of a bench; solver_seconds:
    for the proof of one that no bench finds."""

    results: Path
    blocks: tuple[str, ...]
    count: int
    seed: int
    tries: int
    again: bool
    solver_seconds: float

    def run(self) -> None:
        """Raises InputError for results of something else, and what ``try_mutants`` does."""
        known = read_results(self.results)
        done = {
            tuple(line[key] for key in _KEY) for line in known
            if not (self.again and line["outcome"] == Outcome.SURVIVED)
        }  # fmt: skip
        if self.count == 0:
            return
        units = {block: [unit for unit in UNITS if unit.block == block] for block in self.blocks}
        bases = {unit: base_of_unit(unit) for each in units.values() for unit in each}
        cells = {block: [bases[unit].cells for unit in each] for block, each in units.items()}
        parts = shares(self.count, cells, self.seed)
        rounds = zip_longest(*(zip(units[block], parts[block], strict=True) for block in parts))
        for unit, part in filter(None, chain.from_iterable(rounds)):  # a stopped run has seen all blocks
            with tempfile.TemporaryDirectory(prefix="kestrel-mutants-") as name:
                folder = Path(name)
                drawn = list_mutants(bases[unit], part, self.seed, folder) if part else []
                new = [mutant for mutant in drawn if _key(unit, mutant) not in done]
                if new:
                    seeds = range(self.seed, self.seed + self.tries)
                    self._add(try_mutants(unit, bases[unit], new, seeds, folder, self.solver_seconds))

    def _add(self, found: Sequence[Result]) -> None:
        """Appends outcomes, in place of those of the same mutants."""
        lines = {tuple(line[key] for key in _KEY): line for line in read_results(self.results)}
        for line in map(asdict, found):
            key = tuple(line[key] for key in _KEY)
            lines.pop(key, None)
            lines[key] = line
        with atomic_write(self.results) as part:
            part.write_text("".join(f"{json.dumps(line)}\n" for line in lines.values()), encoding="utf-8")
        counts = Counter(str(result.outcome) for result in found)
        text = ", ".join(f"{outcome} {count}" for outcome, count in counts.items())
        print(f"{found[0].block} {found[0].config}: {text}", file=sys.stderr, flush=True)


def read_results(results: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none of one that is not there. Raises InputError."""
    try:
        text = results.read_text(encoding="utf-8") if results.exists() else ""
        found = [json.loads(line) for line in text.splitlines()]
        if not all({*_KEY, "outcome"} <= line.keys() for line in found):
            raise ValueError("other keys")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{results}: no results of mutants of netlists ({error})") from error
    return found


def _key(unit: Unit, mutant: NetlistMutant) -> tuple[str | int, ...]:
    known = {"block": unit.block, "config": unit.label} | asdict(mutant)
    return tuple(known[key] for key in _KEY)
