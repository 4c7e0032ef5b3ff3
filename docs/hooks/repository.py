"""What the pages take from the repository outside docs/: two pages of its root, and links to its files."""

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the root that are pages of the site as well, with their names there."""

NOTEBOOK = ".ipynb"
"""Suffix of a file that is a page of the same name on the site."""

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<file>(?!\w+:)[^)#\s]+)(?P<anchor>#[\w-]*)?\)")


def site_link(page: str, match: re.Match[str]) -> str:
    """A link of ``page``, named by its path from docs/, as it must be on the site.

    Pages of the root get their names there. Other files outside docs/ are no part of the site: what is left
    of a link to one is its text and its path in the repository.
    """
    source = next((name for name, target in PAGES.items() if target == page), f"docs/{page}")
    path = PurePosixPath(posixpath.normpath(PurePosixPath(source).parent / match["file"]))
    if path.suffix == NOTEBOOK:
        return f"[{match['text']}]({match['file'].removesuffix(NOTEBOOK)}.md{match['anchor'] or ''})"
    if path.parts[0] == "docs" and source.startswith("docs/"):
        return match[0]
    inside = PAGES.get(str(path)) or (str(path.relative_to("docs")) if path.parts[0] == "docs" else None)
    if inside is None:
        text = match["text"]
        return text if str(path) in text else f"{text} (`{path}`)"
    up = "../" * (len(PurePosixPath(page).parts) - 1)
    return f"[{match['text']}]({up}{inside}{match['anchor'] or ''})"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs: adds the root's pages."""
    for name, target in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Called by MkDocs: sets the links of a page right."""
    return LINK.sub(lambda match: site_link(page.file.src_uri, match), markdown)
