"""``kestrel board``: what cannot be used is refused in one line, and leaves nothing behind."""

import json

import pytest

from kestrel.cli.main import run


@pytest.mark.parametrize(("command", "message"), [
    (("build", "embedded", "-o", "out", "--board", "other"),
     "board 'other' is not known; allowed: ulx3s, ulx3s-45f"),
    (("build", "embedded", "-o", "out", "--lanes", "4"), "--lanes 4; allowed: two numbers above 0"),
    (("build", "embedded", "-o", "out", "--lanes", "0x4"), "--lanes 0x4; allowed"),
    (("build", "embedded", "-o", "out", "--lanes", "3x4"), "allowed: one lane count a multiple of the other"),
    (("build", "embedded", "-o", "out", "--baud", "0"), "--baud 0; allowed: at least 1"),
    (("build", "embedded", "-o", "out", "--baud", "40000000"), "allowed: 4 to 65,536 cycles a bit"),
    (("build", "embedded", "-o", "out", "--size", "0"), "0"),
    (("build", "missing.safetensors", "-o", "out"), "missing.safetensors"),
    (("build", "embedded", "-o", "out", "--pooling", "other"), "pooling 'other'; allowed: "),
    (("simulate", "embedded", "missing.png", "--size", "32"), "missing.png"),
    (("simulate", "embedded", "random:1", "--noise", "0.5"), "0.5"),
    (("describe", "random:1", "--port", "/nowhere", "--patience", "0.1"), "port /nowhere: "),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["board", *command]) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert "Traceback" not in captured.err
    assert not captured.out
    assert list(tmp_path.iterdir()) == []


def test_an_engine_without_a_port_is_refused(capsys, tmp_path):
    assert run(["describe", "embedded", "random:1", "-o", str(tmp_path / "d.npz"), "--engine", "board"]) == 2
    assert "backend board needs its serial port" in capsys.readouterr().err


def test_build_says_what_it_takes(capsys, tmp_path):
    options = ["--size", "32", "--lanes", "2x2", "--json"]
    assert run(["board", "build", "embedded", "-o", str(tmp_path / "b"), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bitstream"] == "kestrel_ulx3s.bit"
    assert found["clock_mhz"] == 50.0
    assert found["pictures_per_second"] == pytest.approx(50e6 / found["cycles"])
    assert {resource["name"] for resource in found["resources"]} >= {"LUT4", "multipliers"}
    assert all((tmp_path / "b" / name.rpartition("/")[2]).is_file() for name in found["files"])
