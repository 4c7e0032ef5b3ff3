"""``python -m kestrel.verif.record ENTRY RESULTS docs/verification.json``: writes the figures of a run there.

ENTRY is mutants, source_mutants, proofs, frames, soak, bad_files or software_faults; RESULTS is what the tool
of that name has written: kestrel.verif.mutants.netlists, kestrel.verif.mutants, kestrel.verif.proofs --json,
kestrel regress, kestrel.verif.soak, kestrel.verif.fuzz, bench/software_faults.py. The other entries of the
file stay; coverage has a tool of its own.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.verif.coverage.collect import commit, now
from kestrel.verif.coverage.figures import read_object, write_entry
from kestrel.verif.mutants import equivalent
from kestrel.verif.mutants.netlists import argued
from kestrel.verif.mutants.outcome import FOUND, Outcome
from kestrel.verif.soak.results import read_results, totals


def mutants(path: Path) -> dict[str, Any]:
    """Of mutants of netlists. proved: to be equivalent; argued: how many for each reason; equivalent: the
    sum; another_seed: found, but not with the first seed of the bench."""
    lines = _lines(path)
    outcomes = Counter(line["outcome"] for line in lines)
    survived = [line for line in lines if line["outcome"] == Outcome.SURVIVED]
    reasons = [argued.argue(line) for line in survived]
    by_reason = Counter(reason for reason in reasons if reason is not None)
    first = min(line["bench_seed"] for line in lines)
    without = outcomes[Outcome.EQUIVALENT] + by_reason.total()
    found = sum(outcomes[kind] for kind in FOUND)
    return {
        "tried": len(lines), "found": found, "hangs": outcomes[Outcome.HANG],
        "by_proofs": outcomes[Outcome.PROOF],
        "another_seed": sum(line["outcome"] in FOUND and line["bench_seed"] != first for line in lines),
        "equivalent": without, "proved": outcomes[Outcome.EQUIVALENT], "argued": dict(by_reason),
        "share_found": round(found / max(1, len(lines) - without), 4),
        "survivors": [
            {key: line[key] for key in
             ("block", "config", "source", "signal", "module", "line", "port", "bit", "kind")}
            for line, reason in zip(survived, reasons, strict=True)
            if reason is None
        ],
        "blocks": len({line["block"] for line in lines}),
        "netlists": len({(line["block"], line["config"]) for line in lines}),
    }  # fmt: skip


def source_mutants(path: Path) -> dict[str, Any]:
    """Of mutants of the sources. equivalent: the same Verilog, or no difference that can be observed."""
    lines = _lines(path)
    outcomes = Counter(line["outcome"] for line in lines)
    survived = [line for line in lines if line["outcome"] == Outcome.SURVIVED]
    reasons = [equivalent.argue(line) for line in survived]
    return {
        "tried": len(lines), "invalid": outcomes[Outcome.INVALID],
        "found": sum(outcomes[kind] for kind in FOUND),
        "equivalent": outcomes[Outcome.SAME] + sum(reason is not None for reason in reasons),
        "survivors": [
            {key: line[key] for key in ("file", "line", "kind", "old", "new")}
            for line, reason in zip(survived, reasons, strict=True)
            if reason is None
        ],
        "argued": [reason for reason in reasons if reason is not None],
        "files": len({line["file"] for line in lines}),
    }  # fmt: skip


def proofs(path: Path) -> dict[str, Any]:
    """Of proofs. Raises InputError for one that failed."""
    found = read_object(path)
    if found["failed"]:
        raise InputError(f"{path}: {', '.join(found['failed'])} failed; allowed: none")
    proved = found["proved"]
    return {
        "proofs": len(proved), "claims": sum(entry["claims"] for entry in proved),
        "seconds": round(sum(entry["seconds"] for entry in proved), 1),
    }  # fmt: skip


def soak(path: Path) -> dict[str, Any]:
    """Of frames and disturbances on engines and chips drawn at random."""
    found = totals(read_results(path))
    if not found["kinds"]:
        raise InputError(f"{path}: no results; allowed: at least one")
    return found


def frames(path: Path) -> dict[str, Any]:
    """Of the frames of the nightly set. Of a case that ran twice the last result counts."""
    last = {(line["config"], line["kind"], line["seed"]): line for line in _lines(path)}
    results = list(last.values())
    return {
        "frames": len(results), "failures": sum(not line["passed"] for line in results),
        "values_compared": sum(line["values"] for line in results),
        "cycles": sum(line["cycles"] for line in results),
        "configs": sorted({line["config"] for line in results}),
        "seeds": [min(line["seed"] for line in results), max(line["seed"] for line in results)],
    }  # fmt: skip


def bad_files(path: Path) -> dict[str, Any]:
    """Of inputs of readers."""
    lines = _lines(path)
    return {
        "inputs": sum(line["next"] - line["first"] for line in lines),
        "taken": sum(line["taken"] for line in lines), "refused": sum(line["refused"] for line in lines),
        "problems": sum(line["problems"] for line in lines),
        "readers": len({line["target"] for line in lines}),
        "seeds": sorted({line["seed"] for line in lines}),
    }  # fmt: skip


def software_faults(path: Path) -> dict[str, Any]:
    """Of commands under faults."""
    lines = _lines(path)
    return {
        "runs": dict(sum((Counter(line["runs"]) for line in lines), Counter[str]())),
        "complaints": sum(len(line["complaints"]) for line in lines),
        "commands": len({line["command"] for line in lines}),
        "seeds": sorted({line["seed"] for line in lines}),
    }  # fmt: skip


ENTRIES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "mutants": mutants, "source_mutants": source_mutants, "proofs": proofs, "frames": frames, "soak": soak,
    "bad_files": bad_files, "software_faults": software_faults,
}  # fmt: skip


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not found:
        raise InputError(f"{path}: no results; allowed: at least one")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m kestrel.verif.record", description=__doc__)
    parser.add_argument("entry", choices=ENTRIES, help="what was run")
    parser.add_argument("results", type=Path, help="what the run has written")
    parser.add_argument("into", type=Path, help="the file of figures")
    options = parser.parse_args(arguments)
    try:
        check_output(options.into)
        try:
            entry = ENTRIES[options.entry](options.results)
        except (KeyError, TypeError) as error:
            raise InputError(f"{options.results}: no results of {options.entry} ({error!r})") from error
        write_entry(options.into, options.entry, entry | {"commit": commit(), "date": now()})
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
