"""The documentation names files that exist, and the examples of CONTRIBUTING.md work as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kestrel.verif.build.cache import cache_root

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "CONTRIBUTING.md"
PAGES = [ROOT / "README.md", GUIDE, *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("hw", "sw", "export", "verif", "kestrel")
SHARED_ROOMS = ("support", "planted")
"""Rooms of verif/blocks that are no block's."""

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#[\w-]*)?\)")
"""The file of a link that does not lead to another site."""
QUOTED = re.compile(r"`([^`\s]+)`")
OURS = re.compile(rf"(?:{'|'.join(FOLDERS)}|bench|docs|tests|\.ci)/[\w./-]*")
MODULE = re.compile(rf"kestrel\.(?:{'|'.join((*FOLDERS, 'cli', 'examples'))})(?:\.\w+)+")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN = re.compile(r'^```(?:python|toml) title="([^"]+)"$', re.MULTILINE)
"""A file that a page has its reader write."""


def label(path):
    return str(path.relative_to(ROOT))


def fences(*languages):
    """What stands between fences of these languages, in order."""
    found = FENCE.findall(GUIDE.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def examples():
    """Path -> content of every file that CONTRIBUTING.md shows: the path in bold, and then the content."""
    guide = GUIDE.read_text(encoding="utf-8")
    paths = re.findall(r"^\*\*`([^`]+)`\*\*", guide, re.MULTILINE)
    return dict(zip(paths, fences("python", "toml"), strict=True))


def without_fences(text):
    return FENCE.sub("", text)


def is_importable(name):
    """Whether a dotted name is a package, a module, or something that the text of a module names."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    return module.is_file() and re.search(rf"\b{path.name}\b", module.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_to_files(page):
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8"))
               if link and not (page.parent / link).exists()]  # fmt: skip
    assert not missing, f"{label(page)} links to {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_paths_and_modules_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    known = {*WRITTEN.findall(text), *(examples() if page == GUIDE else ())}
    named = QUOTED.findall(without_fences(text))
    ours = [name for name in named if OURS.fullmatch(name) and name not in known]
    missing = [name for name in ours if not (ROOT / name).exists()]
    missing += [name for name in named if MODULE.fullmatch(name) and not is_importable(name)]
    assert not missing, f"{label(page)} names {', '.join(missing)}"


def test_something_is_looked_for():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(LINK.findall(text)) > 20
    assert sum(bool(OURS.fullmatch(name)) for name in QUOTED.findall(text)) > 50


def rooms():
    """Folders of modules as CONTRIBUTING.md writes them; each block's own folder is left out."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).parts[:-1]
            linked = parts[0] == "kestrel" and parts[1:2] and parts[1] in FOLDERS
            block = parts[:2] == ("verif", "blocks") and parts[2:] and parts[2] not in SHARED_ROOMS
            if not linked and not block:
                yield f"{'/'.join(parts)}/"


def test_the_table_of_rooms_is_that_of_the_folders():
    table = re.findall(r"^\| `((?:\w+/)+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) == len(set(table))
    assert set(table) == set(rooms())


# --- the examples of CONTRIBUTING.md ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the sources to which everything that CONTRIBUTING.md shows has been done."""
    folder = tmp_path_factory.mktemp("tree")
    for name in FOLDERS[:-1]:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "kestrel", folder / "kestrel", symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    (folder / "tests").mkdir()
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in examples().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert not path.exists(), f"{name} exists already"
        path.write_text(text, encoding="utf-8")
    for text in fences("diff"):
        apply_diff(folder, text)
    return folder


def apply_diff(folder, text):
    """Replace what each hunk shows by what it makes of it; line numbers do not matter."""
    name = re.search(r"^\+\+\+ b/(\S+)$", text, re.MULTILINE)
    assert name is not None
    path = folder / name[1]
    source = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*@@\n", text, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert source.count(before) == 1, f"CONTRIBUTING.md changes what is not once in {name[1]}:\n{before}"
        source = source.replace(before, after)
    path.write_text(source, encoding="utf-8")


def run(folder, *arguments):
    """Python in the copy; its exit code and what it printed."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "KESTREL_CACHE": str(cache_root())}
    done = subprocess.run([sys.executable, "-P", *arguments], cwd=folder, env=variables, capture_output=True,
                          text=True, check=False)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def run_tests(folder, *arguments):
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


def test_the_example_of_a_block_passes_its_test(tree):
    code, output = run_tests(tree, "tests/verif/blocks/test_peak.py")
    assert code == 0, output
    assert "2 passed" in output


def test_the_example_of_a_block_fails_when_the_block_is_wrong(tree):
    path = tree / "hw" / "compute" / "peak.py"
    good = path.read_text(encoding="utf-8")
    wrong = good.replace("self.y[n] > before", "self.y[n] < before")
    assert wrong != good
    path.write_text(wrong, encoding="utf-8")
    try:
        code, output = run_tests(tree, "tests/verif/blocks/test_peak.py", "-k", "1x1")
    finally:
        path.write_text(good, encoding="utf-8")
    assert code == pytest.ExitCode.TESTS_FAILED, output
    assert "peak: item" in output


def test_the_example_of_a_command_passes_its_test(tree):
    code, output = run_tests(tree, "tests/cli/test_work.py")
    assert code == 0, output
    assert "2 passed" in output


def test_the_commands_shown_run_on_the_examples(tree):
    lines = "".join(fences("sh")).splitlines()
    assert lines
    for line in lines:
        command, *arguments = line.split()
        assert command == "kestrel"
        code, output = run(tree, "-m", "kestrel.cli.main", *arguments)
        assert code == 0, output
