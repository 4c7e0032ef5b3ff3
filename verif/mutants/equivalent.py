"""Mutants that were argued to be equivalent: ``equivalent.toml``."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

FILE = "equivalent.toml"
_KEYS = ("file", "kind", "old", "new", "text")


@cache
def _argued() -> dict[tuple[str, ...], str]:
    text = (resources.files("kestrel.verif.mutants") / FILE).read_text(encoding="utf-8")
    entries = tomllib.loads(text).get("equivalent", [])
    return {tuple(entry[key] for key in _KEYS): entry["reason"] for entry in entries}


def argue(result: Mapping[str, Any]) -> str | None:
    """Why the mutant of a result (``kestrel.verif.mutants``) cannot be found; None if nobody has argued. The
    text of its line counts, not its number, which other changes move."""
    source = (resources.files("kestrel.hw") / result["file"]).read_text(encoding="utf-8").splitlines()
    text = source[result["line"] - 1].strip() if result["line"] <= len(source) else ""
    return _argued().get((result["file"], result["kind"], result["old"], result["new"], text))
