import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from kestrel.cli import main
from kestrel.sw.model.network import parse_network

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
    assert {network["name"]: network["layers"] for network in listed["networks"]} == {
        "vgg11": 8, "vgg13": 10, "vgg16": 13, "vgg19": 16, "resnet18": 17, "resnet34": 33, "resnet": None,
        "shared_resnet": 40, "repvgg_a0": 22, "repvgg_b0": 28}
    for network in listed["networks"]:
        assert network["residual"] != network["name"].startswith("vgg")
        for cut in network["cuts"]:
            assert parse_network(f"{network['name']}:{cut}").layers
    cuts = {network["name"]: network["cuts"] for network in listed["networks"]}
    assert cuts["resnet18"] == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert cuts["vgg11"][-2:] == ["pool4", "pool5"]
    assert {"nano", "edge", "asic"} <= {config["name"] for config in listed["configurations"]}
    assert set(listed["fits"]) == {"least-squares", "output", "sequential", "vendor", "paper"}
    assert set(listed["preprocessings"]) == {"caffe", "torchvision", "none"}
    assert [protocol["name"] for protocol in listed["protocols"]] == [
        "holidays", "oxford5k", "paris6k", "roxford5k", "rparis6k", "ukbench", "groups"]
    assert listed["poolings"]["rnip9x"]["crops"] == "whole,levels:1+2"
    assert {"nip", "rnip5x", "rnip14x", "rnip3x3", "rnip18m", "rmac", "sqrt"} <= set(listed["poolings"])
    assert listed["backends"] == ["board", "float", "reference", "rtl"]
    assert main.run(["list"]) == 0
    out = capsys.readouterr().out
    for text in ("vgg16", "layer1.0 ... layer4.1", "a block, as layer4.0", "residual = true only: resnet18"):
        assert text in out


def test_list_shows_the_layers_of_a_network(capsys, tmp_path):
    """Strides, sources, shortcuts and sharing, of a name and of a file alike."""
    name = "shared_resnet/16:layer2.1"
    assert main.run(["list", "--network", name, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    layers = {layer["name"]: layer for layer in listed["layers"]}
    assert listed["blocks"]
    assert (layers["conv1"]["source"], layers["conv1"]["pool"]) == ("image", 3)
    assert layers["layer1_1_conv2"]["shares"] == "layer1_0_conv2"
    shortcuts = {name: layer["shortcut"] for name, layer in layers.items()}
    assert shortcuts["layer1_1_conv2"] == {"source": "layer1_0_conv2", "projection": False, "stride": 1}
    assert layers["layer2_down"]["stride"] == 2
    assert shortcuts["layer2_0_conv2"] == {"source": "layer2_down", "projection": False, "stride": 1}
    assert listed["weights"] == sum(layer["weights"] for layer in listed["layers"])
    file = tmp_path / "n.safetensors"
    assert main.run(["compress", "random:1", "-o", str(file), "--network", name, "--size", "32",
                     "--mask-bits", "3,2*2,1*3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [x["weights"] for x in report["layers"]] == [x["weights"] for x in listed["layers"]]
    assert main.run(["list", "--network", str(file), "--json"]) == 0
    compressed = json.loads(capsys.readouterr().out)
    assert [layer.pop("mask_bits") for layer in compressed["layers"]] == [3, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert {layer.pop("scalar_bits") for layer in compressed["layers"]} == {8}
    assert compressed.pop("weight_bits") == report["bits_per_weight"] * listed["weights"]
    assert compressed.pop("bits_per_weight") == report["bits_per_weight"]
    assert compressed == listed
    assert main.run(["list", "--network", str(file)]) == 0
    out = capsys.readouterr().out
    for text in ("layer1_1_conv2", "3x3/2", "4 to 8", "read in blocks", "bits", "10 layers"):
        assert text in out
    assert main.run(["list", "--network", "resnet18/16:layer2.0"]) == 0
    assert "4, 1x1/2" in capsys.readouterr().out  # the projection, from the fourth layer
    assert main.run(["list", "--network", "embedded"]) == 0
    assert "read in blocks" not in capsys.readouterr().out


@pytest.mark.parametrize(("network", "message"), [
    ("vgg12", "network 'vgg12' is not known; allowed: vgg11, "),
    ("resnet", "the blocks of resnet are counted in a file of weights"),
    ("no.safetensors", "no.safetensors: no such file"),
])
def test_list_refuses_what_is_no_network(capsys, network, message):
    assert main.run(["list", "--network", network]) == 2
    assert message in capsys.readouterr().err
