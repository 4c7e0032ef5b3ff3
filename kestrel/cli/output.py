"""The output of commands: results on standard output, progress on standard error."""

import codecs
import contextlib
import io
import json as json_format
import shlex
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from kestrel.hw.spec.errors import InputWarning

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
"""The ``--json`` flag as every command declares it: ``json: JsonOption = False``."""

PROGRESS_AFTER_SECONDS = 2.0

ENCODING_RULE = "kestrel-stand-in"

STAND_INS = {"\N{CHECK MARK}": "+", "\N{BALLOT X}": "x", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x",
             "\N{HORIZONTAL ELLIPSIS}": ".", "\N{BULLET}": "*"}
"""Characters of the printed tables, and their replacements in an encoding that lacks them."""

_result_stream: TextIO | None = None


def emit(payload: dict[str, Any], human: Callable[[Console], None], json: bool) -> None:
    """Prints a command's result: ``payload`` as one JSON object, or whatever ``human`` prints.

    ``human`` gets the console of standard output. Paths and NumPy scalars in ``payload`` are converted;
    raises ValueError for NaN and infinity, which JSON does not have, and TypeError for other types.
    """
    if json:
        text = json_format.dumps(payload, indent=2, allow_nan=False, default=_plain)
        print(text, file=_result_stream or sys.stdout, flush=True)
    else:
        human(Console())


def print_anywhere() -> None:
    """Makes standard output and standard error accept every text, whatever encoding the locale gives them.

    Characters that the encoding lacks are replaced (see STAND_INS) or escaped. Bytes of a file name that are
    not text in the encoding are written unchanged.
    """
    codecs.register_error(ENCODING_RULE, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_RULE)


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = bytearray()
    for sign in error.object[error.start : error.end]:
        if "\udc80" <= sign <= "\udcff":  # a byte of a file name that Python could not decode
            found.append(ord(sign) - 0xDC00)
        else:
            found += STAND_INS.get(sign, sign).encode("ascii", "backslashreplace")
    return bytes(found), error.end


@contextlib.contextmanager
def input_warnings() -> Iterator[None]:
    """While active, prints the first InputWarning of each kind as a line on standard error as soon as it
    occurs, and at the end how many more of that kind there were."""
    counts: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        others = warnings.showwarning

        def show(message: Warning | str, *rest: Any, **named: Any) -> None:
            if not isinstance(message, InputWarning):
                others(message, *rest, **named)
                return
            counts[message.what] = counts.get(message.what, 0) + 1
            if counts[message.what] == 1:
                note(f"kestrel: warning: {' '.join(str(message).split())}")

        warnings.showwarning = show
        try:
            yield
        finally:
            for what, count in counts.items():
                if count > 1:
                    note(f"kestrel: warning: and {count - 1} more: {' '.join(what.split())}")


def command_line() -> str:
    """The command that runs, for pages that say where they come from."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def note(text: str) -> None:
    """Prints a remark to the user on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def result_only() -> Iterator[None]:
    """While active, only ``emit`` writes to standard output; all else printed goes to standard error."""
    global _result_stream
    _result_stream = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _result_stream = None


class _RateColumn(ProgressColumn):
    """Steps per second, as measured recently."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {self._unit}")


@contextlib.contextmanager
def progress(
    description: str, total: int | None, rate: str | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(steps)`` for work of ``total`` steps (None: unknown, a spinner without a bar).

    ``rate`` is the unit in which the speed is shown, such as "images/s"; None shows no speed. The bar is
    drawn on standard error, only if that is a terminal, and only after the work has taken
    ``PROGRESS_AFTER_SECONDS``.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda steps: None
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
    if total is not None:
        # The bar is shorter if there is a rate, so that 80 columns still show the remaining time.
        columns = [TextColumn("{task.description}"), BarColumn(20 if rate else 40),
                   TextColumn("{task.completed}/{task.total}"), *([_RateColumn(rate)] if rate else []),
                   TimeRemainingColumn()]
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(description, total=total)
    starter = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
    starter.daemon = True
    starter.start()
    try:
        yield lambda steps: bar.advance(task, steps)
    finally:
        starter.cancel()
        starter.join()
        bar.stop()


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)  # NumPy scalars, without importing NumPy here
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
