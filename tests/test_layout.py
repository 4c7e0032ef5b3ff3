"""The rules by which the packages may use each other, and a few that keep the source plain."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hw", "sw", "export", "verif")

MAY_IMPORT = {
    "hw": {"hw"},
    "sw": {"sw", "hw.spec"},
    "export": {"export", "sw", "hw.spec"},
    "verif": {"verif", "export", "sw", "hw"},
}
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ALL = SOURCES + [path for folder in ("tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]


def label(path):
    return str(path.relative_to(ROOT))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path):
    """Every module that a file imports, ``a.b`` for ``from a import b`` where that is a module of ours."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{label(path)}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = ROOT / Path(*node.module.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def allowed(module, permitted):
    return any(module == name or module.startswith(f"{name}.") for name in permitted)


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_packages_import_only_what_they_may(path):
    permitted = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for module in imported(path):
        if module.partition(".")[0] in PACKAGES:
            assert allowed(module, permitted), f"{label(path)} imports {module}; allowed: {sorted(permitted)}"


@pytest.mark.parametrize("path", ALL, ids=label)
def test_nothing_imports_the_tests_or_edits_the_search_path_or_imports_stars(path):
    for module in imported(path):
        assert module.partition(".")[0] != "tests", f"{label(path)} imports {module}"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{label(path)}:{node.lineno}: star import"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path"), f"{label(path)}:{node.lineno}: sys.path"


@pytest.mark.parametrize("path", sorted((ROOT / "hw").rglob("*.py")), ids=label)
def test_the_hardware_keeps_annotations_as_objects(path):
    # Amaranth reads a component's ports from its annotations, which must not be text.
    for node in ast.walk(parse(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.module == "__future__"), label(path)


@pytest.mark.parametrize("path", sorted((ROOT / "hw" / "spec").rglob("*.py")), ids=label)
def test_the_format_is_plain_python_that_needs_nothing_else_of_the_hardware(path):
    for module in imported(path):
        package = module.partition(".")[0]
        assert package not in {"amaranth", "torch", "numpy"}, f"{label(path)} imports {module}"
        assert package not in PACKAGES or allowed(module, {"hw.spec"}), f"{label(path)} imports {module}"
