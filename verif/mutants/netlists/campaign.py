"""A campaign: which mutants are drawn, and the file that its results go to, block by block."""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.verif.mutants.netlists.design import Base, NetlistMutant, list_mutants
from kestrel.verif.mutants.netlists.shares import shares
from kestrel.verif.mutants.netlists.trial import Result, base_of_unit, judge, try_mutants
from kestrel.verif.mutants.netlists.units import UNITS, Unit
from kestrel.verif.mutants.outcome import Outcome

_MUTANT = tuple(field.name for field in fields(NetlistMutant))
_KEY = ("block", "config", "module", "cell", "port", "bit", "kind", "control")


@dataclass(frozen=True)
class Campaign:
    """Of ``count`` mutants of ``blocks``, drawn from ``seed``, those that are not in ``results`` are tried
    and appended there. tries: seeds of a bench; solver_seconds: for the proof of one that no bench finds."""

    results: Path
    blocks: tuple[str, ...]
    count: int
    seed: int
    tries: int
    solver_seconds: float

    def run(self) -> None:
        """Raises InputError for results of something else, and what ``try_mutants`` does."""
        done = {tuple(line[key] for key in _KEY) for line in read_results(self.results)}
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
                    self._try(unit, bases[unit], new, folder, self.solver_seconds)

    def try_again(self) -> None:
        """Looks again at the survivors in ``results``: by proofs, then by benches. Raises as ``run``."""
        lines = [
            line for line in read_results(self.results)
            if line["outcome"] == Outcome.SURVIVED and line["block"] in self.blocks
        ]  # fmt: skip
        for unit in UNITS:
            of_unit = [line for line in lines if line["block"] == unit.block and line["config"] == unit.label]
            if of_unit:
                with tempfile.TemporaryDirectory(prefix="kestrel-mutants-") as name:
                    self._try_survivors(unit, of_unit, Path(name))

    def _try_survivors(self, unit: Unit, lines: Sequence[dict[str, Any]], folder: Path) -> None:
        base = base_of_unit(unit)
        left: list[NetlistMutant] = []
        for line in lines:
            mutant = NetlistMutant(**{key: line[key] for key in _MUTANT})
            if not base.has(mutant):
                complaint = f"{unit.block} has no cell {mutant.cell}; allowed: results of these sources"
                raise InputError(f"{self.results}: {complaint}")
            outcome, proof = Outcome.SURVIVED, ""
            if self.solver_seconds:
                outcome, proof = judge(unit, base, mutant, folder, self.solver_seconds)
            if outcome is Outcome.SURVIVED:
                left.append(mutant)
            else:
                self._add([Result(**line | {"outcome": outcome, "test": proof})])
        if left:
            self._try(unit, base, left, folder, 0)

    def _try(
        self, unit: Unit, base: Base, mutants: Sequence[NetlistMutant], folder: Path, solver_seconds: float
    ) -> None:
        seeds = range(self.seed, self.seed + self.tries)
        self._add(try_mutants(unit, base, mutants, seeds, folder, solver_seconds))

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
