"""What a command's help shows besides the docstring: options in panels, and examples at the end."""

from typing import Any

from kestrel.cli.help.examples import EXAMPLES
from kestrel.cli.help.panels import panel_of


def _in_lines(text: str) -> str:
    """Paragraphs as a line each, which the help wraps at the terminal's width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def lay_out(command: Any, name: str) -> Any:
    """The command with its options in panels and its examples, and so with every sub-command. ``name``: as on
    the command line."""
    for inner in getattr(command, "commands", {}).values():
        lay_out(inner, f"{name} {inner.name}")
    for parameter in command.params:
        if parameter.param_type_name == "option" and (panel := panel_of(name, parameter.name)) is not None:
            parameter.rich_help_panel = panel
    command.help = _in_lines(command.help or "")
    if name in EXAMPLES:
        command.epilog = "\n\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[name])])
    return command
