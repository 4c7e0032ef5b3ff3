"""Output files that appear completely or not at all.

Everything is written under a temporary name in the same folder as its destination and renamed at the end, so
that an error or an interruption leaves nothing behind and never half of a file. A location that cannot be
written is refused with ``InputError``, and ``check_output`` does so before a long computation starts.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kestrel.hw.spec.errors import InputError

LISTING = ".kestrel-files"
"""The file, in each folder that ``atomic_directory`` wrote, that names what was written there, one name a
line. A folder is only ever replaced if its own listing names everything in it."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def check_output(path: Path) -> None:
    """Raises InputError when no file can be written at ``path``."""
    _check_parent(path)
    if path.is_dir():
        raise InputError(f"output {path} is a folder; a file name is needed")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"output {path} exists and may not be written")


def check_output_directory(path: Path) -> None:
    """Raises InputError when ``atomic_directory`` would refuse to write ``path``.

    A folder may be written when it does not exist, is empty, or holds nothing but an earlier output.
    """
    _check_parent(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"output {path} is a file; a folder is needed")
    names = {entry.name for entry in path.iterdir()}
    foreign = sorted(names - _listed(path))
    if foreign:
        raise InputError(
            f"output folder {path} holds files that are not an earlier output ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}); name another folder or empty it"
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields the temporary path to write; on success it becomes ``path``, otherwise it is removed.

    The temporary name keeps the suffix of ``path``, because some writers choose a format by it. Raises
    InputError when the location cannot be written or the disk is full.
    """
    path = Path(path)
    check_output(path)
    temporary = _beside(path)
    try:
        with _disk_errors(path, temporary):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success it becomes ``path``, otherwise it is removed.

    An earlier output at ``path`` is replaced as a whole (see ``check_output_directory``). Raises InputError
    when the location cannot be written or the disk is full.
    """
    path = path.resolve()  # "." has no parent to write the temporary folder into
    check_output_directory(path)
    temporary = _beside(path)
    try:
        with _disk_errors(path, temporary):
            temporary.mkdir()
            yield temporary
            names = sorted(entry.name for entry in temporary.iterdir())
            (temporary / LISTING).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            _replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_directory(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    old = _beside(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")


def _listed(path: Path) -> set[str]:
    listing = path / LISTING
    if not listing.is_file():
        return set()
    return {LISTING, *listing.read_text(encoding="utf-8").splitlines()}


def _check_parent(path: Path) -> None:
    parent = path.absolute().parent
    if not parent.exists():
        raise InputError(f"output {path}: the folder {parent} does not exist")
    if not parent.is_dir():
        raise InputError(f"output {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"output {path}: the folder {parent} may not be written")


@contextmanager
def _disk_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Turns operating system errors about the output, and no others, into InputError."""
    try:
        yield
    except OSError as error:
        touched = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else ""
        if error.errno in _DISK_ERRORS or str(touched).startswith(os.fspath(temporary)):
            raise InputError(f"output {path} cannot be written: {error.strerror}") from error
        raise
