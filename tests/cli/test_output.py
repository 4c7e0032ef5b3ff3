import io
import json
import re
import sys
import time

import numpy as np
import pytest

from kestrel.cli import output


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
