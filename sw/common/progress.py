"""How long work tells that it goes on: the kind of function that it is told by."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""progress(description, total) yields advance(steps), total None where it is not known;
``kestrel.cli.output.progress`` is one."""


@contextmanager
def silent(description: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG001
    """The Progress that shows nothing."""
    yield lambda steps: None
