"""What a command writes, and the rule by which nothing of the user's is destroyed.

A file is replaced by one of its own kind, by content and not by name, unless it is an input of the same
command. A folder is replaced by the run that made it (kestrel.sw.common.origin). Everything else takes
``--force``; what no ``--force`` allows is two outputs in one place, a folder that holds an input, and a
folder with files that are no output.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import check_output
from kestrel.sw.common.kinds import NOTHING, file_kind
from kestrel.sw.model.embedded import network_path

ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Also replace an input, a file of another kind or another run's folder."),
]
"""The ``--force`` flag as every command that writes declares it: ``force: ForceOption = False``."""

Values = Mapping[str, Any]
"""A command's parameters by name, as given or by default."""


@dataclass(frozen=True)
class FileOutput:
    """A file to write. kind: what it will be, of ``kestrel.sw.common.kinds``, perhaps by the command's
    parameters; suffixes: allowed ones, () for all."""

    kind: str | Callable[[Values], str]
    suffixes: tuple[str, ...] = ()

    def check(self, option: str, path: Path, values: Values, inputs: list[Path], *, force: bool) -> None:
        """Raises InputError."""
        if self.suffixes and path.suffix not in self.suffixes:
            raise InputError(f"{option} {path}: suffix {path.suffix!r}; "
                             f"allowed: {', '.join(self.suffixes)}")
        check_output(path)
        if force or not path.exists():
            return
        if any(_same(path, given) for given in inputs):
            raise InputError(f"{option} {path} is an input of the same command ({_found(path)}); allowed: "
                             "another name, or --force, which replaces it")
        kind = self.kind if isinstance(self.kind, str) else self.kind(values)
        if (found := _found(path)) not in (kind, NOTHING):
            raise InputError(f"{option} {path} is there and is {found}, not {kind}; allowed: another name, "
                             "or --force, which replaces it")


@dataclass(frozen=True)
class ContinuedOutput:
    """A file that is read where it exists, and written: only what could be read is replaced."""

    def check(self, option: str, path: Path, values: Values, inputs: list[Path], *,  # noqa: ARG002
              force: bool) -> None:  # noqa: ARG002
        """Raises InputError."""
        check_output(path)


@dataclass(frozen=True)
class FolderOutput:
    """A folder to write. files: kinds of those that are written beside others there, by name; without any
    the whole folder is one output (``check_output_directory``, which what writes it asks)."""

    files: tuple[tuple[str, str], ...] = ()

    def check(self, option: str, path: Path, values: Values, inputs: list[Path], *, force: bool) -> None:
        """Raises InputError."""
        for given in inputs:
            if not self.files and path.is_dir() and path.resolve() in (given.resolve(),
                                                                       *given.resolve().parents):
                raise InputError(f"{option} {path} holds {given}, an input of the same command; allowed: "
                                 "another folder")
        for name, kind in self.files:
            if path.is_dir():
                FileOutput(kind).check(option, path / name, values, inputs, force=force)


Output = FileOutput | ContinuedOutput | FolderOutput


def check_outputs(outputs: Mapping[str, Output], values: Values) -> None:
    """Raises InputError for an output that would destroy something. outputs: by the parameter that names
    them; values: of all parameters. To be called before any work."""
    given = {name: Path(values[name]) for name in outputs if values[name] is not None}
    for number, (name, path) in enumerate(given.items()):
        for other, elsewhere in list(given.items())[:number]:
            if _same(path, elsewhere):
                raise InputError(f"{_label(other)} {elsewhere} and {_label(name)} {path} are one file; "
                                 "allowed: a name for each")
    inputs = [path for name, value in values.items() if name not in outputs for path in _paths(value)]
    for name, path in given.items():
        outputs[name].check(_label(name), path, values, inputs, force=bool(values.get("force")))


def _label(name: str) -> str:
    return name.replace("_", " ")


def _found(path: Path) -> str:
    try:
        return file_kind(path)
    except OSError as error:
        raise InputError(f"output {path} is there and cannot be read: {error.strerror}") from error


def _paths(value: object) -> Iterator[Path]:
    """What a parameter names that is there: files and folders."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        # A backend's option may name a file: NAME=VALUE.
        for part in (text, text.partition("=")[2]):
            path = network_path(part)
            try:
                if part and path.exists():
                    yield path
            except OSError:  # too long to be a name
                continue
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part)


def _same(a: Path, b: Path) -> bool:
    """Whether two paths lead to one file, by links of either kind too."""
    if a.exists() and b.exists():
        return a.samefile(b)
    return a.resolve() == b.resolve()
