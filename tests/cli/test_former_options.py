"""Former names of options: they work as before, no help shows them, and nothing is given by two names."""

import json

import pytest

from kestrel.cli.former import RENAMED, SIDES, translate
from kestrel.cli.main import run
from kestrel.hw.spec.errors import InputError

OPTIONS = {"--size": "240x320", "--backend": "reference", "--backend-set": None, "-o": None}
SQUARE = {"--size": "224"}


@pytest.mark.parametrize(("options", "given", "wanted"), [
    (OPTIONS, ["a", "--size", "32", "-o", "x"], ["a", "--size", "32", "-o", "x"]),
    (OPTIONS, ["a", "--height", "32", "--width", "48", "-o", "x"], ["--size", "32x48", "a", "-o", "x"]),
    (OPTIONS, ["--height=32", "a"], ["--size", "32x320", "a"]),
    (OPTIONS, ["--width=32"], ["--size", "240x32"]),
    (SQUARE, ["--height", "8"], ["--size", "8x224"]),
    (OPTIONS, ["--engine", "rtl", "--engine-set", "a=b", "--engine-set=c=d"],
     ["--backend", "rtl", "--backend-set", "a=b", "--backend-set=c=d"]),
    (OPTIONS, ["--calibration-size", "16x24"], ["--size", "16x24"]),
    (OPTIONS, ["--", "--height", "3", "--engine"], ["--", "--height", "3", "--engine"]),
    ({"--height": 3}, ["--height", "4"], ["--height", "4"]),
    ({}, ["--engine", "x", "--width", "3"], ["--engine", "x", "--width", "3"]),
])
def test_they_become_the_present_ones_where_a_command_has_these(options, given, wanted):
    assert translate(given, options) == wanted


@pytest.mark.parametrize(("given", "message"), [
    (["--size", "32", "--height", "32"], "--height together with --size; allowed: --size HEIGHTxWIDTH alone"),
    (["--width=3", "--size=32"], "--width together with --size"),
    (["--height", "3", "--calibration-size", "16x16"], "--height together with --size"),
    (["--calibration-size", "16x16", "--size", "16"], "--calibration-size together with --size"),
    (["--engine", "rtl", "--backend", "rtl"], "--engine together with --backend, its new name"),
    (["--engine-set=a=b", "--backend-set", "c=d"], "--engine-set together with --backend-set"),
    (["--height", "tall"], "--height 'tall'; allowed: a whole number"),
    (["--height", "-3"], "--height '-3'; allowed: a whole number"),
    (["--width"], "--width ''; allowed: a whole number"),
])
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(InputError) as refused:
        translate(given, OPTIONS)
    assert message in str(refused.value)


def test_a_sub_command_takes_them(capsys, tmp_path):
    page = tmp_path / "d.html"
    assert run(["report", "design", "vgg11/8:pool1", "--config", "nano", "--height", "16", "--width", "18",
                "-o", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["designs"][0]
    assert (found["height"], found["width"]) == (16, 18)


def test_a_command_takes_them(capsys):
    common = ["plan", "vgg11/8:pool1", "--config", "nano"]
    for size in (["--height", "16", "--width", "18"], ["--size", "16x18"]):
        assert run([*common, *size, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["height"], found["width"]) == (16, 18)
    assert run([*common, "--size", "16", "--height", "16"]) == 2
    assert "--height together with --size" in capsys.readouterr().err


@pytest.mark.parametrize("command", [
    "plan", "simulate", "export", "describe", "whiten", "evaluate", "report retrieval", "report design",
    "compress", "allocate", "scenes", "shapes", "retrain", "estimate",
])
def test_help_shows_the_present_ones_alone(command, capsys):
    assert run([*command.split(), "--help"]) == 0
    words = capsys.readouterr().out.replace("│", " ").split()
    assert "--size" in words
    assert not {*SIDES, *RENAMED} & set(words)
