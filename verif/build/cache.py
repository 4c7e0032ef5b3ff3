"""The build cache: folders named after a hash of everything that went into them.

An entry is built in a temporary folder and renamed when complete, under a lock of its own. Any number of
processes may therefore ask for the same entry at once: one builds it, and the others wait and use it.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kestrel.hw.spec.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A complete folder of the cache. ``hit`` says that it existed before this call."""

    path: Path
    hit: bool


def cache_root() -> Path:
    """The cache's folder, which is created if it is missing.

    This is ``KESTREL_CACHE`` if it is set, ``build/verilator`` in a source checkout, and otherwise (for an
    installed package) the user's cache folder. Raises InputError if it cannot be created.
    """
    project = Path(__file__).resolve().parents[2]
    named = os.environ.get("KESTREL_CACHE")
    if named:
        root = Path(named).absolute()
    elif (project / "pyproject.toml").is_file() and os.access(project, os.W_OK):
        root = project / "build" / "verilator"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kestrel"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"build cache {root} cannot be created ({error.strerror}); name another with KESTREL_CACHE"
        ) from error
    return root


def key_of(parts: Iterable[str]) -> str:
    """The hash of the parts in order; the boundaries between them count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:24]


def cached(label: str, parts: Iterable[str], build: Callable[[Path], None]) -> Entry:
    """The folder ``label-key``, filled by ``build(folder)`` if it does not exist yet.

    ``label`` is for people who look into the cache; ``parts`` must name everything on which the result
    depends. If ``build`` raises an exception, nothing remains and the exception is passed on.
    """
    root = cache_root()
    path = root / f"{label}-{key_of([label, *parts])}"
    if path.is_dir():
        return Entry(path, hit=True)
    with _lock(path.with_name(f".{path.name}.lock")):
        if path.is_dir():
            return Entry(path, hit=True)
        temporary = root / f".{path.name}.{secrets.token_hex(4)}"
        temporary.mkdir()
        try:
            build(temporary)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Entry(path, hit=False)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes, also when the process dies
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder on the cache's disk for generated sources, removed at the end."""
    with tempfile.TemporaryDirectory(prefix=".work-", dir=cache_root()) as folder:
        yield Path(folder)
