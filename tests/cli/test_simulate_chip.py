"""``kestrel simulate --top chip`` and ``kestrel verilog --top chip``; the chip's Verilog is clean."""

import json
from importlib import resources
from pathlib import Path

import pytest

from kestrel.cli.main import run
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.wrapper import wrapper
from kestrel.hw.emit.verilog import CHIP_TOP
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.verif.build.rtl import chip_sources
from kestrel.verif.build.verilator import lint

WAIVERS = Path(str(resources.files("kestrel.verif.build") / "lint.vlt"))
NANO = NAMED["nano"]


@pytest.mark.parametrize(
    "chip",
    [
        ChipConfig(NANO),
        ChipConfig(
            NANO.with_options(input_lanes=12, output_lanes=3, load_kernels=3, stream_bytes=4, row_groups=True)
        ),
        ChipConfig(NANO, DescriptorConfig(8, 256), startup_check=True),
    ],
    ids=["nano", "12x3", "with descriptors"],
)
def test_the_chip_is_clean(chip, tmp_path):
    sources = chip_sources(chip)
    lint(sources, CHIP_TOP, WAIVERS)
    wrapped = wrapper(chip, Names())
    (tmp_path / wrapped.name).write_text(wrapped.text)
    lint([*sources, tmp_path / wrapped.name], "kestrel_axi", WAIVERS)


def test_verilog_of_the_chip(tmp_path, capsys):
    folder = tmp_path / "rtl"
    assert run(["verilog", "--config", "nano", "--top", "chip", "-o", str(folder), "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["top"] == "kestrel_axi"
    names = (folder / "files.f").read_text().split()
    assert names[-2:] == [f"{CHIP_TOP}.v", "kestrel_axi.v"]
    others = {
        "kestrel.core", "kestrel_axi.sdc", "kestrel_top.sdc", "synth.ys", "kestrel.rdl", "kestrel_axi.xml",
    }  # fmt: skip
    assert {Path(name).name for name in payload["integration"]} == others
    for name in (*names, *others):
        assert (folder / name).is_file(), name
    core, script = (folder / "kestrel.core").read_text(), (folder / "synth.ys").read_text()
    assert f"name: {payload['core']}\n" in core
    for name in names:
        assert f"- {name}\n" in core
    for name in names[:-1]:
        assert f" {name}\n" in script


def test_a_prefix_for_the_engine(tmp_path, capsys):
    folder = tmp_path / "rtl"
    assert run(["verilog", "--config", "nano", "-o", str(folder), "--prefix", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top"] == "mine_engine"
    names = (folder / "files.f").read_text().split()
    assert names[-1] == "mine_engine.v"
    assert not any("kestrel_" in (folder / name).read_text() for name in names)


def test_what_does_not_fit_the_chip_is_refused(network_file, tmp_path, capsys):
    roms = tmp_path / "rom"
    settings = ["--set", "table_words=512"]
    export = ["export", str(network_file), "-o", str(roms), "--config", "nano", "--size", "8", *settings]
    assert run(export) == 0
    chip = ["verilog", "--config", "nano", "--top", "chip", "-o", str(tmp_path / "rtl"), "--roms"]
    refused = {
        "exported for table_words = 512; allowed: ": [str(roms)],
        "no descriptor ROM": [str(roms), *settings, "--descriptor"],
        "cannot be read": [str(tmp_path)],
        "prefix '1st'; allowed: ": [str(roms), *settings, "--prefix", "1st"],
    }
    for says, options in refused.items():
        assert run([*chip, *options]) == 2
        error = capsys.readouterr().err
        assert says in " ".join(error.split()), error
        assert not (tmp_path / "rtl").exists()


@pytest.mark.parametrize("option", [["--descriptor"], ["--startup-check"], ["--roms", "rom"]])
def test_options_of_the_chip_are_refused_for_the_engine(option, tmp_path, capsys):
    assert run(["verilog", "--config", "nano", *option, "-o", str(tmp_path / "rtl")]) == 2
    assert "allowed: with --top chip" in capsys.readouterr().err


SMALL = [
    "--config", "nano", "--set", "partial_depth=64", "--set", "max_width=40", "--set", "weight_words=2048",
    "--set", "table_words=512", "--top", "chip", "--size", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    command = ["compress", "random:1", "-o", str(path), "--network", "vgg16/32:conv2_1", "--mask-bits", "3"]
    assert run(command) == 0
    return path


def test_features_through_the_chip(network_file, capsys):
    capsys.readouterr()
    assert run(["simulate", str(network_file), "random:1", *SMALL, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["bit_exact"]
    assert payload["values_compared"] > 0
    assert payload["cycles"] == payload["model_cycles"]
    assert {row["result"] for row in payload["driver_calls"]} == {"ok"}


def test_descriptors_of_several_crops_through_the_chip(network_file, capsys):
    capsys.readouterr()
    command = ["simulate", str(network_file), "random:1", *SMALL, "--pooling", "rnip5x", "--json"]
    assert run(command) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["bit_exact"]
    assert payload["cycles_as_modelled"]
    for kind in ("bytes", "bits"):
        result = payload["images"][0][kind]
        assert result["found"] == result["expected"] != ""
        assert result["frames"] == 5


RESIDUAL = ["--config", "nano", "--set", "residual=true", "--size", "32"]


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    """A residual network that reads the image in blocks, and a whitening for its descriptors."""
    folder = tmp_path_factory.mktemp("residual")
    network, pictures = folder / "n.safetensors", folder / "scenes"
    for command in (
        ["compress", "random:1", "-o", network, "--network", "resnet18/32:layer2.0", "--size", "32"],
        ["scenes", "-o", pictures, "--groups", "2", "--views", "2", "--size", "48x40"],
        ["whiten", network, pictures, "-o", folder / "w.safetensors", "--mode", "after", "--size", "32",
         "--dimension", "3"],
        ["describe", network, pictures, "-o", folder / "d.npz", "--size", "32", "--whitening",
         folder / "w.safetensors"],
    ):  # fmt: skip
        assert run([str(word) for word in command]) == 0
    return folder


def test_a_residual_network_through_the_chip_to_a_whitened_descriptor(residual, capsys):
    capsys.readouterr()
    command = ["simulate", str(residual / "n.safetensors"), "random:1", *RESIDUAL, "--top", "chip",
               "--pooling", "nip", "--whitening", str(residual / "w.safetensors"), "--json"]  # fmt: skip
    assert run(command) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["bit_exact"]
    assert payload["cycles_as_modelled"]
    assert payload["dimensions"] == 3
    for kind in ("bytes", "bits"):
        result = payload["images"][0][kind]
        assert result["found"] == result["expected"] != ""


def test_a_residual_network_through_the_engine(residual, capsys):
    capsys.readouterr()
    command = ["simulate", str(residual / "n.safetensors"), "random:1", *RESIDUAL, "--json"]
    assert run(command) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["bit_exact"]
    assert payload["cycles_as_modelled"]
    assert len(payload["layers"]) == 7


def test_an_engine_of_stacks_refuses_a_residual_network(residual, tmp_path, capsys):
    network, folder = str(residual / "n.safetensors"), str(tmp_path / "out")
    settings = ["--config", "nano", "--size", "32"]
    for command in (
        ["simulate", network, "random:1", *settings, "--top", "chip", "--pooling", "nip"],
        ["export", network, "-o", folder, *settings],
        ["plan", network, *settings],
    ):
        assert run(command) == 2
        assert "allowed: --set residual=true" in " ".join(capsys.readouterr().err.split())
    command = ["describe", network, str(residual / "scenes"), "-o", f"{folder}.npz", "--size", "32",
               "--backend", "rtl", "--backend-set", "config=nano"]  # fmt: skip
    assert run(command) == 2
    assert "allowed: --backend-set residual=true" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_verilog_of_a_residual_chip_with_its_roms(residual, tmp_path, capsys):
    """The ROMs of an export, the test bench with what the chip sends, and the memories fitted."""
    network, white = str(residual / "n.safetensors"), str(residual / "w.safetensors")
    descriptors, roms, rtl = str(residual / "d.npz"), str(tmp_path / "rom"), tmp_path / "rtl"
    fit = ["verilog", "--config", "nano", "--fit", network, "--size", "32", "--top", "chip", "--descriptor",
           "--training", descriptors, "--whitening", white, "-o", str(tmp_path / "fit"),
           "--json"]  # fmt: skip
    capsys.readouterr()
    assert run(fit) == 0
    made = json.loads(capsys.readouterr().out)
    assert "residual=true" in made["settings"]
    config = ["--config", made["config_file"]]
    assert run(["export", network, "-o", roms, *config, "--size", "32", "--descriptor", descriptors,
                "--whitening", white]) == 0  # fmt: skip
    assert run(["verilog", *config, "-o", str(rtl), "--top", "chip", "--descriptor", "--roms", roms]) == 0
    assert (rtl / "kestrel_block_input.v").is_file()
    assert (rtl / "description.mem").read_text().split()
    assert "kestrel_block_input.v" in (rtl / "kestrel.core").read_text()
    lint([rtl / name for name in (rtl / "files.f").read_text().split()], "kestrel_axi", WAIVERS)


def test_a_pooling_needs_the_chip(network_file, capsys):
    assert run(["simulate", str(network_file), "random:1", "--pooling", "nip"]) == 2
    assert "allowed: with --top chip" in capsys.readouterr().err
