"""Commands that declare what they write and when their options have an effect. Both are checked first."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from typer.core import TyperCommand

from kestrel.cli.rules.effects import Effects, without_effect
from kestrel.cli.rules.outputs import ContinuedOutput, Output, check_outputs
from kestrel.cli.rules.stopping import Kept, nothing_kept
from kestrel.hw.spec.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])

ATTRIBUTE = "kestrel_declaration"
COMMON = frozenset({"json", "force"})
"""Options of the same effect in every command: --json always, --force where an output is given."""


@dataclass(frozen=True)
class Declaration:
    """writes: outputs by the parameter that names them; always: options that have an effect whatever else is
    given; effects: the others, and when they have one; kept: what stands, by the parameters, after the user
    has stopped the command, and how to go on."""

    writes: Mapping[str, Output] = field(default_factory=dict)
    always: frozenset[str] = frozenset()
    effects: Effects = field(default_factory=dict)
    kept: Kept = nothing_kept

    @property
    def options(self) -> frozenset[str]:
        """All that it speaks of. A test holds them to the command's own."""
        return self.always | {name for names in self.effects for name in names.split()}


def declares(always: str = "", *, writes: Mapping[str, Output] | None = None,
             effects: Effects | None = None,
             kept: Kept = nothing_kept) -> Callable[[Command], Command]:
    """A decorator of a command's function. See Declaration; ``always`` are names separated by spaces."""
    def mark(function: Command) -> Command:
        declaration = Declaration(writes or {}, frozenset(always.split()), effects or {}, kept)
        setattr(function, ATTRIBUTE, declaration)
        return function

    return mark


class DeclaredCommand(TyperCommand):
    """A command that is refused before it begins where its declaration says so."""

    @property
    def declaration(self) -> Declaration:
        """The function's; typer's wrapper has its attributes."""
        return getattr(self.callback, ATTRIBUTE, Declaration())

    @property
    def labels(self) -> dict[str, str]:
        """What users call the parameters, by name."""
        return {p.name or "": max(p.opts, key=len) if p.param_type_name == "option"
                else (p.name or "").upper() for p in self.params}

    def invoke(self, ctx: Any) -> Any:
        self.check_effects(ctx)
        check_outputs(self.declaration.writes, ctx.params)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print(f"kestrel: stopped; {self.declaration.kept(ctx.params)}", file=sys.stderr, flush=True)
            raise

    def check_effects(self, ctx: Any) -> None:
        """Raises InputError for an option on the command line that has no effect there."""
        labels, declared = self.labels, self.declaration
        for name, label in labels.items():
            source = ctx.get_parameter_source(name)
            if not label.startswith("--") or source is None or source.name != "COMMANDLINE":
                continue
            lack = without_effect(name, declared.effects, ctx.params, labels)
            if lack is None and name == "force":
                lack = _nothing_to_force(declared.writes, ctx.params, labels)
            if lack is not None:
                why, allowed = lack
                raise InputError(f"{label} has no effect {why}; allowed: {allowed}")


def _nothing_to_force(writes: Mapping[str, Output], values: Mapping[str, Any],
                      labels: Mapping[str, str]) -> tuple[str, str] | None:
    names = [name for name, output in writes.items() if not isinstance(output, ContinuedOutput)]
    if any(values[name] is not None for name in names):
        return None
    return "without an output", f"with {' or '.join(labels[name] for name in names)}"
