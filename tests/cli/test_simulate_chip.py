"""``kestrel simulate --top chip`` and ``kestrel verilog --top chip``; the chip's Verilog is clean."""

import json
from importlib import resources
from pathlib import Path

import pytest

from kestrel.cli.main import run
from kestrel.hw.emit.integration import WRAPPER, wrapper
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
    wrapped = wrapper(chip)
    (tmp_path / wrapped.name).write_text(wrapped.text)
    lint([*sources, tmp_path / wrapped.name], WRAPPER, WAIVERS)


def test_verilog_of_the_chip(tmp_path, capsys):
    folder = tmp_path / "rtl"
    assert run(["verilog", "--config", "nano", "--top", "chip", "-o", str(folder), "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["top"] == CHIP_TOP
    names = (folder / "files.f").read_text().split()
    assert names[-1] == f"{CHIP_TOP}.v"
    for name in (*names, "kestrel_axi.v", "kestrel.core", "kestrel.sdc", "synth.ys"):
        assert (folder / name).is_file(), name
    core, script = (folder / "kestrel.core").read_text(), (folder / "synth.ys").read_text()
    assert core.startswith("CAPI=2:\n")
    for name in names:
        assert f"- {name}\n" in core
        assert f" {name}\n" in script


@pytest.mark.parametrize("option", ["--descriptor", "--startup-check"])
def test_options_of_the_chip_are_refused_for_the_engine(option, tmp_path, capsys):
    assert run(["verilog", "--config", "nano", option, "-o", str(tmp_path / "rtl")]) == 2
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


def test_a_pooling_needs_the_chip(network_file, capsys):
    assert run(["simulate", str(network_file), "random:1", "--pooling", "nip"]) == 2
    assert "allowed: with --top chip" in capsys.readouterr().err
