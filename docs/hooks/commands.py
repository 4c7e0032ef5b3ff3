"""The reference of the command line as a page of the site, from the commands themselves."""

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from kestrel.cli.main import LazyCommand, commands

PAGE = "reference/command-line.md"
OPENING = """# Commands

Every command with its arguments and options, as `--help` shows them. What holds for all of them, when outputs are
replaced and which options go together, stands in the [rules of the command line](../command-line.md).
"""


def command_reference() -> str:
    """The page in Markdown."""
    parts = [OPENING]
    for entry in commands():
        command = LazyCommand(entry).load()
        context = typer.Context(command, info_name=entry.name)
        parts.append(
            get_docs_for_click(obj=command, ctx=context, indent=1, name=entry.name, call_prefix="kestrel")
        )
    return "\n".join(parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: adds the page."""
    files.append(File.generated(config, PAGE, content=command_reference()))
    return files
