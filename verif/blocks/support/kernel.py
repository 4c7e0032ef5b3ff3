"""A kernel as the weight registers hold it."""

from typing import NamedTuple


class Kernel(NamedTuple):
    """A kernel as the registers hold it: the scalar and nine digit codes."""

    alpha: int
    digits: tuple[int, ...]
