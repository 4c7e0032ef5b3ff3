import os

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build.cache import cache_root, cached, key_of


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KESTREL_CACHE", str(tmp_path / "cache"))


def test_a_key_depends_on_every_part_and_on_where_it_ends():
    keys = {key_of(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""])}
    assert len(keys) == 5


def test_an_entry_is_built_once():
    built = []

    def build(folder):
        built.append(folder)
        (folder / "result").write_text("x")

    first = cached("thing", ["1"], build)
    second = cached("thing", ["1"], build)
    other = cached("thing", ["2"], build)
    assert (first.hit, second.hit, other.hit) == (False, True, False)
    assert first.path == second.path != other.path
    assert (second.path / "result").read_text() == "x"
    assert len(built) == 2


def test_a_failed_build_leaves_nothing_and_can_be_tried_again():
    def fail(folder):
        (folder / "half").write_text("")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached("thing", [], fail)
    assert [entry.name for entry in cache_root().iterdir() if not entry.name.endswith(".lock")] == []
    assert not cached("thing", [], lambda folder: None).hit


def test_an_impossible_place_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KESTREL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"build cache .* cannot be created .*KESTREL_CACHE"):
        cache_root()


def test_an_installed_package_uses_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("KESTREL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache_root() == tmp_path / "home" / "kestrel"
