import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from kestrel.cli import output
from kestrel.hw.spec.errors import InputWarning


def test_emit_writes_numpy_scalars_and_refuses_what_json_lacks(capsys):
    payload = {"n": np.int64(3), "x": np.float32(0.5), "ok": np.bool_(True)}
    output.emit(payload, lambda console: None, json=True)
    assert json.loads(capsys.readouterr().out) == {"n": 3, "x": 0.5, "ok": True}
    with pytest.raises(ValueError, match="JSON"):
        output.emit({"x": float("nan")}, lambda console: None, json=True)
    with pytest.raises(TypeError, match="object"):
        output.emit({"x": object()}, lambda console: None, json=True)


def test_progress_is_silent_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(output, "PROGRESS_AFTER_SECONDS", 0.0)
    with output.progress("work", 3) as advance:
        for _ in range(3):
            advance(1)
            time.sleep(0.02)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("after", "shown"), [(0.0, True), (60.0, False)])
@pytest.mark.parametrize("total", [3, None])
def test_progress_appears_on_a_terminal_only_when_it_lasts(monkeypatch, after, shown, total):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(output, "PROGRESS_AFTER_SECONDS", after)
    with output.progress("weighing kestrels", total) as advance:
        for _ in range(3):
            time.sleep(0.1)
            advance(1)
    assert ("weighing kestrels" in terminal.getvalue()) == shown


def test_progress_shows_the_rate_and_the_remaining_time_within_80_columns(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(output, "PROGRESS_AFTER_SECONDS", 0.0)
    with output.progress("describing", 100_000, rate="images/s") as advance:
        for _ in range(4):
            time.sleep(0.1)
            advance(7)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"28/100000 [0-9.]+ images/s [0-9]+:[0-9]{2}:[0-9]{2}", plain), plain


# --- any encoding, a reader that leaves, many warnings ---------------------------------------------------

KESTREL = [sys.executable, "-m", "kestrel.cli.main"]

SHOW = """
import sys
from rich.table import Table
from kestrel.cli.output import emit, print_anywhere
print_anywhere()
def human(console):
    table = Table("\\u2713 right", title="caf\\u00e9 \\u2026")
    table.add_row(sys.argv[1] + " \\u00d7 \\u4e2d")
    console.print(table)
emit({}, human, False)
"""


@pytest.mark.parametrize(("settings", "wanted"), [
    ({"PYTHONIOENCODING": "ascii"}, [b"+ right", b"caf\\xe9 .", b"\\xfc x \\u4e2d"]),
    ({"PYTHONIOENCODING": "latin-1"}, [b"+ right", b"caf\xe9 .", b"\xfc \xd7 \\u4e2d"]),
    ({"LC_ALL": "C", "PYTHONUTF8": "0"}, [b"+ right", b"caf\\xe9 .", b"\xc3\xbc x \\u4e2d"]),
    ({"PYTHONUTF8": "1"}, ["✓ right".encode(), "café …".encode(), "ü × 中".encode()]),
])
def test_tables_are_printed_whatever_the_locale(settings, wanted):
    """Signs that it lacks are replaced, file names keep their bytes."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"))}
    done = subprocess.run([sys.executable, "-c", SHOW, "ü".encode()], env=kept | settings, check=False,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    for text in wanted:
        assert text in done.stdout


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["--help"], ["list", "--help"]])
def test_a_reader_that_leaves_ends_it_quietly(arguments):
    with subprocess.Popen([*KESTREL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (128 + signal.SIGPIPE, b"")


def test_of_a_thousand_warnings_the_first_is_shown_and_the_others_counted(capsys):
    with output.input_warnings():
        for n in range(1000):
            warnings.warn(InputWarning(f"{n}.png", "taken as of 12 bits"), stacklevel=1)
        warnings.warn(InputWarning("folder", "3 files are not read"), stacklevel=1)
    assert capsys.readouterr().err == (
        "kestrel: warning: 0.png: taken as of 12 bits\n"
        "kestrel: warning: folder: 3 files are not read\n"
        "kestrel: warning: and 999 more: taken as of 12 bits\n"
    )


def test_other_warnings_stay_what_they_are():
    with pytest.warns(RuntimeWarning, match="a library's"), output.input_warnings():
        warnings.warn("a library's", RuntimeWarning, stacklevel=1)
