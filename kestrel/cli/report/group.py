"""``kestrel report``, with its sub-commands, each loaded when it runs."""

from importlib.metadata import EntryPoint
from typing import Any

import typer
from typer.core import TyperGroup

from kestrel.cli.main import LazyCommand

KINDS = {"design": "design:design", "retrieval": "retrieval:retrieval"}
"""Every sub-command with the module in this folder and the function that it is."""


class ReportGroup(TyperGroup):
    """All reports."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, where in KINDS.items():
            self.add_command(LazyCommand(EntryPoint(name, f"kestrel.cli.report.{where}", ""), "report"))


report = typer.Typer(help="Write a report: of a chip's design, or of retrieval.", cls=ReportGroup,
                     add_completion=False)


@report.callback()
def _report() -> None:
    """Write a report: of a chip's design, or of retrieval."""
