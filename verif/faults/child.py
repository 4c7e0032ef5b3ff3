"""A command in a process of its own that may be killed, run out of room, or lose an input on its way.

The process is a fork of this one, in which everything is imported already, so that a run takes no longer
than what it does.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Command = Callable[[list[str]], int]
"""Runs the arguments and returns the exit code."""

_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
"""Besides opening for writing: what changes files or folders, by the names of Python's audit events."""


@dataclass(frozen=True)
class Ending:
    """How a process ended. code: its exit code, None if a signal ended it; signal: that signal, or 0;
    message: what it wrote to standard error; changes: how often it was about to change a file, opening one
    for writing included; reads: how often it opened one for reading; both in the folder where it ran, and 0
    after a signal."""

    code: int | None
    signal: int
    message: str
    seconds: float
    changes: int
    reads: int


@dataclass(frozen=True)
class Disturbance:
    """What happens to a process. after: it is killed after so many seconds; at_change: just before it changes
    a file for this time, counted from 1; at_read: ``damage`` gets the path that it is about to read for this
    time; file_size: no file may grow beyond so many bytes, as on a full disk."""

    after: float | None = None
    at_change: int | None = None
    at_read: int | None = None
    damage: Callable[[Path], None] | None = None
    file_size: int | None = None


def start(command: Command, arguments: list[str], folder: Path, notes: Path, what: Disturbance) -> "Running":
    """Begins a command in ``folder``. ``notes`` is a folder elsewhere, for what it counts."""
    sys.stdout.flush()
    sys.stderr.flush()
    notes.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    reading, writing = os.pipe()  # a file would be held to ``file_size`` as well
    pid = os.fork()
    if pid:
        os.close(writing)
        return Running(pid, reading, notes, what, begun)
    code = 70
    try:
        os.setsid()  # what it starts itself is killed with it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(writing, 2)
        # Those of the parent may lead elsewhere, into a file that pytest keeps, which would be held as well.
        sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
        os.chdir(folder)
        watch = _Watch(folder.resolve(), what)
        sys.addaudithook(watch.event)
        if what.file_size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (what.file_size, resource.RLIM_INFINITY))
        code = command(arguments)
        watch.quiet = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (notes / "counts").write_text(f"{watch.changes} {watch.reads}", encoding="utf-8")
    except BaseException as error:  # noqa: BLE001  # nothing of the parent's may run here
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Running:
    """A process that was started."""

    def __init__(self, pid: int, messages: int, notes: Path, what: Disturbance, begun: float) -> None:
        self.pid, self.messages, self.notes, self.what, self.begun = pid, messages, notes, what, begun
        os.set_blocking(messages, False)

    def wait(self, limit: float) -> Ending:
        """Its end, which comes by SIGKILL after ``limit`` seconds at the latest; then it counts as a hang
        (``Ending.seconds`` is ``limit`` or more)."""
        deadline = self.begun + (limit if self.what.after is None else min(self.what.after, limit))
        said = b""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            said += self._said()
            if pid:
                break
            if time.monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
                _, status = os.waitpid(self.pid, 0)
                break
            time.sleep(0.002)
        seconds = time.monotonic() - self.begun
        _end(self.pid)
        os.close(self.messages)
        message = said.decode("utf-8", "replace")
        counts = self.notes / "counts"
        changes, reads = map(int, counts.read_text().split()) if counts.is_file() else (0, 0)
        counts.unlink(missing_ok=True)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = None if killed else os.WEXITSTATUS(status)
        return Ending(code, killed, message, seconds, changes, reads)

    def _said(self) -> bytes:
        """What it has written to standard error since the last call."""
        found = b""
        with suppress(BlockingIOError):
            while part := os.read(self.messages, 1 << 16):
                found += part
        return found


def _end(group: int) -> None:
    """Ends what the process has started itself, a simulator or a worker."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Watch:
    """Counts what a process does to the files of a folder, and disturbs it at the right moment."""

    def __init__(self, folder: Path, what: Disturbance) -> None:
        self.prefix, self.what = str(folder), what
        self.changes = self.reads = 0
        self.quiet = False

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        """An audit event."""
        if self.quiet or (name != "open" and name not in _WRITES):
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        found = os.path.realpath(os.fsdecode(path))
        if not found.startswith(self.prefix):
            return
        own = "/." in found[len(self.prefix) :]  # a temporary file of the command is no input
        if name == "open" and not _opens_for_writing(*arguments[1:3]):
            self.reads += not own
            if not own and self.reads == self.what.at_read and self.what.damage and os.path.isfile(found):  # noqa: PTH113
                self.quiet = True
                self.what.damage(Path(found))
                self.quiet = False
        else:
            self.changes += 1
            if self.changes == self.what.at_change:
                os.kill(os.getpid(), signal.SIGKILL)


def _opens_for_writing(mode: object, flags: object) -> bool:
    if isinstance(flags, int):
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")
