"""Parts in folders and object stores: whole or not at all."""

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common import store as module
from kestrel.sw.common.store import is_url, open_store, whole_place


@pytest.fixture(params=["folder", "file", "memory"])
def place(request, tmp_path):
    if request.param != "folder":
        pytest.importorskip("fsspec")
    return {"folder": str(tmp_path / "parts"), "file": (tmp_path / "parts").as_uri(),
            "memory": f"memory://{tmp_path.name}"}[request.param]


def test_names_and_contents(place):
    store = open_store(place)
    assert (store.names(), store.read("a"), store.has("a")) == ([], None, False)
    store.write("b", b"2")
    store.write("a", b"1")
    store.write("a", b"one")
    again = open_store(whole_place(place))
    assert again.names() == ["a", "b"]
    assert (again.read("a"), again.read("b"), again.has("b")) == (b"one", b"2", True)
    again.remove(["a", "missing"])
    assert store.names() == ["b"]
    store.remove(["b"])
    assert store.names() == []


def test_an_emptied_folder_is_removed_and_one_with_other_files_stays(tmp_path):
    for place in (str(tmp_path / "one"), (tmp_path / "two").as_uri()):
        store = open_store(place)
        store.write("a", b"1")
        store.remove(["a"])
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    store = open_store(tmp_path / "mine")
    store.write("a", b"1")
    store.remove(["a"])
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_write_that_fails_leaves_nothing(place, monkeypatch):
    """The last step is the one that gives the name."""
    store = open_store(place)
    store.write("a", b"old")

    def full(*arguments, **named):
        raise OSError(28, "No space left on device", arguments[1] if len(arguments) > 1 else None)

    if isinstance(store, module.ObjectStore):
        monkeypatch.setattr(type(store._system), "pipe_file" if store._whole else "mv", full)
    else:
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputError, match=r"cannot be written.*No space left on device"):
        store.write("a", b"new")
    monkeypatch.undo()
    assert store.names() == ["a"]
    assert store.read("a") == b"old"


def test_what_a_place_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_url("s3://bucket/run")
    assert not is_url("C:/run")
    assert not is_url("parts")
    assert whole_place("parts") == str(tmp_path / "parts")
    assert whole_place("s3://bucket/run") == "s3://bucket/run"


def test_refusals(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; allowed: a folder for the parts of a run"):
        open_store(tmp_path / "file")
    with pytest.raises(InputError, match=r"nowhere://x cannot be opened \(ValueError: .*allowed: a folder"):
        open_store("nowhere://x")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="memory://x needs fsspec, which is not installed; allowed: a "):
        open_store("memory://x")
