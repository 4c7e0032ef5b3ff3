"""The site is built without a warning, holds what the code has, and takes nothing from outside."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import kestrel

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FIGURES = DOCS / "reference" / "figures.md"


def hook(name):
    """A module of docs/hooks, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env=variables, text=True, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads by itself, and the names of its places."""

    def __init__(self):
        super().__init__()
        self.loaded = []
        self.places = set()
        self.pictures = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.places.add(values.get("id"))
        if tag == "link" and values.get("rel") != "canonical":
            self.loaded.append(values.get("href"))
        if "src" in values:
            self.loaded.append(values["src"])
        if tag == "img":
            self.pictures.append(values)


def read(path):
    page = Loaded()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_nothing_comes_from_outside(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        loaded = read(path).loaded
        assert loaded
        outside = [url for url in loaded if re.match(r"(\w+:)?//", url) and not url.startswith("data:")]
        assert not outside, f"{path.relative_to(site)} loads {outside}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_picture_is_described(site):
    described = 0
    for path in site.rglob("*.html"):
        for picture in read(path).pictures:
            assert len(picture.get("alt") or "") > 10, f"{path.relative_to(site)}: {picture}"
            described += 1
    assert described > 5


def test_the_search_works_without_a_server(site):
    """Its index is a script, and the worker that a page opened as a file may not have is replaced."""
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = ")
    assert "assets/iframe-worker.js" in read(site / "index.html").loaded


def test_every_command_and_option_is_in_the_reference(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference" / "command-line.html").read_text(encoding="utf-8"))
    module = hook("commands")
    for entry in module.commands():
        command = module.loaded(module.LazyCommand(entry))
        for name, leaf in (getattr(command, "commands", None) or {"": command}).items():
            title = f"kestrel {entry.name} {name}".strip()
            _, found, section = text.partition(f"{title}&para;")
            assert found, title
            for option in (opt for param in leaf.params for opt in param.opts if opt.startswith("--")):
                assert option in section.partition("&para;")[0], f"{title} {option}"


def test_every_public_name_is_in_the_reference(site):
    places = read(site / "reference" / "python.html").places
    names = dict(hook("interface").public_names())
    assert set(names) == set(kestrel.__all__)
    assert {f"{module}.{name}" for name, module in names.items()} <= places


def test_links_out_of_the_documentation_keep_their_text():
    repository = hook("repository")

    def linked(page, text):
        return repository.LINK.sub(lambda match: repository.site_link(page, match), text)

    assert linked("rom-format.md", "[export/x.py](../export/x.py)") == "export/x.py"
    assert linked("rom-format.md", "[the writer](../export/x.py)") == "the writer (`export/x.py`)"
    assert linked("how-to/a.md", "[b](../../CONTRIBUTING.md#c)") == "[b](../contributing.md#c)"
    assert linked("index.md", "[it](notebooks/a.ipynb)") == "[it](notebooks/a.md)"
    assert linked("contributing.md", "[it](docs/verification.md)") == "[it](verification.md)"
    assert linked("how-to/a.md", "[b](../b.md#c) [d](https://e.org)") == "[b](../b.md#c) [d](https://e.org)"


def test_the_figures_are_those_of_the_front_page():
    """Whatever the README's table of figures says stands, word for word, among all the figures."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Figures\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    assert len(rows) > 5
    text = FIGURES.read_text(encoding="utf-8")
    for row in rows:
        figure = row.strip("|").split(" | ")[1].strip()
        assert f"| {figure} |" in text, f"docs/reference/figures.md lacks: {figure}"
