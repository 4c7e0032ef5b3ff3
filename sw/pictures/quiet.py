"""Warnings of the decoders, kept from the terminal."""

import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LIBTIFF = re.compile(rb"^[\w.]+: .*\n?$", re.DOTALL)
"""A line of libtiff's: the function or file, and what is wrong."""

_DECODERS = r"(PIL|pillow_heif)(\.|$)"

_STDERR = 2


class _Silence:
    """Pillow's warnings switched off while any thread is inside. ``warnings.catch_warnings`` alone puts back
    what it found, which in two threads at once may be the other one's silence. Others' go on: another thread
    may have something to say."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=_DECODERS)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


silence = _Silence()

_redirected = threading.Lock()


@contextmanager
def libtiff_messages() -> Iterator[list[str]]:
    """Yields a list that at the end holds the lines that libtiff, which knows no other way, wrote to the
    standard error of the process. What others wrote there meanwhile is passed on."""
    found: list[str] = []
    with _redirected, tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        kept = os.dup(_STDERR)
        os.dup2(held.fileno(), _STDERR)
        try:
            yield found
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            held.seek(0)
            for line in held:
                if _LIBTIFF.match(line):
                    found.append(line.decode("utf-8", "replace").strip())
                else:
                    os.write(_STDERR, line)
