"""What stands when the user has stopped a command, in one line, and how to go on."""

from collections.abc import Callable
from pathlib import Path

from kestrel.cli.rules.effects import Values
from kestrel.sw.common.store import Place, is_url, open_store

Kept = Callable[[Values], str]
"""What is kept, by the command's parameters. It is asked after the command has stopped."""

NOTHING_KEPT = "nothing was written; the same command begins anew"


def nothing_kept(values: Values) -> str:  # noqa: ARG001
    """Of commands whose outputs are made at once."""
    return NOTHING_KEPT


def keeps(place: Callable[[Values], Place | None], what: str) -> Kept:
    """Of commands that keep ``what`` in a file, a folder or an object store, ``place``, until they are
    done."""
    def kept(values: Values) -> str:
        found = place(values)
        if found is None or not _is_there(found):
            return NOTHING_KEPT
        return f"{found} keeps {what}; the same command goes on from there"

    return kept


def _is_there(place: Place) -> bool:
    return bool(open_store(place).names()) if is_url(place) else Path(place).exists()


def parts_of(path: Path, named: str | None = None) -> Place:
    """Where a run keeps its finished parts: in ``named``, or in a folder beside its output."""
    return path.with_name(f"{path.name}.parts") if named is None else named
