"""``python -m kestrel.verif.proofs [NAME ...]``: carries the proofs out and prints how long each took."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kestrel.verif.physical.synthesis import SynthesisError
from kestrel.verif.proofs.catalogue import PROOFS
from kestrel.verif.proofs.prove import Contradiction, Proved, Refuted, prove
from kestrel.verif.proofs.solve import Undecided, solver_available


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 if all hold, 1 if one does not, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.proofs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="proofs to carry out (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in PROOFS]:
        print(f"proof {unknown[0]!r}; allowed: {', '.join(PROOFS)}", file=sys.stderr)
        return 2
    if not solver_available():
        print("yosys or Bitwuzla is missing: pip install 'kestrel-engine[proofs]'", file=sys.stderr)
        return 2
    table = Table("proof", "method", "claims", "seconds")
    proved: list[Proved] = []
    failed: dict[str, str] = {}
    for name in options.names or PROOFS:
        try:
            proved.append(prove(PROOFS[name]))
        except (Refuted, Contradiction, Undecided, SynthesisError) as error:
            failed[name] = str(error)
            print(error, file=sys.stderr)
        else:
            last = proved[-1]
            table.add_row(name, str(PROOFS[name].method), str(last.claims), f"{last.seconds:.1f}")
    Console().print(table)
    if options.json is not None:
        result = {"proved": [asdict(entry) for entry in proved], "failed": failed}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
