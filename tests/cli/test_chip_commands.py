"""``kestrel export``, ``verilog`` and ``simulate`` as a user runs them."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import kestrel
from kestrel.cli.main import run
from kestrel.cli.options.config import chosen_config
from kestrel.export.manifest import read_manifest
from kestrel.sw.common.kinds import WAVES, file_kind
from kestrel.sw.model.compressed import load_network, same
from kestrel.sw.model.reference import Reference
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.backends import network_digest
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings, save_descriptors
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.faults.child import Disturbance, start
from kestrel.verif.simulate.engine import Simulation
from kestrel.verif.simulate.frame import SimulationError, Waves

NETWORK = "vgg16/32:conv2_1"


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    assert (
        run(
            [
                "compress",
                "random:1",
                "-o",
                str(path),
                "--network",
                NETWORK,
                "--mask-bits",
                "3*2,1*1",
                "--size",
                "16x16",
                "--json",
            ]
        )
        == 0
    )
    return path


@pytest.fixture
def folder(tmp_path, network_file, monkeypatch):
    """Where a user works: a network, a photograph, and damaged copies of both."""
    monkeypatch.chdir(tmp_path)
    data = network_file.read_bytes()
    (tmp_path / "n.safetensors").write_bytes(data)
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    Image.fromarray(generate_picture(20, 30, 1)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "bad.toml").write_text("input_lanes = [")
    (tmp_path / "odd.toml").write_text("input_lanes = 6\noutput_lanes = 4\n")
    (tmp_path / "unknown.toml").write_text("lanes = 6\n")
    (tmp_path / "base.toml").write_text('base = "huge"\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep me")
    with safe_open(tmp_path / "n.safetensors", "np") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "n.safetensors")
    tensors["0.mask"] = np.full_like(tensors["0.mask"], 3)
    save_file(tensors, tmp_path / "mask.safetensors", metadata=metadata)
    return tmp_path


def call(arguments, capsys):
    code = run(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_export_then_import_gives_the_network_back(folder, capsys):
    from kestrel.export.export import import_network

    code, out, _ = call(
        [
            "export",
            "n.safetensors",
            "-o",
            "rom",
            "--config",
            "nano",
            "--size",
            "16",
            "--json",
        ],
        capsys,
    )
    assert code == 0
    found = json.loads(out)
    assert {"files", "rom_bits", "overhead"} <= found.keys()
    assert all((folder / name).is_file() for name in found["files"])
    assert same(import_network(folder / "rom"), load_network("n.safetensors"))


def test_verilog_lists_every_file_it_writes(folder, capsys):
    code, out, _ = call(
        ["verilog", "-o", "rtl", "--config", "nano", "--set", "activation_bits=5", "--json"], capsys
    )
    assert code == 0
    found = json.loads(out)
    assert found["config"]["activation_bits"] == 5
    listed = (folder / "rtl" / "files.f").read_text().split()
    assert [name.removeprefix("rtl/") for name in found["files"]] == listed
    assert all((folder / "rtl" / name).stat().st_size for name in listed)
    assert listed[-1] == "kestrel_engine.v"


def test_simulate_compares_every_element_of_every_layer(folder, capsys):
    code, out, _ = call(
        [
            "simulate",
            "n.safetensors",
            "a.png",
            "random:7",
            "--config",
            "nano",
            "--size",
            "13x18",
            "--json",
        ],
        capsys,
    )
    assert code == 0
    found = json.loads(out)
    promised = {
        "bit_exact",
        "values_compared",
        "mismatches",
        "cycles",
        "model_cycles",
        "mac_utilisation",
        "layers",
        "build_seconds",
        "sim_seconds",
    }
    assert promised <= found.keys()
    assert found["bit_exact"] is True
    assert found["cycles"] == found["model_cycles"]
    maps = [2 * 13 * 18, 2 * 6 * 9, 4 * 6 * 9]
    assert [layer["values_compared"] for layer in found["layers"]] == [2 * count for count in maps]
    assert found["values_compared"] == 2 * (sum(maps) + maps[-1])
    for layer in found["layers"]:
        assert {"name", "cycles", "utilisation"} <= layer.keys()


def test_pauses_change_the_cycles_and_nothing_else(folder, capsys):
    common = [
        "simulate",
        "n.safetensors",
        "a.png",
        "--config",
        "nano",
        "--size",
        "12",
        "--json",
    ]
    _, out, _ = call(common, capsys)
    code, paused, _ = call([*common, "--pauses", "0.5"], capsys)
    plain, paused = json.loads(out), json.loads(paused)
    assert code == 0
    assert paused["bit_exact"] is True
    assert paused["cycles"] > plain["cycles"]


def test_waves_are_written(folder, capsys):
    code, _, _ = call(
        [
            "simulate",
            "n.safetensors",
            "random:1",
            "--config",
            "nano",
            "--size",
            "8",
            "--waves",
            "w.fst",
            "--waves-from",
            "100",
            "--waves-cycles",
            "50",
            "--json",
        ],
        capsys,
    )
    assert code == 0
    assert (folder / "w.fst").stat().st_size > 1000
    assert file_kind(folder / "w.fst") == WAVES
    lines = (folder / "w.gtkw").read_text().splitlines()
    shown = [line for line in lines if line.startswith("TOP.kestrel_engine")]
    assert len(shown) > 30
    assert "TOP.kestrel_engine.core.window_window[143:0]" in shown
    commands = (folder / "w.sucl").read_text().splitlines()
    assert [line.partition("[")[0] for line in shown] == [
        line.removeprefix("variable_add ") for line in commands if line.startswith("variable_add ")
    ]


def test_waves_end_before_they_are_too_large(folder, capsys):
    """20,000 cycles of this frame would be megabytes."""
    for limit in (300_000, 600_000):
        waves = Waves(folder / f"{limit}.fst", cycles=20_000, bytes=limit)
        kestrel.simulate("n.safetensors", "random:1", "nano", 32, waves=waves)
        assert 0.4 * limit < waves.file.stat().st_size <= 1.1 * limit


@pytest.mark.parametrize(
    ("failure", "kept"), [(KeyboardInterrupt(), False), (SimulationError("x"), True)], ids=["stop", "error"]
)
def test_waves_appear_whole_or_not_at_all(failure, kept, folder, monkeypatch):
    """Those of a frame that the engine did not complete are kept, as they tell why."""
    (folder / "i.fst").write_bytes(b"before")
    whole = Simulation.run

    def fail(self, *arguments, **options):
        whole(self, *arguments, **options)
        assert (folder / "i.fst").read_bytes() == b"before"
        raise failure

    monkeypatch.setattr(Simulation, "run", fail)
    with pytest.raises(type(failure)):
        kestrel.simulate("n.safetensors", "random:1", "nano", 16, waves=Waves(folder / "i.fst", cycles=50))
    assert file_kind(folder / "i.fst") == (WAVES if kept else "a text file")
    assert not list(folder.glob(".i.*"))


def test_waves_that_find_no_room_are_refused_in_one_line(folder, capsys):
    arguments = [*SIMULATE, "--waves", "f.fst"]
    ending = start(run, arguments, folder, folder / "notes", Disturbance(file_size=3000)).wait(100)
    assert ending.code == 2
    assert "the simulation cannot write its files (File too large)" in ending.message
    assert not (folder / "f.fst").exists()


def test_waves_of_a_chip(folder, capsys):
    (folder / "w.gtkw").write_text("changed by hand")
    code, _, _ = call([*SIMULATE, "--top", "chip", "--waves", "w.fst", "--json"], capsys)
    assert code == 0
    assert file_kind(folder / "w.fst") == WAVES
    assert "variable_add TOP.kestrel_top.core.write_data" in (folder / "w.sucl").read_text()
    assert (folder / "w.gtkw").read_text() == "changed by hand"


def test_a_mismatch_is_told_and_gives_exit_code_1(folder, capsys, monkeypatch):
    """The simulated ROM holds another network than the reference computes."""
    import kestrel.verif.simulate.frame

    whole = kestrel.verif.simulate.frame.encode_weights

    def flipped(network, config):
        image = whole(network, config)
        data = bytearray(image.words.data)
        data[1] ^= 0x40
        return type(image)(type(image.words)(image.words.word_bits, bytes(data)), image.layers)

    monkeypatch.setattr(kestrel.verif.simulate.frame, "encode_weights", flipped)
    code, out, _ = call(
        [
            "simulate",
            "n.safetensors",
            "random:1",
            "--config",
            "nano",
            "--size",
            "16",
            "--json",
        ],
        capsys,
    )
    found = json.loads(out)
    assert code == 1
    assert found["bit_exact"] is False
    assert found["mismatches"] > 0
    assert found["layers"][0]["mismatches"] > 0


EXPORT = ["export", "n.safetensors", "-o", "out", "--config", "nano", "--size", "16"]
VERILOG = ["verilog", "-o", "out", "--config", "nano"]
SIMULATE = ["simulate", "n.safetensors", "a.png", "--config", "nano", "--size", "16"]


def changed(command, **options):
    """The command with some of its words replaced: by position (p1=...) or by option name."""
    words = list(command)
    for name, value in options.items():
        if name.startswith("p"):
            words[int(name[1:])] = value
        else:
            words[words.index(f"--{name}") + 1] = value
    return words


BAD = {
    "export: no such network": (changed(EXPORT, p1="none.safetensors"), "none.safetensors"),
    "export: truncated network": (changed(EXPORT, p1="cut.safetensors"), "cut.safetensors"),
    "export: not a network": (changed(EXPORT, p1="a.png"), "a.png"),
    "export: mask value without a code": (changed(EXPORT, p1="mask.safetensors"), "mask.safetensors"),
    "export: unknown configuration": (changed(EXPORT, config="giga"), "'giga'"),
    "export: missing TOML": (changed(EXPORT, config="none.toml"), "none.toml"),
    "export: broken TOML": (changed(EXPORT, config="bad.toml"), "bad.toml"),
    "export: impossible lanes": (changed(EXPORT, config="odd.toml"), "6 x 4 lanes"),
    "export: unknown field": (changed(EXPORT, config="unknown.toml"), "'lanes'"),
    "export: unknown base": (changed(EXPORT, config="base.toml"), "'huge'"),
    "export: image too wide": (changed(EXPORT, size="16x129"), "1..128"),
    "export: image of no height": (changed(EXPORT, size="0x16"), "size '0x16'; allowed: N or HEIGHTxWIDTH"),
    "export: pooled to nothing": (changed(EXPORT, size="1x16"), "conv1_2 would pool"),
    "export: not a number": (changed(EXPORT, size="tall"), "tall"),
    "export: ROM too small": ([*EXPORT, "--set", "weight_words=4"], "words of weight ROM"),
    "export: table too small": ([*EXPORT, "--set", "table_words=32"], "table_words = 32"),
    "export: features too small": ([*EXPORT, "--set", "feature_words=8,8"], "feature part"),
    "export: strip too long": (
        [*EXPORT, "--set", "partial_depth=16", "--set", "max_width=16"],
        "partial sums",
    ),
    "export: too few activation bits": ([*EXPORT, "--set", "activation_bits=5"], "8 activation bits"),
    "export: a folder of somebody else": (changed(EXPORT, p3="other"), "other"),
    "export: no folder for it": (changed(EXPORT, p3="none/out"), "none"),
    "export: nothing to write": (EXPORT[:2], "nothing to write; allowed: -o FOLDER, --onnx FILE or --float"),
    "export: ONNX of another suffix": ([*EXPORT, "--onnx", "n.pb"], "suffix '.pb'; allowed: .onnx"),
    "export: floats of another suffix": ([*EXPORT, "--float", "n.pth"], "allowed: .safetensors, .onnx"),
    "export: no folder for the model": ([*EXPORT, "--onnx", "none/n.onnx"], "none"),
    "export: a model, but no ROM": ([*EXPORT, "--onnx", "n.onnx", "--set", "weight_words=4"], "weight ROM"),
    "export: descriptor without a ROM": (
        [*EXPORT[:2], "--onnx", "n.onnx", "--descriptor", "d.npz"],
        "--descriptor has no effect without --output; allowed: with --output",
    ),
    "verilog: value out of range": ([*VERILOG, "--set", "activation_bits=9"], "allowed: 4..8"),
    "verilog: lanes out of range": ([*VERILOG, "--set", "input_lanes=0"], "allowed: 1..128"),
    "verilog: kernels do not divide": (
        [*VERILOG, "--set", "input_lanes=3", "--set", "output_lanes=3", "--set", "load_kernels=2"],
        "a divisor of input_lanes",
    ),
    "verilog: unknown setting": ([*VERILOG, "--set", "speed=9"], "unknown field 'speed'"),
    "verilog: setting without value": ([*VERILOG, "--set", "input_lanes"], "a whole number"),
    "verilog: a file in the way": (changed(VERILOG, p2="a.png"), "a.png"),
    "simulate: no such image": (changed(SIMULATE, p2="none.png"), "none.png"),
    "simulate: truncated image": (changed(SIMULATE, p2="cut.png"), "cut.png"),
    "simulate: not an image": (changed(SIMULATE, p2="text.jpg"), "text.jpg"),
    "simulate: a folder as image": (changed(SIMULATE, p2="other"), "other"),
    "simulate: truncated network": (changed(SIMULATE, p1="cut.safetensors"), "cut.safetensors"),
    "simulate: waves of another kind": ([*SIMULATE, "--waves", "w.vcd"], "allowed: .fst"),
    "simulate: pauses out of range": ([*SIMULATE, "--pauses", "2"], "pauses"),
    "simulate: unknown option": ([*SIMULATE, "--speed"], "--speed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(kind, folder, capsys):
    arguments, text = BAD[kind]
    before = sorted(folder.rglob("*"))
    code, out, err = call(arguments, capsys)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("kestrel: error: ")
    assert text in err
    assert sorted(folder.rglob("*")) == before


def test_settings_reach_the_configuration():
    config = chosen_config("nano", ["activation_bits=5", "feature_words=100,200"])
    assert (config.activation_bits, config.feature_words) == (5, (100, 200))


def test_a_second_build_of_a_configuration_comes_from_the_cache():
    config = chosen_config("nano", None)
    build_engine(config)
    assert build_engine(config).hit


# --------------------------------------------------------------------------------------------------------
# export --onnx, --float
# --------------------------------------------------------------------------------------------------------


def test_export_for_other_programs(folder, capsys):
    from kestrel.sw.compress.dequantise import dequantise
    from kestrel.sw.model.network import parse_network
    from kestrel.sw.model.storage.load import load_weights

    files = ["--onnx", "i.onnx", "--float", "w.safetensors"]
    assert run(["export", "n.safetensors", *files, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["onnx"], report["float"]) == ("i.onnx", "w.safetensors")
    assert not Path("out").exists()
    assert run([*EXPORT, "--float", "w.onnx"]) == 0
    assert "written: w.onnx" in " ".join(capsys.readouterr().out.split())
    network = load_network("n.safetensors")
    wanted = dequantise(network)
    for name in ("w.safetensors", "w.onnx"):
        floats = load_weights(name, parse_network(network.name))
        for found, expected in zip(floats.weights, wanted.weights, strict=True):
            np.testing.assert_array_equal(found, expected)
    x = np.random.default_rng(1).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    session = onnxruntime.InferenceSession("i.onnx", providers=["CPUExecutionProvider"])
    expected = Reference(network).last(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(session.run(None, {"image": x})[0], expected)


# --------------------------------------------------------------------------------------------------------
# export --descriptor
# --------------------------------------------------------------------------------------------------------


def test_export_with_a_descriptor(folder, capsys):
    from kestrel.export.export import import_descriptor

    network = load_network("n.safetensors")
    channels = network.layers[-1].shape.out_channels
    settings = DescriptorSettings(
        network_digest(network), "integer", 16, 16, network.preprocessing, "whole", NipSettings().text, 1, ""
    )
    vectors = np.eye(channels, dtype=np.float32)
    descriptors = Descriptors(settings, tuple(map(str, range(channels))), vectors)
    save_descriptors(descriptors, "train.npz")
    assert run([*EXPORT, "--descriptor", "train.npz", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    entry = read_manifest(Path("out")).descriptor
    assert entry is not None
    found = import_descriptor(Path("out"))
    assert found is not None
    assert (found.channels, found.whitening) == (channels, None)
    assert report["descriptor_words"] == entry.words
    for arguments, message in (
        ([*EXPORT, "--descriptor", "train.npz", "--threshold", "mode"], "'mode'; allowed: median, mean"),
        ([*EXPORT, "--whitening", "w.safetensors"], "allowed: with --descriptor"),
        ([*changed(EXPORT, size="32x16"), "--descriptor", "train.npz"], "height is 16; allowed: 32"),
    ):
        code, _, error = call(arguments, capsys)
        assert code == 2
        assert message in " ".join(error.split())
