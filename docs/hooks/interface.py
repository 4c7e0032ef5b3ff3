"""The reference of the Python API as a page of the site: a heading for each of its rooms, below it its names."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[2] / "kestrel" / "__init__.py"
PAGE = "reference/python.md"
OPENING = """# Python API

The names of `import kestrel`. The functions are those that the commands call; `InputError` is what they raise for
input that cannot be used, with one line that names the value and what is allowed.
"""
GROUPS = {
    "kestrel.api.networks": "Networks",
    "kestrel.api.allocation": "Mask bits",
    "kestrel.api.chip": "Plans, ROM images, Verilog",
    "kestrel.api.simulation": "Simulation",
    "kestrel.api.pictures": "Pictures",
    "kestrel.api.descriptors": "Descriptors",
    "kestrel.api.retrieval": "Retrieval",
}
"""Modules of functions and what they are about; what comes from elsewhere are the types that they use."""
TYPES = "Types"


def public_names() -> list[tuple[str, str]]:
    """Every public name with the module that it comes from, as the package's imports say."""
    tree = ast.parse(PACKAGE.read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return [(alias.name, node.module or "") for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names]


def python_reference() -> str:
    """The page in Markdown, for mkdocstrings."""
    groups: dict[str, list[str]] = {title: [] for title in (*GROUPS.values(), TYPES)}
    for name, module in public_names():
        # By its home, as the package hands it on at run time, which cannot be seen without running it.
        groups[GROUPS.get(module, TYPES)].append(f"::: {module}.{name}\n")
    return OPENING + "".join(f"\n## {title}\n\n" + "\n".join(lines) for title, lines in groups.items())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: adds the page."""
    files.append(File.generated(config, PAGE, content=python_reference()))
    return files
