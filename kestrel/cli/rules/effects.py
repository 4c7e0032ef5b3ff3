"""When an option has an effect. One that has none where it is given is refused, not ignored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
"""A command's parameters by name, as given or by default."""

Labels = Mapping[str, str]
"""What users call the parameters: ``--option``, or the argument's name in capitals."""

Lack = tuple[str, str]
"""Why an option has no effect, and with what it would have one, in words."""


@dataclass(frozen=True)
class Given:
    """Only beside another parameter."""

    name: str

    def lack(self, values: Values, labels: Labels) -> Lack | None:
        """None where the option has an effect."""
        label = labels[self.name]
        return None if _is_given(values[self.name]) else (f"without {label}", f"with {label}")


@dataclass(frozen=True)
class Absent:
    """Only without another parameter."""

    name: str

    def lack(self, values: Values, labels: Labels) -> Lack | None:
        """None where the option has an effect."""
        label = labels[self.name]
        return (f"with {label}", f"without {label}") if _is_given(values[self.name]) else None


@dataclass(frozen=True, init=False)
class Among:
    """Only with certain values of another parameter."""

    name: str
    allowed: tuple[str, ...]

    def __init__(self, name: str, *allowed: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "allowed", allowed)

    def lack(self, values: Values, labels: Labels) -> Lack | None:
        """None where the option has an effect."""
        label, value = labels[self.name], values[self.name]
        if value is not None and str(value) in self.allowed:
            return None
        found = f"without {label}" if value is None else f"with {label} {value}"
        return found, f"with {label} {' or '.join(self.allowed)}"


@dataclass(frozen=True)
class When:
    """Only where ``holds`` says so of all parameters; ``why`` and ``allowed`` say it in words."""

    holds: Callable[[Values], bool]
    why: str
    allowed: str

    def lack(self, values: Values, labels: Labels) -> Lack | None:  # noqa: ARG002
        """None where the option has an effect."""
        return None if self.holds(values) else (self.why, self.allowed)


Condition = Given | Absent | Among | When
Effects = Mapping[str, Condition | tuple[Condition, ...]]
"""Names of options, separated by spaces, that have an effect only under one or several conditions."""


def without_effect(option: str, effects: Effects, values: Values, labels: Labels) -> Lack | None:
    """Why a given option has no effect, and what would help; None where it has one."""
    for names, conditions in effects.items():
        if option in names.split():
            for condition in conditions if isinstance(conditions, tuple) else (conditions,):
                if (lack := condition.lack(values, labels)) is not None:
                    return lack
    return None


def _is_given(value: object) -> bool:
    return not (value is None or value is False or (isinstance(value, list | tuple) and not value))
