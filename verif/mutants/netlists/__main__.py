"""``python -m kestrel.verif.mutants.netlists``: draws mutants of the blocks' netlists, tries them, and says
which survived."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.verif.mutants.netlists.argued import argue
from kestrel.verif.mutants.netlists.campaign import Campaign, read_results
from kestrel.verif.mutants.netlists.equivalence import SECONDS
from kestrel.verif.mutants.netlists.units import BLOCKS
from kestrel.verif.mutants.outcome import summary
from kestrel.verif.proofs.solve import solver_available


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a mutant survived and nobody has argued, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.mutants.netlists", description=__doc__)
    add = parser.add_argument
    add("results", type=Path, help="JSON lines, a mutant each; none of them is tried again")
    add("--count", type=int, default=0, help="mutants that are drawn; 0: report")
    add("--seed", type=int, default=1, help="of the mutants, and of the benches' first run")
    add("--tries", type=int, default=3, help="seeds with which a bench may find a mutant")
    add("--blocks", default=",".join(BLOCKS), help="with commas")
    add(
        "--again",
        action="store_true",
        help="first, those in the file that have survived: a bench sees more now",
    )
    add("--solver-seconds", type=float, default=SECONDS, help="for the proof of a mutant; 0: no proofs")
    options = parser.parse_args(arguments)
    blocks = tuple(options.blocks.split(","))
    if unknown := [block for block in blocks if block not in BLOCKS]:
        return _refuse(f"block {unknown[0]!r}; allowed: {', '.join(BLOCKS)}")
    for name, least in (("count", 0), ("tries", 1), ("solver_seconds", 0)):
        if getattr(options, name) < least:
            given = f"--{name.replace('_', '-')} {getattr(options, name):g}"
            return _refuse(f"{given}; allowed: at least {least}")
    if (options.count or options.again) and not solver_available():
        return _refuse("the solver is missing: pip install 'kestrel-engine[proofs]'")
    campaign = Campaign(
        options.results, blocks, options.count, options.seed, options.tries, options.solver_seconds
    )
    try:
        check_output(options.results)
        if options.again:
            campaign.try_again()
        if options.count:
            campaign.run()
        counts = summary(read_results(options.results), argue)
    except InputError as error:
        return _refuse(str(error))
    print(json.dumps(counts, indent=2))
    return 1 if counts["survivors"] else 0


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
