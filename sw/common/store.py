"""Small files under names, in a folder or in an object store, each whole or not at all.

What several processes and machines write in pieces goes to a folder that all of them see, or to a URL that
fsspec knows, such as ``s3://bucket/run``. A name is written once by whoever runs its piece; twice does no
harm, since the content is the same.
"""

import re
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write

Place = str | Path
"""A folder, or a URL of fsspec's."""

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
"""Protocols that show an object once all of it has arrived. With others a name is given at the end."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Store(Protocol):
    """Names and their contents. All methods raise InputError where the place cannot be used."""

    def names(self) -> list[str]:
        """All, sorted; [] where the place does not exist."""
        ...

    def has(self, name: str) -> bool:
        """Whether the name exists."""
        ...

    def read(self, name: str) -> bytes | None:
        """None where the name does not exist."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Makes the place, but no folder above it, where it is missing."""
        ...

    def remove(self, names: list[str]) -> None:
        """Those that exist, and the place itself if nothing else is in it."""
        ...


def is_url(place: Place) -> bool:
    """Whether it is one of fsspec's, and no folder."""
    return isinstance(place, str) and _URL.match(place) is not None


def whole_place(place: Place) -> str:
    """That any process finds, from whatever folder it was started in."""
    return str(place) if is_url(place) else str(Path(place).absolute())


def open_store(place: Place) -> Store:
    """Raises InputError for a URL that fsspec cannot open, and for a file."""
    return ObjectStore(str(place)) if is_url(place) else FolderStore(Path(place))


class FolderStore:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; allowed: a folder for the parts of a run, or none")
        self._folder = folder

    def names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir()
                      if path.is_file() and not path.name.startswith("."))

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self._folder / name} cannot be read: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"folder {self._folder} cannot be made: {error.strerror}") from error
        with atomic_write(self._folder / name) as temporary:
            temporary.write_bytes(content)

    def remove(self, names: list[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


class ObjectStore:
    """A URL of fsspec's."""

    def __init__(self, url: str) -> None:
        if find_spec("fsspec") is None:
            raise InputError(f"{url} needs fsspec, which is not installed; allowed: a folder, or after "
                             "pip install 'kestrel-engine[distributed]'")
        import fsspec  # noqa: PLC0415 - of an extra

        self._url = url.rstrip("/")
        try:
            found: tuple[Any, str] = fsspec.url_to_fs(self._url, use_listings_cache=False)
        except Exception as error:
            raise self._failed("opened", error) from error
        self._system, self._root = found[0], found[1].rstrip("/")
        protocol = self._url.partition("://")[0].lower()
        self._whole = protocol in WHOLE

    def names(self) -> list[str]:
        try:
            found: list[str] = self._system.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failed("listed", error) from error
        names = (path.rstrip("/").rpartition("/")[2] for path in found if path.rstrip("/") != self._root)
        return sorted(name for name in names if not name.startswith("."))

    def has(self, name: str) -> bool:
        try:
            return self._system.exists(f"{self._root}/{name}")
        except Exception as error:
            raise self._failed("read", error, name) from error

    def read(self, name: str) -> bytes | None:
        try:
            return self._system.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed("read", error, name) from error

    def write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        try:
            self._system.makedirs(self._root, exist_ok=True)
            if self._whole:
                self._system.pipe_file(path, content)
                return
            temporary = f"{self._root}/.{name}.{secrets.token_hex(4)}"
            try:
                self._system.pipe_file(temporary, content)
                self._system.mv(temporary, path)
            except BaseException:
                if self._system.exists(temporary):
                    self._system.rm_file(temporary)
                raise
        except Exception as error:
            raise self._failed("written", error, name) from error

    def remove(self, names: list[str]) -> None:
        known = set(self.names())
        try:
            for name in names:
                if name in known:
                    self._system.rm_file(f"{self._root}/{name}")
            if self._system.isdir(self._root) and not self._system.ls(self._root, detail=False):
                self._system.rmdir(self._root)
        except FileNotFoundError:  # a store without folders has lost it with its last name
            return
        except Exception as error:
            raise self._failed("removed", error) from error

    def _failed(self, what: str, error: Exception, name: str = "") -> InputError:
        place = f"{self._url}/{name}" if name else self._url
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return InputError(f"{place} cannot be {what} ({reason}); allowed: a folder, or a URL that fsspec can "
                          "open and write")
