"""Names of files and folders that are being written, and what a process that was killed leaves of them.

A temporary name says which process writes: ``.NAME.MACHINE-PID-TOKEN.SUFFIX``. So what a killed process has
left can be told from what another one is writing at this moment, and is removed by the next that writes the
same output.
"""

import ctypes
import os
import re
import secrets
import shutil
import zlib
from functools import cache
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_MARK = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(?=\.|$)")


def beside(path: Path) -> Path:
    """A temporary name in the folder of ``path``, with its suffix, because some writers choose a format by
    that. Removes first what processes that are gone have left of this output."""
    _sweep(path)
    return path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")


def abandoned(name: str) -> bool:
    """Whether this is the temporary name of a process of this machine that is gone."""
    found = _MARK.search(name) if name.startswith(".") else None
    return found is not None and found[1] == _machine() and not _runs(int(found[2]))


def replace_text(path: Path, text: str) -> None:
    """Writes a file that is there with all of its text or not at all. Raises OSError."""
    temporary = beside(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def exchange(first: Path, second: Path) -> bool:
    """Lets two files or folders change places, in one step; returns whether the system can do that here."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    return swap(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def _sweep(path: Path) -> None:
    start = f".{path.stem}.{_machine()}-"
    for entry in os.scandir(path.parent):
        if entry.name.startswith(start) and entry.name.endswith(path.suffix) and abandoned(entry.name):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


@cache
def _machine() -> str:
    """Where process numbers mean the same: this machine, and in it this container."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbers = 0
    return f"{zlib.crc32(f'{os.uname().nodename} {numbers}'.encode()):08x}"
