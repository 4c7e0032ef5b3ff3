"""Notebooks as pages of the site, with the results that are stored in them."""

import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ALTERNATIVE = "alt"
"""What a cell's metadata call the text that stands for its plot."""


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook in Markdown, and its pictures by their paths from the page."""
    notebook = nbformat.read(path, as_version=4)
    settings = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=settings)

    def described(match: re.Match[str]) -> str:
        cell = notebook.cells[int(match["cell"])]
        return f"![{cell.metadata[ALTERNATIVE]}]({match['file']})"

    return re.sub(r"!\[\w+\]\((?P<file>\S*_(?P<cell>\d+)_\d+\.\w+)\)", described, text), resources["outputs"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: adds a page for every notebook, and its pictures."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files
