"""The reference of the command line, from the commands themselves."""

import re
from typing import Any

import typer
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from kestrel.cli.main import LazyCommand, commands

PAGE = "reference/command-line.md"
MARK = "<!-- commands -->"
"""What stands in the page in their place."""

EXAMPLES = re.compile(r"^Examples:\n((?:\n+  +.+)+)", re.MULTILINE)


def loaded(command: Any) -> Any:
    """A command with all of its options, and those below it likewise."""
    command = command.load() if isinstance(command, LazyCommand) else command
    for name, inner in getattr(command, "commands", {}).items():
        command.commands[name] = loaded(inner)
    return command


def command_reference() -> str:
    """A section for every command, in Markdown."""
    parts = []
    for entry in commands():
        command = loaded(LazyCommand(entry))
        context = typer.Context(command, info_name=entry.name)
        parts.append(
            get_docs_for_click(obj=command, ctx=context, indent=1, name=entry.name, call_prefix="kestrel")
        )
    return EXAMPLES.sub(as_block, verbatim("\n".join(parts)))


def verbatim(text: str) -> str:
    """Markdown in which the stars of ``8*3,4*rest`` are stars: those inside a word, outside code."""
    shown, star = r"(`[^`\n]*`|^  .*$)", r"(?<=\w)\*(?=\w)"
    return re.sub(rf"(?m){shown}|{star}", lambda match: match[1] or r"\*", text)


def as_block(match: re.Match[str]) -> str:
    """Examples as help shows them, indented lines, as a block of commands."""
    lines = [line.strip() for line in match[1].splitlines() if line.strip()]
    return "\n".join(["**Examples**:", "", "```sh", *lines, "```"])


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, command_reference()) if page.file.src_uri == PAGE else markdown
