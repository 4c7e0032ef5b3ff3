"""Folders as files remember them."""

import os
from pathlib import Path


def remembered(folder: Path, file: Path) -> dict[str, str]:
    """``folder`` for JSON in ``file``: as seen from the file, which survives that both are moved together,
    and as it is, which survives that the file alone is moved."""
    whole = os.path.abspath(folder)  # noqa: PTH100 - Path.resolve would follow links, which may change
    return {"relative": os.path.relpath(whole, os.path.abspath(file.parent)), "absolute": whole}  # noqa: PTH100


def recalled(about: object, file: Path) -> Path | None:
    """The folder that ``remembered`` wrote into ``file``: the first of both ways that leads to one, else the
    absolute one; None for what it did not write."""
    keys = ("relative", "absolute")
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in keys):
        return None
    found = file.absolute().parent / about["relative"]
    return Path(os.path.normpath(found)) if found.is_dir() else Path(about["absolute"])


def common_base(paths: list[Path], names: list[str]) -> Path | None:
    """The folder that all ``names`` are relative to, if ``paths`` are such: folder / name is the path."""
    found: set[Path] = set()
    for path, name in zip(paths, names, strict=True):
        inner = Path(name)
        if inner.is_absolute():
            continue  # relative to any
        count = len(inner.parts)
        if path.parts[len(path.parts) - count :] != inner.parts:
            return None
        found.add(Path(*path.parts[: len(path.parts) - count]))
    return found.pop().absolute() if len(found) == 1 else None
