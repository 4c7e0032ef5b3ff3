"""``manifest.csv``: which picture of a folder belongs to which class and group."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.errors import InputError

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Entry:
    """A file, relative to the folder, and the names of its class and group, "" if unknown."""

    name: str
    label: str = ""
    group: str = ""


def read_manifest(folder: Path, columns: Sequence[str], *, present: bool = False) -> list[Entry]:
    """The manifest's lines, in their order.

    The manifest must have the column ``file`` and at least one of ``columns`` (label, group); other columns
    are ignored. With ``present``, every file must exist. Raises InputError.
    """
    path = folder / MANIFEST
    allowed = f"allowed: file{',' * (len(columns) > 1)} and {' or '.join(columns)}"
    if not path.is_file():
        raise InputError(f"{path}: no such file; {allowed}")
    entries: dict[str, Entry] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if "file" not in names or not set(names) & set(columns):
                raise InputError(f"{path}: columns {', '.join(names)!r}; {allowed}")
            for line in reader:
                name = line["file"] or ""
                here = f"{path}, line {reader.line_num}: file {name!r}"
                if not name or Path(name).is_absolute() or ".." in Path(name).parts:
                    raise InputError(f"{here} lies outside the folder; allowed: names relative to it")
                if present and not (folder / name).is_file():
                    raise InputError(f"{here} is not there; allowed: images that are")
                if name in entries:
                    raise InputError(f"{here} comes twice; allowed: once")
                entries[name] = Entry(name, line.get("label") or "", line.get("group") or "")
    except (UnicodeDecodeError, csv.Error, OSError) as error:  # OSError: a name that is too long, say
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}); {allowed}") from error
    return list(entries.values())


def write_manifest(folder: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Writes a manifest of files and their groups."""
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "group"), *rows])
