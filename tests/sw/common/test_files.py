import errno
import os

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import (
    LISTING,
    atomic_directory,
    atomic_write,
    check_output,
    check_output_directory,
)


class Failed(Exception):
    pass


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "net.safetensors"
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".safetensors"
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["net.safetensors"]


@pytest.mark.parametrize("exception", [Failed, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, exception):
    target = tmp_path / "net.npz"
    target.write_bytes(b"old")
    with pytest.raises(exception), atomic_write(target) as temporary:
        temporary.write_bytes(b"half of the n")
        raise exception
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["net.npz"]


def test_an_unusable_location_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path, message in (
        (tmp_path / "missing" / "x", "the folder .*missing does not exist"),
        (tmp_path / "file" / "x", "file is not a folder"),
        (tmp_path / "folder", "is a folder; a file name is needed"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(path)
        with pytest.raises(InputError, match=message), atomic_write(path):
            pytest.fail("the work was started")
    for path, message in (
        (tmp_path / "missing" / "x", "does not exist"),
        (tmp_path / "file", "is a file; a folder is needed"),
    ):
        with pytest.raises(InputError, match=message):
            check_output_directory(path)
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="may not be written"):
        check_output(tmp_path / "x")


def test_a_full_disk_is_said_in_one_line_and_other_errors_pass(tmp_path):
    target = tmp_path / "x"
    with pytest.raises(InputError, match="cannot be written: No space left on device"), atomic_write(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), atomic_write(target):
        (tmp_path / "input that is missing").read_text()
    assert names(tmp_path) == []


def test_a_folder_appears_whole_and_replaces_an_earlier_output(tmp_path):
    target = tmp_path / "rom"
    for content in ("first", "second"):
        with atomic_directory(target) as temporary:
            (temporary / f"{content}.mem").write_text(content)
            (temporary / "sub").mkdir()
            (temporary / "sub" / "deep").write_text(content)
        assert names(target) == sorted([LISTING, f"{content}.mem", "sub"])
    assert (target / "sub" / "deep").read_text() == "second"
    assert names(tmp_path) == ["rom"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "rom"
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(Failed), atomic_directory(target) as temporary:
        (temporary / "b").write_text("new")
        raise Failed
    assert names(target) == [LISTING, "a"]
    with pytest.raises(Failed), atomic_directory(tmp_path / "other") as temporary:
        raise Failed
    assert names(tmp_path) == ["rom"]


def test_an_empty_folder_may_be_written_and_the_users_files_never_go(tmp_path):
    target = tmp_path / "rom"
    target.mkdir()
    with atomic_directory(target) as temporary:
        (temporary / "a").write_text("")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not an earlier output \(notes\.txt\)"), atomic_directory(target):
        pytest.fail("the work was started")
    assert (target / "notes.txt").read_text() == "mine"


def test_the_current_folder_can_be_written_by_its_name(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with atomic_directory(type(here)()) as temporary:
        (temporary / "a").write_text("x")
    assert names(here) == [LISTING, "a"]
