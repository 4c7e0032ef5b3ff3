"""The log of a training run: JSON lines, one for each step and one for each validation."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from kestrel.hw.spec.errors import InputError


def open_log(path: Path | None, step: int, before: dict[str, float]) -> "nullcontext[None] | IO[str]":
    """Opens the log of a run that continues after ``step``. Lines beyond that step are dropped, because they
    will be written again. A new log starts with the figures ``before`` training, if there are any. Without a
    path, returns a context that holds None. Raises InputError."""
    if path is None:
        return nullcontext(None)
    kept: list[str] = []
    if step and path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"log {path} cannot be written: {error.strerror}") from error
    for line in kept:
        file.write(line + "\n")
    if not kept:
        write_entry(file, {"step": 0, "validation": before})
    return file


def write_entry(log: IO[str] | None, entry: dict[str, Any]) -> None:
    """Writes one line, which reaches the file at once; does nothing without a log."""
    if log is not None:
        log.write(json.dumps(entry) + "\n")
        log.flush()
