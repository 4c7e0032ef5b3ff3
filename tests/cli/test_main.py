import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from kestrel.cli import main

HEAVY = ("torch", "amaranth", "cocotb", "numpy")

PROBE = '''
import sys
from pathlib import Path
from typing import Annotated
import typer
from kestrel.hw.spec.errors import InputError
from kestrel.cli.output import JsonOption, emit

print_on_import = print

def probe(what: Annotated[str, typer.Argument()], file: Path = Path("x"), count: int = 1,
          json: JsonOption = False) -> None:
    """Go wrong in a chosen way.

    More text.
    """
    if what == "input":
        raise InputError("masks = 9;\\n  allowed: 1..5")
    if what == "open":
        open(file)
    if what == "internal":
        open("/no/such/internal/file")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "defect":
        raise ZeroDivisionError("a defect")
    if what == "verdict":
        raise typer.Exit(1)
    print("noise from a library")
    emit({"what": what, "count": count, "path": Path("a/b")}, lambda console: console.print(what), json)
'''


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Installs one command, ``probe``, instead of the real ones."""
    (tmp_path / "probe_command.py").write_text(PROBE)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint(name="probe", value="probe_command:probe", group="")
    monkeypatch.setattr(main, "commands", lambda: [entry])
    yield
    sys.modules.pop("probe_command", None)


def refusal(capsys, *arguments):
    """The message of a command line that must be refused: exit code 2, one line, nothing on stdout."""
    assert main.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kestrel: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("kestrel: error: ").strip()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], []])
def test_version_and_help_load_nothing_heavy(arguments):
    program = (
        "import sys\nfrom kestrel.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert "HEAVY []" in done.stderr
    assert "kestrel" in done.stdout.lower()


def test_the_installed_commands_are_the_documented_ones(capsys):
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("compress", "export", "verilog", "simulate", "list"):
        assert command in shown


def test_help_shows_the_first_line_of_a_command_without_importing_it(probe, capsys):
    assert main.run(["--help"]) == 0
    assert "Go wrong in a chosen way." in capsys.readouterr().out
    assert "probe_command" not in sys.modules


def test_help_of_a_command_shows_its_options(probe, capsys):
    assert main.run(["probe", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--count" in out
    assert "More text." in out


def test_human_output_goes_to_standard_output(probe, capsys):
    assert main.run(["probe", "fine"]) == 0
    assert capsys.readouterr().out == "noise from a library\nfine\n"


def test_json_is_all_that_reaches_standard_output(probe, capsys):
    assert main.run(["probe", "fine", "--json", "--count", "3"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"what": "fine", "count": 3, "path": "a/b"}
    assert "noise from a library" in err


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_input_errors_are_one_line_and_exit_code_2(probe, capsys, extra):
    assert refusal(capsys, "probe", "input", *extra) == "masks = 9; allowed: 1..5"


def test_usage_errors_are_one_line_and_exit_code_2(probe, capsys):
    assert "No such command 'prob'" in refusal(capsys, "prob", "x")
    assert "--bogus" in refusal(capsys, "probe", "x", "--bogus")
    assert "--bogus" in refusal(capsys, "--bogus")
    assert "Missing argument" in refusal(capsys, "probe")
    assert "--count" in refusal(capsys, "probe", "x", "--count", "many")
    assert "unexpected extra" in refusal(capsys, "probe", "x", "y")


def test_a_missing_file_of_the_command_line_is_refused(probe, capsys, tmp_path):
    missing = str(tmp_path / "missing.bin")
    assert refusal(capsys, "probe", "open", "--file", missing) == f"{missing}: No such file or directory"
    assert "No such file" in refusal(capsys, "probe", "open", f"--file={missing}")
    assert "Is a directory" in refusal(capsys, "probe", "open", "--file", str(tmp_path))


def test_a_missing_file_that_nobody_named_is_a_defect(probe):
    with pytest.raises(FileNotFoundError):
        main.run(["probe", "internal"])


def test_defects_keep_their_traceback(probe):
    with pytest.raises(ZeroDivisionError):
        main.run(["probe", "defect"])


def test_interruption_and_own_exit_codes(probe):
    assert main.run(["probe", "interrupt"]) == 130
    assert main.run(["probe", "verdict"]) == 1


def test_list_names_what_the_options_take(capsys):
    assert main.run(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [network["name"] for network in listed["networks"]] == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert [network["layers"] for network in listed["networks"]] == [8, 10, 13, 16]
    assert {"nano", "edge", "asic"} <= {config["name"] for config in listed["configurations"]}
    assert set(listed["fits"]) == {"least-squares", "output", "sequential", "vendor", "paper"}
    assert set(listed["preprocessings"]) == {"caffe", "torchvision", "none"}
    assert [protocol["name"] for protocol in listed["protocols"]] == [
        "holidays", "oxford5k", "paris6k", "roxford5k", "rparis6k", "ukbench", "groups"]
    assert listed["poolings"]["rnip9x"]["crops"] == "whole,levels:1+2"
    assert {"nip", "rnip5x", "rnip14x", "rnip3x3", "rnip18m", "rmac", "sqrt"} <= set(listed["poolings"])
    assert listed["backends"] == ["float", "reference", "rtl"]
    assert main.run(["list"]) == 0
    assert "vgg16" in capsys.readouterr().out
