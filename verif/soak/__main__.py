"""``python -m kestrel.verif.soak``: very many frames on engines drawn at random, and very many disturbances
of chips drawn at random, in pieces that can be stopped and continued."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build.sources import sources_hash
from kestrel.verif.soak.pieces import Done, Kind, Piece, pieces, run_piece
from kestrel.verif.soak.results import append_result, check_same, read_results, totals

CONFIGS = 10

FAILURES = 100
"""Pieces that may fail before a run is ended: something is wrong with all of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a piece has failed, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.soak", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON lines; a run goes on from what is there")
    parser.add_argument("--values", type=int, default=0, help="values compared in the file at the end")
    parser.add_argument("--disturbed", type=int, default=0, help="disturbances in the file at the end")
    parser.add_argument("--configs", type=int, default=CONFIGS, help="engines, and chips, that are drawn")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--again", metavar="PIECE", help="only run this one, such as frame/3/17, and tell")
    options = parser.parse_args(arguments)
    try:
        if options.configs < 1:
            raise InputError(f"--configs {options.configs}; allowed: 1 or more")
        if options.again is not None:
            done = run_piece(parse_piece(options.again), options.seed, "")
            print(done.line(), end="")
            return int(bool(done.message))
        sources = sources_hash(without=())
        results = read_results(options.results)
        wanted = options.values, options.disturbed
        if any(wanted):
            check_same(options.results, results, options.seed, sources)
        for piece in due(results, *wanted, options.configs):
            done = run_piece(piece, options.seed, sources)
            append_result(options.results, done)
            results.append(done)
            if done.message:
                print(f"FAILED {piece}: {done.headline}", file=sys.stderr, flush=True)
                if sum(bool(done.message) for done in results) >= FAILURES:
                    break
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = totals(results)
    print(json.dumps(found, indent=2))
    return int(bool(found["failures"]))


def due(results: list[Done], values: int, disturbed: int, configs: int) -> Iterator[Piece]:
    """The pieces that are missing until ``results``, to which each is added, have so many values and
    disturbances. Both kinds take turns, a round of all configurations each."""
    have = {done.piece for done in results}
    missing = {kind: (p for p in pieces(kind, configs) if str(p) not in have) for kind in Kind}

    def enough(kind: Kind) -> bool:
        if kind is Kind.FRAME:
            return sum(done.values for done in results if not done.message) >= values
        return sum(done.disturbed for done in results if not done.message) >= disturbed

    while not all(enough(kind) for kind in Kind):
        for kind in Kind:
            for _ in range(configs):
                if not enough(kind):
                    yield next(missing[kind])


def parse_piece(text: str) -> Piece:
    """The piece of a name. Raises InputError."""
    kind, *numbers = text.split("/")
    if kind not in list(Kind) or len(numbers) != 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise InputError(f"piece {text!r}; allowed: frame/CONFIGURATION/NUMBER or chip/CONFIGURATION/NUMBER")
    return Piece(Kind(kind), *map(int, numbers))


if __name__ == "__main__":
    sys.exit(main())
