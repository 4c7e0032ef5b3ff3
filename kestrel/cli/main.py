"""The ``kestrel`` command: lists the commands, runs one, and turns errors into exit codes.

A command's module is imported only when that command runs: ``kestrel --version`` and ``kestrel --help`` load
neither torch nor Amaranth.
"""

import ast
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import EntryPoint, version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from kestrel.cli.former import translate
from kestrel.cli.help.layout import lay_out
from kestrel.cli.output import input_warnings, print_anywhere, result_only
from kestrel.cli.rules.declared import DeclaredCommand
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import DISK_ERRORS
from kestrel.sw.common.provenance import DISTRIBUTION

COMMANDS = {
    "compress": "networks.compress:compress",
    "export": "chip.export:export",
    "verilog": "chip.verilog:verilog",
    "simulate": "chip.simulate:simulate",
    "describe": "retrieval.describe:describe",
    "index": "retrieval.index:index",
    "search": "retrieval.search:search",
    "serve": "retrieval.serve:serve",
    "evaluate": "retrieval.evaluate:evaluate",
    "report": "report.group:report",
    "allocate": "networks.allocate:allocate",
    "board": "board.group:board",
    "estimate": "chip.estimate:estimate",
    "list": "networks.listing:list_",
    "plan": "chip.plan:plan",
    "regress": "chip.regress:regress",
    "retrain": "networks.retrain:retrain",
    "scenes": "retrieval.scenes:scenes",
    "shapes": "networks.shapes:shapes",
    "study": "retrieval.study:study",
    "whiten": "retrieval.whiten:whiten",
}
"""Every command with the module in ``kestrel.cli`` and the function that it is: first the main ones in the
order of the work, then the others by name."""

EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 128 + signal.SIGPIPE


class LazyCommand(TyperCommand):
    """A command whose module is imported when its arguments are parsed, and not for the list of commands.
    ``group`` is the command that it is a sub-command of."""

    def __init__(self, entry: EntryPoint, group: str = "") -> None:
        super().__init__(entry.name, short_help=_summary(entry))
        self.entry = entry
        self.path = f"{group} {entry.name}".strip()

    def load(self) -> Any:
        """The command itself, or the group of its sub-commands."""
        loaded = self.entry.load()
        if isinstance(loaded, typer.Typer):
            return lay_out(get_command(loaded), self.path)
        application = typer.Typer(add_completion=False)
        application.command(self.name, cls=DeclaredCommand)(loaded)
        return lay_out(get_command(application), self.path)

    def make_context(self, info_name: str | None, args: list[str], *arguments: Any, **settings: Any) -> Any:
        command = self.load()
        options = {name: option.default for option in command.params for name in option.opts}
        return command.make_context(info_name, translate(args, options), *arguments, **settings)


class CommandGroup(TyperGroup):
    """All commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for entry in commands():
            self.add_command(LazyCommand(entry))


def commands() -> list[EntryPoint]:
    """COMMANDS as what can be loaded."""
    return [EntryPoint(name, f"kestrel.cli.{where}", "") for name, where in COMMANDS.items()]


def _summary(entry: EntryPoint) -> str:
    """First line of the command function's docstring, or the help of its typer.Typer where it has
    sub-commands, read from the source without importing it."""
    try:
        spec = importlib.util.find_spec(entry.module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return "(not installed)"
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and any(
                isinstance(target, ast.Name) and target.id == entry.attr for target in node.targets):
            return next((str(word.value.value) for word in node.value.keywords
                         if word.arg == "help" and isinstance(word.value, ast.Constant)), "")
    return ""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kestrel {version(DISTRIBUTION)}")
        raise typer.Exit()


application = typer.Typer(cls=CommandGroup, name="kestrel")


@application.callback()
def kestrel(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Turn a trained VGG-class network into a low-power image-retrieval chip.

    Every command takes --json (one JSON object on standard output) and --help.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    0: done. 2: the input cannot be used, said in one line on standard error. 130: interrupted. A command may
    leave with a code of its own through ``typer.Exit``. Any other exception is a defect and passes through.
    """
    arguments = list(arguments) or ["--help"]
    try:
        with input_warnings(), result_only() if "--json" in arguments else nullcontext():
            code = get_command(application).main(arguments, prog_name="kestrel", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except InputError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        return _refuse(error.format_message() + _given(error.format_message(), arguments))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except typer.Abort as error:
        if isinstance(error.__cause__, EOFError):  # of a file that ends too soon; nobody has interrupted
            raise error.__cause__ from None
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno in DISK_ERRORS:  # of a log, a lock or a part that is kept
            return _refuse(f"{error.filename or 'a file'} cannot be written: {error.strerror}")
        if not _named_by_user(error, arguments):
            raise
        return _refuse(f"{error.filename}: {error.strerror}")


def _refuse(message: str) -> int:
    print(f"kestrel: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_INPUT


def _given(message: str, arguments: Sequence[str]) -> str:
    """The value given to the option that a usage error names, if the message does not show it."""
    for option, value in pairwise(arguments):
        if f"'{option}'" in message and value not in message:
            return f"; given: {value!r}"
    return ""


def _named_by_user(error: OSError, arguments: Sequence[str]) -> bool:
    """Whether the file that failed is one of the command line's, or lies in a folder named there."""
    if not isinstance(error.filename, str):
        return False
    file = Path(error.filename).absolute()
    given = [Path(a.partition("=")[2] if a.startswith("--") else a).absolute() for a in arguments if a]
    return any(file == path or (path.is_dir() and path in file.parents) for path in given)


def main() -> None:
    """Entry point of the console script. A reader that has left, as `head` does, ends it quietly."""
    print_anywhere()
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # Rich turns the one into the other.
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        code = EXIT_PIPE
    sys.exit(code)


if __name__ == "__main__":
    main()
