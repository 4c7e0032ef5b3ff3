"""Folders with folders, links and other files."""

import pytest

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.pictures.decode import IMAGE_SUFFIXES
from kestrel.sw.pictures.listing import find_pictures, list_tree


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_all_folders_are_searched_and_names_are_relative(tmp_path):
    touch(tmp_path, "x.jpg", "b/x.jpg", "a/x.JPG", "a/deep/er/y.gif", ".hidden/z.jpg", "a/._x.jpg")
    assert list_tree(tmp_path).names == ("a/deep/er/y.gif", "a/x.JPG", "b/x.jpg", "x.jpg")
    assert list_tree(tmp_path).paths[0] == tmp_path / "a/deep/er/y.gif"


def test_links_are_followed_once_and_never_for_ever(tmp_path):
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    touch(place, "real/x.jpg", "z.jpg")
    touch(elsewhere, "in/y.png")
    (place / "a_link").symlink_to(place / "real")  # sorts before what it leads to
    (place / "real" / "up").symlink_to(place)
    (place / "out").symlink_to(elsewhere)
    (elsewhere / "in" / "back").symlink_to(elsewhere)
    (place / "file.jpg").symlink_to(elsewhere / "in" / "y.png")
    (place / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = list_tree(place)
    assert found.names == ("file.jpg", "out/in/y.png", "real/x.jpg", "z.jpg")
    assert found.unread == ("broken.jpg",)


def test_what_is_not_read_is_counted_and_named(tmp_path):
    touch(tmp_path, "x.jpg", "notes.txt", "b/raw.CR2", "c/raw.cr2", "manifest.csv", "README", ".x.swp")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.warns(InputWarning) as told:
        find_pictures(tmp_path)
    assert str(told[0].message) == (f"{tmp_path}: 4 files are not read: 2 .cr2, 1 .txt, 1 no suffix "
                                    "(README, b/raw.CR2, c/raw.cr2, ...)")
    (tmp_path / "README").unlink()
    assert find_pictures(tmp_path, ("*.txt", "*.cr2", "*.CR2")).names == ("x.jpg",)


def test_heic_pictures_say_what_they_need_where_it_is_missing(tmp_path, monkeypatch):
    touch(tmp_path, "x.jpg", "phone.heic")
    without = tuple(suffix for suffix in IMAGE_SUFFIXES if not suffix.startswith(".hei"))
    monkeypatch.setattr("kestrel.sw.pictures.listing.IMAGE_SUFFIXES", without)
    assert list_tree(tmp_path).unread_text == "1 files are not read: 1 .heic (with pillow-heif) (phone.heic)"


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: None, "no such folder"),
    (lambda p: p.touch(), "is not a folder"),
    (lambda p: touch(p, "a/b.txt"), "no images; allowed: at least one"),
])
def test_folders_that_are_none_are_refused(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(InputError, match=message):
        find_pictures(tmp_path / "x")
