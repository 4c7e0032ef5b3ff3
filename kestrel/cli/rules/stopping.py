"""What stands when the user has stopped a command, in one line, and how to go on."""

from collections.abc import Callable
from pathlib import Path

from kestrel.cli.rules.effects import Values

Kept = Callable[[Values], str]
"""What is kept, by the command's parameters. It is asked after the command has stopped."""

NOTHING_KEPT = "nothing was written; the same command begins anew"


def nothing_kept(values: Values) -> str:  # noqa: ARG001
    """Of commands whose outputs are made at once."""
    return NOTHING_KEPT


def keeps(place: Callable[[Values], Path | None], what: str) -> Kept:
    """Of commands that keep ``what`` in a file or folder, ``place``, until they are done."""
    def kept(values: Values) -> str:
        path = place(values)
        if path is None or not path.exists():
            return NOTHING_KEPT
        return f"{path} keeps {what}; the same command goes on from there"

    return kept


def parts_of(path: Path) -> Path:
    """The folder beside an output in which a run keeps its finished parts."""
    return path.with_name(f"{path.name}.parts")
