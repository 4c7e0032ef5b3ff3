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
    claim_directory,
)
from kestrel.sw.common.origin import ORIGIN, Origin

RUN = Origin("an export", {"size": [4, 6], "network": "vgg16"})


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
            check_output_directory(path, RUN)
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="may not be written"):
        check_output(tmp_path / "x")


def test_a_full_disk_is_said_in_one_line_and_other_errors_pass(tmp_path):
    target = tmp_path / "x"
    with pytest.raises(InputError, match="cannot be written: No space left on device"), atomic_write(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(InputError, match="cannot be written: the disk is full"), atomic_write(target):
        raise OSError("9 requested and 5 written")  # as NumPy says it
    with pytest.raises(FileNotFoundError), atomic_write(target):
        (tmp_path / "input that is missing").read_text()
    assert names(tmp_path) == []


def test_a_folder_appears_whole_and_replaces_an_earlier_output(tmp_path):
    target = tmp_path / "rom"
    for content in ("first", "second"):
        with atomic_directory(target, RUN) as temporary:
            (temporary / f"{content}.mem").write_text(content)
            (temporary / "sub").mkdir()
            (temporary / "sub" / "deep").write_text(content)
        assert names(target) == sorted([LISTING, ORIGIN, f"{content}.mem", "sub"])
    assert (target / "sub" / "deep").read_text() == "second"
    assert names(tmp_path) == ["rom"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "rom"
    with atomic_directory(target, RUN) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(Failed), atomic_directory(target, RUN) as temporary:
        (temporary / "b").write_text("new")
        raise Failed
    assert names(target) == [LISTING, ORIGIN, "a"]
    with pytest.raises(Failed), atomic_directory(tmp_path / "other", RUN) as temporary:
        raise Failed
    assert names(tmp_path) == ["rom"]


def test_an_empty_folder_may_be_written_and_the_users_files_never_go(tmp_path):
    target = tmp_path / "rom"
    target.mkdir()
    with atomic_directory(target, RUN) as temporary:
        (temporary / "a").write_text("")
    (target / "notes.txt").write_text("mine")
    with (pytest.raises(InputError, match=r"not an earlier output \(notes\.txt\)"),
          atomic_directory(target, RUN)):
        pytest.fail("the work was started")
    assert (target / "notes.txt").read_text() == "mine"


def test_the_current_folder_can_be_written_by_its_name(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with atomic_directory(type(here)(), RUN) as temporary:
        (temporary / "a").write_text("x")
    assert names(here) == [LISTING, ORIGIN, "a"]


def test_a_folder_of_another_run_is_replaced_only_by_force(tmp_path):
    target = tmp_path / "rom"
    others = [(Origin("Verilog", {}), "holds an export; allowed"),
              (Origin("an export", {"size": (4, 8), "network": "vgg16"}),
               r"size is \[4, 6\] there and \[4, 8\] here"),
              (Origin("an export", {"size": (4, 6)}), 'network is "vgg16" there and null here')]
    with atomic_directory(target, RUN) as temporary:
        (temporary / "a").write_text("first")
    for other, message in others:
        with pytest.raises(InputError, match=message), atomic_directory(target, other):
            pytest.fail("the work was started")
        with pytest.raises(InputError, match=message):
            claim_directory(target, other, ("a",))
    assert (target / "a").read_text() == "first"
    with atomic_directory(target, others[0][0], force=True) as temporary:
        (temporary / "b").write_text("second")
    assert names(target) == [LISTING, ORIGIN, "b"]


def test_a_damaged_origin_is_named(tmp_path):
    with atomic_directory(tmp_path / "rom", RUN) as temporary:
        (temporary / "a").write_text("")
    for damaged in ("{", "[]", '{"kind": "an export"}'):
        (tmp_path / "rom" / ORIGIN).write_text(damaged)
        with pytest.raises(InputError, match=f"{ORIGIN}: damaged"):
            check_output_directory(tmp_path / "rom", RUN)


def test_a_folder_filled_over_several_starts(tmp_path):
    """The same run goes on; another one takes it over by force, keeps what it can use, and nothing else."""
    target, other = tmp_path / "out", Origin("a report", {"seed": 2})
    claim_directory(target, RUN, ("page", "features"))
    (target / "features").mkdir()
    (target / "features" / "1.npz").write_text("")
    claim_directory(target, RUN, ("page", "features"))
    (target / "page").write_text("")
    with pytest.raises(InputError, match="out holds an export"):
        claim_directory(target, other, ("page", "features"), kept=("features",))
    assert names(target) == [LISTING, ORIGIN, "features", "page"]
    claim_directory(target, other, ("page", "features"), kept=("features",), force=True)
    assert names(target) == [LISTING, ORIGIN, "features"]
    assert names(target / "features") == ["1.npz"]
    (target / "notes").write_text("mine")
    with pytest.raises(InputError, match="notes"):
        claim_directory(target, other, ("page", "features"), force=True)
