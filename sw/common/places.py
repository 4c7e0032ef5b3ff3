"""Folders in the form in which files store them."""

import os
from pathlib import Path


def remembered(folder: Path, file: Path) -> dict[str, str]:
    """``folder`` in a form for JSON in ``file``. It is stored relative to the file, which stays right if both
    are moved together, and as an absolute path, which stays right if only the file is moved."""
    whole = os.path.abspath(folder)  # noqa: PTH100 - Path.resolve would follow links, which may change
    return {"relative": os.path.relpath(whole, os.path.abspath(file.parent)), "absolute": whole}  # noqa: PTH100


def recalled(about: object, file: Path) -> Path | None:
    """The folder that ``remembered`` wrote into ``file``: the relative one if it exists, otherwise the
    absolute one. None if ``about`` is not what ``remembered`` wrote."""
    keys = ("relative", "absolute")
    if not isinstance(about, dict) or not all(isinstance(about.get(key), str) for key in keys):
        return None
    found = file.absolute().parent / about["relative"]
    return Path(os.path.normpath(found)) if found.is_dir() else Path(about["absolute"])


def common_base(paths: list[Path], names: list[str]) -> Path | None:
    """The folder to which all ``names`` are relative, so that folder / name is the name's entry in ``paths``;
    None unless there is exactly one."""
    found: set[Path] = set()
    for path, name in zip(paths, names, strict=True):
        inner = Path(name)
        if inner.is_absolute():
            continue  # an absolute name fits any folder
        count = len(inner.parts)
        if path.parts[len(path.parts) - count :] != inner.parts:
            return None
        found.add(Path(*path.parts[: len(path.parts) - count]))
    return found.pop().absolute() if len(found) == 1 else None
