"""The commands of the tutorials and how-to pages work as they stand there, from an empty folder.

A fenced block says by its language and title what becomes of it:

    sh                           its commands are run, in order; each must succeed
    sh title="Fails: ..."        likewise, and the last must fail
    sh title="Needs ..."         is for the reader alone, who has what it needs
    python, toml title="PATH"    is the content of that file
    python                       is run
    csv                          is only shown
    text                         lines that the blocks before have printed, whole or in part, in this order
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kestrel.cli.main import run
from kestrel.verif.build.cache import cache_root

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TREE = "tutorials/block.md"
"""The page that adds to the sources; it is followed in a copy of them."""
SOURCES = ("hw", "sw", "export", "verif", "kestrel")
PAGES = sorted(str(path.relative_to(DOCS)) for folder in ("tutorials", "how-to")
               for path in (DOCS / folder).glob("*.md"))  # fmt: skip

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"[|&;<>$*?`!~]")
"""What only a shell understands."""

pytestmark = pytest.mark.usefixtures("one_thread")


def blocks(page):
    """(language, title, text) of each fenced block of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert text.count("```") == 2 * len(found), f"{page}: a fence that is not read"
    return found


def commands(text):
    """The commands of a block, continued lines joined."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def is_run(language, title):
    return language == "sh" and not title.startswith("Needs")


class Reader:
    """Follows a page in a folder. printed: what came out since the last ``text`` block."""

    def __init__(self, folder, capsys, *, tree):
        self.folder = folder
        self.capsys = capsys
        self.tree = tree
        self.printed = ""
        self.ran = 0

    def follow(self, page):
        for language, title, text in blocks(page):
            if is_run(language, title):
                lines = commands(text)
                assert lines, f"{page}: an empty block"
                for number, line in enumerate(lines, 1):
                    fails = title.startswith("Fails") and number == len(lines)
                    self.command(page, line, fails=fails)
            elif language in ("python", "toml") and title:
                path = self.folder / title
                assert not path.exists(), f"{page}: {title} exists already"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            elif language == "python":
                exec(compile(text, page, "exec"), {})  # noqa: S102 - our own pages
                self.printed += self.capsys.readouterr().out
            elif language == "text":
                self.compare(page, text)
            else:
                assert language in ("sh", "toml", "csv"), f"{page}: block of {language}"

    def command(self, page, line, *, fails):
        words = shlex.split(line)
        quoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
        if words[0] == "kestrel" and not self.tree and not SHELL.search(quoted):
            code = run(words[1:])
            captured = self.capsys.readouterr()
            output = captured.out + captured.err
        else:
            code, output = self.shell(line)
        assert (code != 0) == fails, f"{page}: {line}: exit code {code}\n{output}"
        self.printed += output
        self.ran += 1

    def shell(self, line):
        search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {**os.environ, "PATH": search, "KESTREL_CACHE": str(cache_root()),
                     "PYTHONPATH": str(self.folder if self.tree else ROOT)}  # fmt: skip
        done = subprocess.run(["bash", "-ec", line], cwd=self.folder, env=variables, text=True,
                              capture_output=True, check=False)  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def compare(self, page, text):
        """Line breaks and rows of blanks are the terminal's."""
        printed, begin = " ".join(self.printed.split()), 0
        for line in text.splitlines():
            wanted = " ".join(line.split())
            begin = printed.find(wanted, begin)
            assert begin >= 0, f"{page} shows what is not printed there: {wanted}\n{self.printed}"
            begin += len(wanted)
        self.printed = ""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_sources(folder):
    """What the commands of the page on blocks need: the sources and the tests' settings."""
    for name in SOURCES[:-1]:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "kestrel", folder / "kestrel", symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for name in ("pyproject.toml", "tests/conftest.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page, place, capsys):
    if page == TREE:
        copy_sources(place)
    reader = Reader(place, capsys, tree=page == TREE)
    reader.follow(page)
    assert reader.ran > 0, f"{page} runs nothing"


def test_every_tutorial_compares_what_is_printed():
    pages = [page for page in PAGES if page.startswith("tutorials/")]
    assert len(pages) == 3
    for page in pages:
        assert any(language == "text" for language, _, _ in blocks(page)), page


def test_the_harness_notices_what_is_wrong(place, capsys):
    reader = Reader(place, capsys, tree=False)
    with pytest.raises(AssertionError, match="exit code 2"):
        reader.command("page", "kestrel scenes", fails=False)
    with pytest.raises(AssertionError, match="exit code 0"):
        reader.command("page", "true", fails=True)
    reader.command("page", "echo one; echo two", fails=False)
    with pytest.raises(AssertionError, match="not printed there: two one"):
        reader.compare("page", "two one")
    reader.compare("page", "one\ntwo")
