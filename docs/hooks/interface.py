"""The reference of the Python API: its public names, by subject."""

import ast
from pathlib import Path

from mkdocs.structure.pages import Page

PACKAGE = Path(__file__).resolve().parents[2] / "kestrel" / "__init__.py"
PAGE = "reference/python.md"
MARK = "<!-- names -->"
"""What stands in the page in their place."""

GROUPS = {
    "kestrel.api.networks": "Networks",
    "kestrel.api.allocation": "Mask bits",
    "kestrel.api.planning": "Plans",
    "kestrel.api.chip": "ROM images and Verilog",
    "kestrel.api.simulation": "Simulation",
    "kestrel.api.pictures": "Pictures",
    "kestrel.api.descriptors": "Descriptors",
    "kestrel.api.retrieval": "Retrieval",
}
"""Modules of the API and what they are about. Other modules of it go by their own name; what comes from
elsewhere are the types that all use."""
TYPES = "Types"


def public_names() -> list[tuple[str, str]]:
    """Every public name with the module that it comes from, as the package's imports say."""
    tree = ast.parse(PACKAGE.read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return [(alias.name, node.module or "") for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names]  # fmt: skip


def group(module: str) -> str:
    """The heading under which the names of a module stand."""
    package, _, name = module.rpartition(".")
    return GROUPS.get(module, name.capitalize() if package == "kestrel.api" else TYPES)


def python_reference() -> str:
    """A section for every subject, in Markdown, for mkdocstrings to fill."""
    found = public_names()
    titles = list(dict.fromkeys([*GROUPS.values(), *(group(module) for _, module in found)]))
    titles.sort(key=lambda title: title == TYPES)
    # A name is looked up in its own module: the package hands it on at run time only.
    lines = []
    for title in titles:
        lines += [f"## {title}\n"]
        lines += [f"::: {module}.{name}\n" for name, module in found if group(module) == title]
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Called by MkDocs for every page."""
    return markdown.replace(MARK, python_reference()) if page.file.src_uri == PAGE else markdown
