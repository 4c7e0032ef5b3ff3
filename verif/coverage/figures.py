"""The file of runs' figures, ``docs/verification.json``: an object with an entry for each kind of run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: allowed: a JSON object")
    return found


def write_entry(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Sets the entry ``name``; the others of the file, which need not be there, stay. Raises InputError."""
    known = read_object(path) if path.exists() else {}
    known[name] = entry
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
