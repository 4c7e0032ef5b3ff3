"""Mutants of netlists that were argued to be equivalent: ``equivalent.toml``."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

FILE = "equivalent.toml"
_SAME = ("module", "text", "port")


@cache
def _entries() -> tuple[dict[str, Any], ...]:
    text = (resources.files("kestrel.verif.mutants.netlists") / FILE).read_text(encoding="utf-8")
    return tuple(tomllib.loads(text).get("equivalent", []))


def argue(result: Mapping[str, Any], entries: Sequence[Mapping[str, Any]] | None = None) -> str | None:
    """Why the mutant of a result (``kestrel.verif.mutants.netlists``) cannot be found; None if nobody has
    argued. entries: instead of those of the file."""
    for entry in _entries() if entries is None else entries:
        if (
            all(result[key] == entry[key] for key in _SAME)
            and result["signal"].partition("[")[0] == entry["signal"]
            and result["kind"] in entry["kinds"]
            and result["bit"] in entry.get("bits", [result["bit"]])
            and result["control"] in entry.get("controls", [result["control"]])
            and result["config"] in entry.get("configs", [result["config"]])
        ):
            return entry["reason"]
    return None
