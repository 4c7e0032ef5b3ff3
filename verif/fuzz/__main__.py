"""``python -m kestrel.verif.fuzz``: hands bad files of every kind to what reads them."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kestrel.verif.fuzz.run import MEMORY, SECONDS, Outcome, run
from kestrel.verif.fuzz.targets import TARGETS

BLOCK = 10_000
"""Inputs between two lines of the results, of a target with share 1."""


def totals(path: Path) -> dict[str, dict[str, int]]:
    """What the results in a file of JSON lines add up to, by target."""
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        name = entry["target"]
        sums = found.setdefault(name, {"inputs": 0, "taken": 0, "refused": 0, "problems": 0, "next": 0})
        for key in ("taken", "refused", "problems"):
            sums[key] += entry[key]
        sums["inputs"] += entry["next"] - entry["first"]
        sums["next"] = entry["next"]
    return found


def line_of(name: str, seed: int, outcome: Outcome, seconds: float) -> str:
    """A block as a line of the results."""
    return json.dumps({
        "target": name, "seed": seed, "first": outcome.first, "next": outcome.next, "taken": outcome.taken,
        "refused": outcome.refused, "problems": sum(outcome.problems.values()),
        "findings": [asdict(finding) for finding in outcome.findings], "seconds": round(seconds, 1),
    })  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if there is a finding, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.fuzz", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON lines; a run goes on from what is there")
    parser.add_argument("--count", type=int, default=0, help="inputs in the file at the end; 0: report")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KESTREL_SEED", "1")))
    parser.add_argument("--targets", default=",".join(TARGETS), help="what reads the inputs, with commas")
    options = parser.parse_args(arguments)
    names = options.targets.split(",")
    if unknown := [name for name in names if name not in TARGETS]:
        print(f"target {unknown[0]!r}; allowed: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    options.results.touch()
    done = totals(options.results)
    whole = sum(TARGETS[name].share for name in names)
    wanted = {name: round(options.count * TARGETS[name].share / whole) for name in names}
    left = True
    while left:
        left = False
        for name in names:
            first = done.get(name, {}).get("next", 0)
            block = min(round(BLOCK * TARGETS[name].share), wanted[name] - first)
            if block <= 0:
                continue
            left = True
            begun = time.monotonic()
            outcome = run(name, TARGETS[name], first, block, options.seed)
            line = line_of(name, options.seed, outcome, time.monotonic() - begun)
            with options.results.open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")
            for finding in outcome.findings:
                print(f"{name} {finding.number}: {finding.problem} {finding.where}", flush=True)
            done = totals(options.results)
    inputs = sum(entry["inputs"] for entry in done.values())
    problems = sum(entry["problems"] for entry in done.values())
    print(json.dumps({
        "inputs": inputs, "problems": problems, "seconds_allowed": SECONDS, "bytes_allowed": MEMORY,
        "targets": done,
    }, indent=2))  # fmt: skip
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
