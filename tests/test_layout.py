"""The rules by which the rooms may use each other, and a few that keep the source plain."""

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("hw", "sw", "export", "verif", "kestrel")
LINKED = FOLDERS[:-1]
"""Folders that are importable through their links in ``kestrel/`` only."""

MAY_IMPORT = {
    "hw": {"kestrel.hw"},
    "sw": {"kestrel.sw", "kestrel.hw.spec"},
    "export": {"kestrel.export", "kestrel.sw", "kestrel.hw.spec"},
    "verif": {"kestrel.verif", "kestrel.export", "kestrel.sw", "kestrel.hw"},
    "kestrel": {"kestrel"},
}
"""``kestrel`` alone is there for the package's own files: the public names, api, cli and examples."""

BELOW = {"kestrel.hw", "kestrel.sw", "kestrel.export", "kestrel.verif"}
LAYERS = {"kestrel.cli": {"kestrel.cli", "kestrel.api", *BELOW}, "kestrel.api": {"kestrel.api", *BELOW}}
"""What the package's own rooms may import: the command line the Python API, and not the other way."""
ROOM_SIZE = 15
"""More modules than this in one folder hide what it is for."""

SOURCES = [
    path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))
    if folder != "kestrel" or path.relative_to(ROOT).parts[1] not in LINKED
]  # fmt: skip
ALL = SOURCES + [path for folder in ("tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]


def label(path):
    return str(path.relative_to(ROOT))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "kestrel" else ("kestrel", *parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


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
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def allowed(module, permitted):
    return any(module == name or module.startswith(f"{name}.") for name in permitted)


def room(module):
    """The folder of a module of ours, as a dotted name: ``kestrel.hw.compute``."""
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(FOLDERS)


def test_the_package_links_to_the_folders():
    for folder in LINKED:
        link = ROOT / "kestrel" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..", folder)


def test_types_are_checked_behind_the_links():
    """pyright follows no link that it is not told of: left out, a folder would pass unseen."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pyright"]
    wanted = {"kestrel", "tests", "bench", *(f"kestrel/{folder}" for folder in LINKED)}
    assert wanted <= set(settings["include"])


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_folders_import_only_what_they_may(path):
    permitted = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for module in imported(path):
        if module.partition(".")[0] == "kestrel":
            assert allowed(module, permitted), f"{label(path)} imports {module}; allowed: {sorted(permitted)}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_command_line_stands_on_the_api_and_nothing_on_both(name):
    layer = next((layer for layer in LAYERS if allowed(name, {layer})), None)
    if layer is None:
        return
    for module in imported(MODULES[name]):
        if module.partition(".")[0] == "kestrel":
            permitted = sorted(LAYERS[layer])
            assert allowed(module, permitted), f"{name} imports {module}; allowed: {permitted}"


def test_rooms_import_each_other_one_way():
    uses: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for module in imported(path):
            if module in MODULES and room(module) != room(name):
                uses.setdefault(room(name), set()).add(room(module))
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("folder", sorted({path.parent for path in SOURCES}), ids=label)
def test_no_room_is_crowded(folder):
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= ROOM_SIZE, f"{label(folder)}: {len(modules)} modules; allowed: {ROOM_SIZE}"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_file_does_not_repeat_the_name_of_its_room(path):
    assert path.parent == ROOT or not path.stem.startswith(f"{path.parent.name}_"), label(path)


@pytest.mark.parametrize("path", ALL, ids=label)
def test_nothing_imports_the_tests_or_edits_the_search_path_or_imports_stars(path):
    for module in imported(path):
        first = module.partition(".")[0]
        assert first != "tests", f"{label(path)} imports {module}"
        assert first not in LINKED, f"{label(path)} imports {module}; its name is kestrel.{module}"
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
        assert package != "kestrel" or allowed(module, {"kestrel.hw.spec"}), f"{label(path)} imports {module}"
