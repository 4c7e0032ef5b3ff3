"""``python -m kestrel.verif.mutants.netlists``: draws mutants of the blocks' netlists, tries them, and says
which survived."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, zip_longest
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.verif.mutants.netlists.argued import argue
from kestrel.verif.mutants.netlists.design import NetlistMutant, list_mutants
from kestrel.verif.mutants.netlists.shares import shares
from kestrel.verif.mutants.netlists.trial import Result, base_of_unit, try_mutants
from kestrel.verif.mutants.netlists.units import BLOCKS, UNITS, Unit
from kestrel.verif.mutants.outcome import summary
from kestrel.verif.proofs.solve import solver_available

_KEY = ("block", "config", "module", "cell", "port", "bit", "kind", "control")


def run(results: Path, blocks: Sequence[str], count: int, seed: int, tries: int) -> None:
    """Tries those of the ``count`` mutants drawn from ``seed`` that are not in ``results``, and appends them
    there. Raises InputError for results of something else, and what ``try_mutants`` does."""
    try:
        lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
        done = {tuple(line[key] for key in _KEY) for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{results}: no results of mutants of netlists ({error!r})") from error
    if count == 0:
        return
    units = {block: [unit for unit in UNITS if unit.block == block] for block in blocks}
    bases = {unit: base_of_unit(unit) for each in units.values() for unit in each}
    cells = {block: [bases[unit].cells for unit in each] for block, each in units.items()}
    parts = shares(count, cells, seed)
    rounds = zip_longest(*(zip(units[block], parts[block], strict=True) for block in parts))
    for unit, part in filter(None, chain.from_iterable(rounds)):  # a stopped run has seen all blocks
        with tempfile.TemporaryDirectory(prefix="kestrel-mutants-") as name:
            folder = Path(name)
            drawn = list_mutants(bases[unit], part, seed, folder) if part else []
            new = [mutant for mutant in drawn if _key(unit, mutant) not in done]
            if new:
                seeds = range(seed, seed + tries)
                _append(results, try_mutants(unit, bases[unit], new, seeds, folder))


def _key(unit: Unit, mutant: NetlistMutant) -> tuple[str | int, ...]:
    known = {"block": unit.block, "config": unit.label} | asdict(mutant)
    return tuple(known[key] for key in _KEY)


def _append(results: Path, found: Sequence[Result]) -> None:
    with results.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(result)) + "\n" for result in found)
    counts = ", ".join(f"{outcome} {sum(r.outcome == outcome for r in found)}" for outcome in
                       dict.fromkeys(result.outcome for result in found))  # fmt: skip
    print(f"{found[0].block} {found[0].config}: {counts}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a mutant survived and nobody has argued, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.mutants.netlists", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON lines, a mutant each; none of them is tried again")
    parser.add_argument("--count", type=int, default=0, help="mutants that are drawn; 0: report")
    parser.add_argument("--seed", type=int, default=1, help="of the mutants, and of the benches' first run")
    parser.add_argument("--tries", type=int, default=3, help="seeds with which a bench may find a mutant")
    parser.add_argument("--blocks", default=",".join(BLOCKS), help="with commas")
    options = parser.parse_args(arguments)
    blocks = options.blocks.split(",")
    if unknown := [block for block in blocks if block not in BLOCKS]:
        return _refuse(f"block {unknown[0]!r}; allowed: {', '.join(BLOCKS)}")
    if options.count < 0 or options.tries < 1:
        return _refuse(f"--count {options.count} --tries {options.tries}; allowed: at least 0, at least 1")
    if options.count and not solver_available():
        return _refuse("the solver is missing: pip install 'kestrel-engine[proofs]'")
    try:
        options.results.touch()
        run(options.results, blocks, options.count, options.seed, options.tries)
    except (OSError, InputError) as error:
        return _refuse(str(error))
    counts = summary(options.results, argue)
    print(json.dumps(counts, indent=2))
    return 1 if counts["survivors"] else 0


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
