"""Pieces of work: what they are, how they are run, and what becomes of one that fails.

A piece is a function of a module and its arguments. It writes its result, whole or not at all, and returns
little, so that nothing large travels and a piece that is run twice does no harm.
"""

import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kestrel.hw.spec.errors import InputError

REASON_MAX = 300
"""Characters of a failure's reason."""
SHOWN = 3
"""Failed pieces that are named in one line."""

_ONE_AT_A_TIME = threading.Lock()
"""A process runs one piece at a time, however many threads it has: pieces share what they have loaded."""


@dataclass(frozen=True)
class Piece:
    """name: for people, one of its own; function: of a module, so that another process can import it."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Done:
    """A piece that has been run. value: what its function returned; failed: why it has none, one line, ""
    where it has."""

    piece: Piece
    value: Any = None
    failed: str = ""


class Runner(Protocol):
    """Runs pieces somewhere."""

    def run(self, pieces: Iterable[Piece]) -> Iterator[Done]:
        """Each piece once it is done or has failed for good, in any order. Raises InputError when no piece
        can be run any more."""
        ...


class Here:
    """Runs pieces in this process, one after another."""

    def run(self, pieces: Iterable[Piece]) -> Iterator[Done]:
        """Each piece once it is done or has failed, in their order."""
        for piece in pieces:
            yield attempt(piece)


def attempt(piece: Piece, *, defects: bool = True) -> Done:
    """Runs a piece in this process. An exception makes it fail, with ``defects`` also one that is no
    InputError; without, such a one passes."""
    try:
        with _ONE_AT_A_TIME:
            return Done(piece, piece.function(*piece.arguments))
    except InputError as error:
        return Done(piece, failed=one_line(str(error)))
    except Exception as error:
        if not defects:
            raise
        return Done(piece, failed=reason_of(error))


def reason_of(error: BaseException) -> str:
    """A defect in one line: its kind, its text, and the line of the source that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({frame.name}, line {frame.lineno})" for frame in place)
    return one_line(f"{type(error).__name__}: {error}{where}")


def one_line(text: str) -> str:
    """A text without line ends, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= REASON_MAX else f"{text[:REASON_MAX]}..."


def failure_of(failed: Sequence[Done], total: int, kept: str) -> InputError:
    """The error that names pieces of ``total`` that failed. kept: what stands, and how to go on."""
    named = "; ".join(f"{done.piece.name}: {done.failed}" for done in failed[:SHOWN])
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    return InputError(f"{len(failed)} of {total} pieces failed: {named}{more}; {kept}")
