"""Commands that say what they write; it is checked before they run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from typer.core import TyperCommand

from kestrel.cli.rules.outputs import Output, check_outputs

Command = TypeVar("Command", bound=Callable[..., Any])

ATTRIBUTE = "kestrel_declaration"


@dataclass(frozen=True)
class Declaration:
    """writes: outputs by the parameter that names them."""

    writes: Mapping[str, Output] = field(default_factory=dict)


def declares(*, writes: Mapping[str, Output] | None = None) -> Callable[[Command], Command]:
    """A decorator of a command's function. See Declaration."""
    def mark(function: Command) -> Command:
        setattr(function, ATTRIBUTE, Declaration(writes or {}))
        return function

    return mark


class DeclaredCommand(TyperCommand):
    """A command that is refused before it begins where its declaration says so."""

    @property
    def declaration(self) -> Declaration:
        """The function's; typer's wrapper has its attributes."""
        return getattr(self.callback, ATTRIBUTE, Declaration())

    def invoke(self, ctx: Any) -> Any:
        check_outputs(self.declaration.writes, ctx.params)
        return super().invoke(ctx)
