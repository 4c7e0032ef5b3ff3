"""Output files that appear completely or not at all.

Everything is written under a temporary name in the same folder as its destination and renamed at the end, so
that an error or an interruption leaves nothing behind and never half of a file. What a process that was
killed leaves of this, the next one that writes the same output removes. A location that cannot be written is
refused with ``InputError``, and ``check_output`` does so before a long computation starts.
"""

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.origin import ORIGIN, Origin
from kestrel.sw.common.temporary import abandoned, beside, exchange, replace_text

LISTING = ".kestrel-files"
"""The file, in each folder that ``atomic_directory`` wrote, that names the paths in it of what was written
there, one a line; the path of a folder stands for all that is in it. A folder is only ever replaced if its
own listing names everything in it."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""What a full or failing disk says."""


def check_output(path: Path) -> None:
    """Raises InputError when no file can be written at ``path``."""
    _check_parent(path)
    if path.is_dir():
        raise InputError(f"output {path} is a folder; a file name is needed")
    if path.exists() and not path.is_file():
        raise InputError(f"output {path} is a device or the like; a file name is needed")
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"output {path} exists and may not be written")


def check_output_directory(path: Path, origin: Origin, *, force: bool = False) -> None:
    """Raises InputError when ``atomic_directory`` would refuse to write ``path``.

    A folder may be written when it does not exist, is empty, or holds nothing but the output of the run
    ``origin``, made earlier; with ``force`` that of any run. Files that are no output are never touched.
    """
    _check_parent(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"output {path} is a file; a folder is needed")
    foreign = sorted(_entries(path) - _listed(path))
    if foreign:
        raise InputError(
            f"output folder {path} holds files that are not an earlier output ({', '.join(foreign[:3])}"
            f"{', ...' if len(foreign) > 3 else ''}); name another folder or empty it"
        )
    if force or not _entries(path) - {LISTING}:  # a run that was killed at once has left its listing alone
        return
    if (difference := origin.difference(path)) is not None:
        raise InputError(f"output folder {path} holds {difference}; allowed: another folder, or --force, "
                         "which replaces what is there")


def claim_directory(path: Path, origin: Origin, names: Sequence[str], *, force: bool = False,
                    kept: Collection[str] = ()) -> None:
    """Makes ``path`` the folder of the run ``origin``, which will write ``names`` into it, one after another
    and over several starts. What another run has left there is removed, but for ``kept``, names in it.
    Raises InputError as ``check_output_directory`` does."""
    check_output_directory(path, origin, force=force)
    with _disk_errors(path, path):
        if path.exists() and origin.difference(path) is not None:
            for entry in path.iterdir():
                if entry.name not in kept:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        path.mkdir(exist_ok=True)
        # The listing first: an interruption between the two leaves a folder of no run, not one of files.
        replace_text(path / LISTING, "".join(f"{name}\n" for name in (*names, ORIGIN)))
        origin.write(path)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields the temporary path to write; on success it becomes ``path``, otherwise it is removed.

    The temporary name keeps the suffix of ``path``, because some writers choose a format by it. Raises
    InputError when the location cannot be written or the disk is full.
    """
    path = Path(path)
    check_output(path)
    temporary = beside(path)
    try:
        with _disk_errors(path, temporary):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write_apart(path: Path) -> Iterator[Path]:
    """As ``atomic_write``, for writers that put files of their own beside theirs: what it yields lies alone
    in a temporary folder, which is removed with all that is in it."""
    path = Path(path)
    check_output(path)
    folder = beside(path)
    try:
        with _disk_errors(path, folder):
            folder.mkdir()
            yield folder / path.name
            (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_directory(
    path: Path, origin: Origin, *, force: bool = False, later: Collection[str] = ()
) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success it becomes ``path``, otherwise it is removed.

    An earlier output at ``path`` is replaced as a whole (see ``check_output_directory``). ``later``: names of
    files that are made of the output in that folder, and are part of it. Raises InputError when the location
    cannot be written or the disk is full.
    """
    check_output_directory(path, origin, force=force)
    path = path.resolve()  # "." has no parent to write the temporary folder into
    temporary = beside(path)
    try:
        with _disk_errors(path, temporary):
            temporary.mkdir()
            yield temporary
            origin.write(temporary)
            names = sorted(_entries(temporary) | set(later))
            (temporary / LISTING).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            _replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_directory(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    if exchange(new, path):
        return  # ``new`` is the earlier output now
    old = path.with_name(f".old-{new.name[1:]}")  # a name that nobody sweeps away
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _entries(folder: Path) -> set[str]:
    """Paths of all files in a folder and its folders, relative to it, without what a killed process left."""
    return {entry.relative_to(folder).as_posix() for entry in folder.rglob("*")
            if (entry.is_symlink() or not entry.is_dir())
            and not any(map(abandoned, entry.relative_to(folder).parts))}


def _listed(folder: Path) -> set[str]:
    """Those of them that the folder's own listing names, by themselves or by a folder."""
    listing = folder / LISTING
    if not listing.is_file():
        return set()
    names = {LISTING, *listing.read_text(encoding="utf-8").splitlines()}
    return {name for name in _entries(folder)
            if name in names or any(parent.as_posix() in names for parent in PurePosixPath(name).parents)}


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
        # NumPy tells of a full disk without saying so: "9 requested and 5 written".
        short = error.errno is None and "requested and" in str(error)
        if short or error.errno in DISK_ERRORS or str(touched).startswith(os.fspath(temporary)):
            reason = "the disk is full" if short else error.strerror
            raise InputError(f"output {path} cannot be written: {reason}") from error
        raise
