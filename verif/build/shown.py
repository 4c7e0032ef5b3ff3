"""Who is told how far a build is. A build is deep below those who show progress, and rarely happens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from kestrel.sw.common.progress import Progress, silent

_progress: ContextVar[Progress] = ContextVar("progress", default=silent)


@contextmanager
def builds_shown(progress: Progress) -> Iterator[None]:
    """While active, ``progress`` is told of every step of a build; of none where a build is in the cache."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def step(description: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
    """A step of a build, of ``total`` parts if that is known; yields what is told of those done."""
    return _progress.get()(description, total)
