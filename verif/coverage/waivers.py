"""Waivers: what need not be reached, each with its reason, in a TOML file.

    [[waiver]]
    module = "raster"            # without the prefix of the Verilog
    signal = "strip_*"           # a signal whose bits need not change; * stands for any characters
    reason = "..."

    [[waiver]]
    module = "pool"
    line = "default: ;"          # the text of a line of Verilog, for lines, branches and terms of conditions
    reason = "..."

A line is named by its text and not by its number, which differs between the sizes of an engine. A waiver that
waives nothing is refused, so that none outlives what it was written for.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kestrel.hw.spec.errors import InputError
from kestrel.verif.coverage.summary import Missed


@dataclass(frozen=True)
class Waiver:
    """One of ``signal`` and ``line`` is given, with ``*`` for any characters; the other is ""."""

    module: str
    reason: str
    signal: str = ""
    line: str = ""

    def waives(self, missed: Missed) -> bool:
        if missed.module != self.module:
            return False
        if self.signal:
            return missed.measure == "toggle" and _matches(self.signal, re.split(r"[\[ ,]", missed.what)[0])
        return missed.measure != "toggle" and _matches(self.line, missed.text)

    def __str__(self) -> str:
        what = f"signal {self.signal!r}" if self.signal else f"line {self.line!r}"
        return f"module {self.module!r}, {what}"


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """Raises InputError for a file that cannot be read or has another form."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"waivers {path}: cannot be read ({error})") from error
    entries = found.get("waiver")
    if set(found) - {"waiver"} or not isinstance(entries, list) or not entries:
        raise InputError(f"waivers {path}: {', '.join(found) or 'nothing'}; allowed: tables [[waiver]]")
    return tuple(_waiver(entry, f"waivers {path}, number {n}") for n, entry in enumerate(entries, 1))


def apply_waivers(missed: Sequence[Missed], waivers: Sequence[Waiver]) -> tuple[Missed, ...]:
    """``missed`` with the reasons of what is waived, those of the first waiver that fits."""

    def reason(each: Missed) -> str:
        return next((waiver.reason for waiver in waivers if waiver.waives(each)), "")

    return tuple(replace(each, reason=reason(each)) for each in missed)


def unused_waivers(missed: Sequence[Missed], waivers: Sequence[Waiver]) -> tuple[Waiver, ...]:
    """Those that waive nothing: all is reached by now, or was never there."""
    return tuple(waiver for waiver in waivers if not any(waiver.waives(each) for each in missed))


def _waiver(entry: Any, where: str) -> Waiver:
    names = [field.name for field in fields(Waiver)]
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise InputError(f"{where}: {entry!r}; allowed: a table of texts")
    for name in entry.keys() - set(names):
        raise InputError(f"{where}: {name!r} is not known; allowed: {', '.join(names)}")
    for name in ("module", "reason"):
        if not entry.get(name, "").strip():
            raise InputError(f"{where}: no {name}; allowed: module, reason, and one of signal and line")
    if bool(entry.get("signal")) == bool(entry.get("line")):
        raise InputError(f"{where}: {', '.join(sorted(entry))}; allowed: one of signal and line")
    return Waiver(**entry)


def _matches(pattern: str, text: str) -> bool:
    """fnmatch would take the brackets of Verilog for sets of characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
