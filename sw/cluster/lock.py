"""One run at a time on an output."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kestrel.hw.spec.errors import InputError


def lock_path(output: Path) -> Path:
    """The lock file beside an output."""
    output = output.absolute() if output.name else output.resolve()
    return output.with_name(f".{output.name}.lock")


@contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """While active, another run that locks the same output is refused.

    The operating system keeps the lock for as long as this process lives, so that one that was killed leaves
    a file but no lock. Raises InputError, which names the process that has it.
    """
    path = lock_path(output)
    descriptor = _take(path, output)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is released: whoever opened it meanwhile notices
        os.close(descriptor)


def _take(path: Path, output: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError as error:
            raise InputError(f"output {output}: the folder {path.parent} does not exist") from error
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise InputError(f"output {output} is being written by another run ({owner}); "
                             "allowed: another output, or to wait until that has ended") from error
        except OSError as error:
            os.close(descriptor)
            raise InputError(f"{path} cannot be locked: {error.strerror}") from error
        if _is_there(descriptor, path):
            os.truncate(descriptor, 0)
            os.write(descriptor, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode())
            return descriptor
        os.close(descriptor)  # removed by the run that had it, between the two calls


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {found['process']} on {found['host']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        return "which has only begun"
