"""What made an output folder: its kind, and the network and settings behind it.

The files of a folder belong together. A folder is therefore replaced by the run that made it, done again, and
by another one only where that is asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.temporary import replace_text

ORIGIN = ".kestrel-origin"
"""In each output folder: its Origin, as JSON."""

_SHOWN = 40


@dataclass(frozen=True)
class Origin:
    """kind: what the folder holds, in words; settings: everything that decides what is in it, by name, in
    types that JSON has."""

    kind: str
    settings: Mapping[str, object]

    def write(self, folder: Path) -> None:
        """Into ``folder``, which is there."""
        content = {"kind": self.kind, "settings": self.settings}
        replace_text(folder / ORIGIN, json.dumps(content, indent=1) + "\n")

    def difference(self, folder: Path) -> str | None:
        """What tells the run that made ``folder`` from this one, in words; None if nothing does.

        Raises InputError for an origin that cannot be read.
        """
        found = read_origin(folder)
        if found is None:
            return "an output that does not say what made it"
        if found.kind != self.kind:
            return found.kind
        wanted: dict[str, object] = json.loads(json.dumps(dict(self.settings)))
        for name in sorted(wanted.keys() | found.settings.keys()):
            there, here = found.settings.get(name), wanted.get(name)
            if there != here:
                return f"{found.kind} of another run: {name} is {_shown(there)} there and {_shown(here)} here"
        return None


def read_origin(folder: Path) -> Origin | None:
    """The origin of a folder, None where there is none. Raises InputError for one that cannot be read."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Origin(str(found["kind"]), dict(found["settings"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); allowed: another output folder") from error


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
