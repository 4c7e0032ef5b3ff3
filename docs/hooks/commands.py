"""The reference of the command line, from the commands themselves."""

import re

import typer
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from kestrel.cli.main import LazyCommand, commands

PAGE = "reference/command-line.md"
MARK = "<!-- commands -->"
"""What stands in the page in their place."""


def verbatim(text: str) -> str:
    """Markdown in which the stars of ``8*3,4*rest`` are stars: those inside a word, outside code."""
    return re.sub(r"(`[^`\n]*`)|(?<=\w)\*(?=\w)", lambda match: match[1] or r"\*", text)


def command_reference() -> str:
    """A section for every command, in Markdown."""
    parts = []
    for entry in commands():
        command = LazyCommand(entry).load()
        context = typer.Context(command, info_name=entry.name)
        parts.append(
            get_docs_for_click(obj=command, ctx=context, indent=1, name=entry.name, call_prefix="kestrel")
        )
    return verbatim("\n".join(parts))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, command_reference()) if page.file.src_uri == PAGE else markdown
