"""A generated Verilog file: which module it is, which variant, and the lines of Python behind its own."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kestrel.hw.common.place import PREFIX
from kestrel.hw.spec.errors import InputError

_SOURCE = re.compile(r"^// Generated from (\S+);", re.MULTILINE)
_PLACE = re.compile(r"// (\S+\.py:\d+)\s*$")
_DECLARED = re.compile(r"^\s*(?:input|output|wire|reg|function)\b[^=;(]*?(\w+)\s*(?:[=;,(/]|$)")
_ASSIGNED = re.compile(r"^\s*(?:assign\s+)?(\w+)(?:\[[^]]*\])?\s*<?=(?!=)")


@dataclass(frozen=True)
class VerilogModule:
    """name: of the module, without the prefix; source: its file of Python, or "" for a wrapper that is
    written by hand; lines: its text; first: the number of the line on which the module begins, from 1 on."""

    name: str
    source: str
    lines: tuple[str, ...]
    first: int

    @cached_property
    def variant(self) -> str:
        """The same for files that differ only in the comment before the module."""
        return hashlib.sha256("\n".join(self.lines[self.first - 1 :]).encode()).hexdigest()[:12]

    def text(self, line: int) -> str:
        """A line without its comment and its indentation."""
        return self.lines[line - 1].partition("//")[0].strip() if 0 < line <= len(self.lines) else ""

    def place_of_signal(self, name: str) -> str:
        """The line of Python that declares a signal (``hw/memory/raster.py:84``), or its file."""
        return self._places.get(name, self.source)

    def place(self, line: int) -> str:
        """The line of Python behind a line: the one that it names, or else the one that declares what is
        assigned first from there on; the file where neither is known."""
        if not 0 < line <= len(self.lines):
            return self.source
        if (match := _PLACE.search(self.lines[line - 1])) is not None:
            return match[1]
        for text in self.lines[line - 1 : line + _AHEAD]:
            if (match := _ASSIGNED.match(text) or _DECLARED.match(text)) is not None:
                return self.place_of_signal(match[1])
        return self.source

    @cached_property
    def _places(self) -> dict[str, str]:
        places: dict[str, str] = {}
        for text in self.lines:
            declared, place = _DECLARED.match(text), _PLACE.search(text)
            if declared is not None and place is not None:
                places.setdefault(declared[1], place[1])
        return places


_AHEAD = 12
"""Lines after a condition in which an assignment is looked for."""


def read_module(path: Path) -> VerilogModule:
    """Raises InputError for a file that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Verilog {path}: cannot be read ({error})") from error
    lines = tuple(text.splitlines())
    source = _SOURCE.search(text)
    first = next((n for n, line in enumerate(lines, 1) if line.startswith("module ")), 1)
    return VerilogModule(path.stem.removeprefix(PREFIX), source[1] if source else "", lines, first)
