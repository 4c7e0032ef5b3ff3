"""The command-line options to suggest when a configuration is too small."""

from collections.abc import Sequence

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError

ROUND_FROM = 1024
"""Sizes of memories from this number on are suggested in whole multiples of it."""


def larger(config: EngineConfig, **needed: int | Sequence[int]) -> str:
    """``allowed: --set NAME=VALUE ...`` with the smallest sensible values of these fields that are at least
    the ``needed`` ones, or another remedy if no configuration allows that much."""
    options = {name: _sensible(name, value) for name, value in needed.items()}
    try:
        config.with_options(**options)
    except InputError:
        return "no configuration may have as much; allowed: a smaller network or image"
    return "allowed: " + " ".join(f"--set {name}={setting_text(value)}" for name, value in options.items())


def _sensible(name: str, value: int | Sequence[int]) -> int | tuple[int, ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, int):
        return tuple(_rounded(number) for number in value)
    return _rounded(value) if name.endswith("_words") else value


def _rounded(value: int) -> int:
    return value if value < ROUND_FROM else -(-value // ROUND_FROM) * ROUND_FROM


def setting_text(value: object) -> str:
    """The value of a field as the option --set takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
