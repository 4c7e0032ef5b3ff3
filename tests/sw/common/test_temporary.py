"""What killed processes leave, and who removes it."""

import os
import signal
import subprocess
import sys

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common import files
from kestrel.sw.common.files import (
    LISTING,
    atomic_directory,
    atomic_write,
    check_output_directory,
    claim_directory,
)
from kestrel.sw.common.origin import ORIGIN, Origin
from kestrel.sw.common.temporary import abandoned, beside, exchange

RUN = Origin("an export", {"size": [4, 6]})


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def killed_while_writing(path, *, folder=False):
    """Another process is killed while it writes ``path``."""
    how = "atomic_directory(path, Origin('an export', {'size': [4, 6]}))" if folder else "atomic_write(path)"
    part = "(temporary / 'a')" if folder else "temporary"
    code = (
        "import os, pathlib, signal, sys\n"
        "from kestrel.sw.common.files import atomic_directory, atomic_write\n"
        "from kestrel.sw.common.origin import Origin\n"
        f"path = pathlib.Path(sys.argv[1])\nwith {how} as temporary:\n"
        f"    {part}.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("folder", [False, True])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path, folder):
    target = tmp_path / "net.npz"
    killed_while_writing(target, folder=folder)
    (left,) = names(tmp_path)
    assert abandoned(left)
    if folder:
        with atomic_directory(target, RUN) as temporary:
            (temporary / "a").write_text("whole")
    else:
        with atomic_write(target) as temporary:
            temporary.write_text("whole")
    assert names(tmp_path) == ["net.npz"]


def test_what_a_living_process_writes_stays(tmp_path):
    first = beside(tmp_path / "net.npz")
    first.write_text("being written")
    assert not abandoned(first.name)
    second = beside(tmp_path / "net.npz")
    assert second != first
    assert names(tmp_path) == [first.name]


def test_another_machines_files_and_others_names_stay(tmp_path):
    for name in (".net.00000000-99999999-00000000.npz", ".net.npz", "net.tmp", ".net.abc.npz"):
        (tmp_path / name).write_text("")
    before = names(tmp_path)
    beside(tmp_path / "net.npz")
    assert names(tmp_path) == before


def test_a_folder_with_what_a_killed_run_left_is_still_an_output(tmp_path):
    """Else the same command could never be given again."""
    target = tmp_path / "report"
    with atomic_directory(target, RUN) as temporary:
        (temporary / "page.html").write_text("")
    killed_while_writing(target / "page.html")
    assert len(names(target)) == 4
    check_output_directory(target, RUN)
    with atomic_write(target / "page.html") as temporary:
        temporary.write_text("new")
    assert names(target) == [LISTING, ORIGIN, "page.html"]


def test_a_folder_that_was_only_claimed_is_nobodys(tmp_path):
    """A run that is killed between its listing and its origin leaves the one without the other."""
    target = tmp_path / "report"
    claim_directory(target, RUN, ("page",))
    (target / ORIGIN).unlink()
    other = Origin("a report", {"seed": 2})
    claim_directory(target, other, ("page",))
    assert other.difference(target) is None
    (target / "page").write_text("")
    (target / ORIGIN).unlink()
    with pytest.raises(InputError, match="does not say what made it"):
        claim_directory(target, other, ("page",))


def test_two_folders_change_places(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["b"], ["a"])
    assert not exchange(tmp_path / "a", tmp_path / "missing")


def test_without_the_exchange_a_folder_is_replaced_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    for content in ("first", "second"):
        with atomic_directory(tmp_path / "rom", RUN) as temporary:
            (temporary / content).write_text("")
    assert names(tmp_path / "rom") == sorted([LISTING, ORIGIN, "second"])
    assert names(tmp_path) == ["rom"]


def test_a_message_is_one_line_of_bearable_length():
    text = str(InputError(f"name.toml: field 'a\nb\0{'9' * 9000}'; allowed: others"))
    assert text.startswith("name.toml: field 'a b\\x00999")
    assert text.endswith("999'; allowed: others")
    assert "[...]" in text
    assert len(text) <= 1200
    assert str(InputError(text)) == text
    assert str(InputError(os.fsdecode(b"\xff.png"))) == os.fsdecode(b"\xff.png")
