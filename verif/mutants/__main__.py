"""``python -m kestrel.verif.mutants``: draws mutants of the hardware, tries them, and says which survived."""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from kestrel.verif.mutants.equivalent import argue
from kestrel.verif.mutants.operators import Mutant, mutants
from kestrel.verif.mutants.outcome import summary
from kestrel.verif.mutants.targets import TARGETS
from kestrel.verif.mutants.trial import ROOT, Workshop


def draw(files: list[str], seed: int) -> list[tuple[str, Mutant]]:
    """All mutants of the files in ``hw/`` in an order drawn from ``seed``."""
    drawn = [(file, m) for file in files for m in mutants((ROOT / "hw" / file).read_text(encoding="utf-8"))]
    random.Random(seed).shuffle(drawn)
    return drawn


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, 1 if a mutant survived and nobody has argued, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.mutants", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON lines, a mutant each; none of them is tried again")
    parser.add_argument("--count", type=int, default=0, help="mutants in the file at the end; 0: report")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which they are drawn")
    parser.add_argument("--files", default=",".join(TARGETS), help="modules in hw/, with commas")
    parser.add_argument("--seconds", type=float, default=300, help="after which a bench is said to hang")
    parser.add_argument("--frames", action="store_true", help="try survivors with frames")
    options = parser.parse_args(arguments)
    files = options.files.split(",")
    if unknown := [file for file in files if file not in TARGETS]:
        print(f"module {unknown[0]!r}; allowed: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    options.results.touch()
    done = {
        (entry["file"], entry["line"], entry["kind"], entry["old"], entry["new"])
        for entry in map(json.loads, options.results.read_text(encoding="utf-8").splitlines())
    }
    left = options.count - len(done)
    with tempfile.TemporaryDirectory(prefix="kestrel-mutants-") as folder:
        workshop = Workshop(Path(folder), options.seconds) if left > 0 else None
        for file, m in draw(files, options.seed):
            if workshop is None or left <= 0:
                break
            if (file, m.line, m.kind, m.old, m.new) in done:
                continue
            result = workshop.try_mutant(file, m, frames=options.frames)
            with options.results.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(result)) + "\n")
            print(f"hw/{file}:{m.line} {m.kind}: {m.old!r} -> {m.new!r}: {result.outcome}", flush=True)
            left -= 1
    lines = options.results.read_text(encoding="utf-8").splitlines()
    counts = summary(list(map(json.loads, lines)), argue)
    print(json.dumps(counts, indent=2))
    return 1 if counts["survivors"] else 0


if __name__ == "__main__":
    sys.exit(main())
