"""``kestrel board``, with its sub-commands, each loaded when it runs."""

from importlib.metadata import EntryPoint
from typing import Any

import typer
from typer.core import TyperGroup

from kestrel.cli.main import LazyCommand

KINDS = {"build": "build:build", "simulate": "simulate:simulate", "describe": "describe:describe"}
"""Every sub-command with the module in this folder and the function that it is."""


class BoardGroup(TyperGroup):
    """All that is done with boards."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, where in KINDS.items():
            self.add_command(LazyCommand(EntryPoint(name, f"kestrel.cli.board.{where}", ""), "board"))


board = typer.Typer(help="A chip on an FPGA board: its files, its simulation, and the board itself.",
                    cls=BoardGroup, add_completion=False)


@board.callback()
def _board() -> None:
    """A chip on an FPGA board: its files, its simulation, and the board itself."""
