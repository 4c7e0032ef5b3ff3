"""``kestrel compress`` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.export.exchange.float_onnx import float_model
from kestrel.export.exchange.model_file import write_model
from kestrel.sw.model.compressed import load_network, same
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import generate_picture

SMALL = ["--network", "vgg16/32:pool1", "--size", "16x16"]


@pytest.fixture
def folder(tmp_path):
    """Where a user works: weights, pictures."""
    network = random_network(parse_network("vgg16/32:pool1"), 3)
    arrays = {}
    for n, weight, bias in zip((0, 2), network.weights, network.biases, strict=True):
        arrays |= {f"features.{n}.weight": weight, f"features.{n}.bias": bias}
    np.savez(tmp_path / "w.npz", **arrays)
    (tmp_path / "photos").mkdir()
    for n in range(2):
        Image.fromarray(generate_picture(20, 30, n)).save(tmp_path / "photos" / f"{n}.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_json_is_one_object_with_the_promised_keys(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    code = run(["compress", "w.npz", "-o", "n.safetensors", *SMALL, "--mask-bits", "3*1,1*1", "--fit",
                "least-squares", "--activation-bits", "5", "--preprocessing", "caffe", "--calibrate",
                "photos", "--percentile", "99.9", "--json"])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert {"bytes", "bits", "ratio", "bits_per_weight", "layers"} <= found.keys()
    for layer in found["layers"]:
        assert {"name", "mask_bits", "shift", "alpha_max", "saturated"} <= layer.keys()
        assert {"sqnr_float_db", "sqnr_target_db"} <= layer.keys()
    assert found["bits"] == 3 * 2 * 35 + 2 * 2 * 17
    assert (found["calibration"], found["calibration_pictures"]) == ("photos", 2)
    network = load_network("n.safetensors")
    assert (network.name, network.activation_bits, network.preprocessing) == ("vgg16/32:pool1", 5, "caffe")
    assert [layer.mask_bits for layer in network.layers] == [3, 1]


def test_table_is_for_people(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["compress", "random:1", "-o", "n.safetensors", *SMALL]) == 0
    out = capsys.readouterr().out
    for text in ("conv1_2", "bits a weight", "generated pictures", "n.safetensors"):
        assert text in out


def test_trained_weights_without_photographs_are_remarked_on(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["compress", "w.npz", "-o", "n.safetensors", *SMALL, "--json"]) == 0
    captured = capsys.readouterr()
    assert "generated pictures" in captured.err
    assert "generated pictures" in json.loads(captured.out)["calibration"]


def test_same_command_same_file(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("a", "b"):
        assert run(["compress", "random:1", "-o", f"{name}.safetensors", *SMALL, "--json"]) == 0
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_missing_layers_are_filled_on_request_and_marked(folder, capsys, monkeypatch):
    """A longer network than the weights file holds; what fills it must say so, and must not die."""
    monkeypatch.chdir(folder)
    longer = ["--network", "vgg16/32:pool2", "--size", "32x32", "--calibrate", "photos"]
    arguments = ["compress", "w.npz", "-o", "n.safetensors", *longer, "--fill-missing", "random:7"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["untrained"] == ["conv2_1", "conv2_2"]
    assert [layer["trained"] for layer in found["layers"]] == [True, True, False, False]
    assert [layer.trained for layer in load_network("n.safetensors").layers] == [True, True, False, False]
    for layer in found["layers"]:
        assert layer["zero_outputs"] < 0.95
        assert layer["saturated_outputs"] < 0.05
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "* not trained, seeded random weights: conv2_1, conv2_2" in " ".join(out.split())


def test_where_weights_came_from_is_said(folder, capsys, monkeypatch):
    """A prefix, keys that were not used, kernels that add nothing: remarks and JSON."""
    monkeypatch.chdir(folder)
    arrays = {f"module.{key}": value for key, value in np.load("w.npz").items()}
    arrays["module.features.2.weight"] *= 0
    arrays["module.classifier.0.weight"] = np.ones((2, 2))
    np.savez("odd.npz", **arrays)
    assert run(["compress", "odd.npz", "-o", "n.safetensors", *SMALL, "--fit", "sequential", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["weights_file"]["prefix"] == "module.features."
    assert found["weights_file"]["unused"] == ["module.classifier.0.weight"]
    assert "kestrel: odd.npz: keys begin with 'module.features.'\n" in captured.err
    assert "kestrel: odd.npz: keys not used (1): module.classifier.0.weight\n" in captured.err
    assert found["warnings"] == [
        "layer conv1_2: 4 of 4 kernels add nothing (their weights are 0, or too small beside the layer's "
        "largest); 2 output channels are constant"
    ]
    assert f"kestrel: warning: {found['warnings'][0]}\n" in captured.err
    assert [layer["dead_kernels"] for layer in found["layers"]] == [0, 4]


@pytest.mark.parametrize("name", ["resnet/16:layer2.1", "shared_resnet/16:layer1.1", "repvgg_a0/16:stage1.1"])
def test_residual_networks_by_every_kind_of_file(folder, capsys, monkeypatch, name):
    """The same integers from safetensors as from ONNX, and from dequantised weights."""
    monkeypatch.chdir(folder)
    shape = parse_network(name.replace("resnet/", "resnet_1_2_1_1/") if name.startswith("resnet") else name)
    floats = random_network(shape, 3, 1 / 57)
    save_weights(floats, Path("w.safetensors"))
    write_model(float_model(floats, "torchvision"), Path("w.onnx"))
    options = ["--network", name, "--size", "40x32", "--json"]
    made = []
    for source in ("w.safetensors", "w.onnx"):
        assert run(["compress", source, "-o", "n.safetensors", *options]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["network"], report["weights_file"]["unused"]) == (shape.name, [])
        made.append(load_network("n.safetensors"))
    assert same(*made)
    assert run(["export", "n.safetensors", "--onnx", "i.onnx", "--float", "f.safetensors", "--json"]) == 0
    capsys.readouterr()
    assert run(["compress", "f.safetensors", "-o", "again.safetensors", *options]) == 0
    assert json.loads(capsys.readouterr().out)["bits"] == report["bits"]


def test_both_ratios_are_shown_where_they_differ(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["compress", "w.npz", "-o", "n.safetensors", *SMALL, "--fit", "sequential"]) == 0
    assert "against those aimed for: conv1_1 " in " ".join(capsys.readouterr().out.split())


GOOD = {
    "WEIGHTS": "w.npz", "-o": "n.safetensors", "--network": "vgg16/32:pool1", "--size": "16x16",
}
BAD = {
    "weights missing": ({"WEIGHTS": "none.npz"}, "none.npz: no such file"),
    "weights of no kind": ({"WEIGHTS": "photos/0.png"}, "0.png: none of the kinds of weights file"),
    "seed": ({"WEIGHTS": "random:one"}, "seed 'one'"),
    "network": ({"--network": "resnet50"}, "network 'resnet50' is not known"),
    "cut": ({"--network": "vgg16:pool9"}, "no layer 'pool9'"),
    "divisor": ({"--network": "vgg16/0"}, "width divisor 0"),
    "wider network": ({"--network": "vgg16/16:pool1"}, "features.0.weight (conv1_1) has shape"),
    "longer network": ({"--network": "vgg16/32"}, "--network vgg16/32:pool1"),
    "longer network, other way": ({"--network": "vgg16/32"}, "--fill-missing random:SEED"),
    "fill": ({"--fill-missing": "zeros"}, "--fill-missing 'zeros'; allowed: random:SEED"),
    "fill seed": ({"--fill-missing": "random:-1"}, "--fill-missing 'random:-1': seed '-1'"),
    "mask bits": ({"--mask-bits": "3*7"}, "describe 7 layers"),
    "mask width": ({"--mask-bits": "8"}, "'8' is not understood"),
    "fit": ({"--fit": "kmeans"}, "fit 'kmeans'"),
    "activation bits": ({"--activation-bits": "16"}, "allowed: 4..8"),
    "activation text": ({"--activation-bits": "many"}, "--activation-bits"),
    "preprocessing": ({"--preprocessing": "bgr"}, "preprocessing 'bgr'"),
    "percentile": ({"--percentile": "101"}, "percentile 101"),
    "size": ({"--size": "16by16"}, "size '16by16'; allowed: N or HEIGHTxWIDTH"),
    "size zero": ({"--size": "0x4"}, "size '0x4'; allowed: N or HEIGHTxWIDTH"),
    "size small": ({"--size": "1x16"}, "1 x 16 is too small"),
    "seed negative": ({"--seed": "-1"}, "seed -1"),
    "photographs missing": ({"--calibrate": "nowhere"}, "nowhere: no such folder"),
    "photographs a file": ({"--calibrate": "w.npz"}, "w.npz: is not a folder"),
    "no photographs": ({"--calibrate": "empty"}, "empty: no images"),
    "broken photograph": ({"--calibrate": "broken"}, "not a readable image"),
    "output suffix": ({"-o": "n.npz"}, "allowed: .safetensors"),
    "output folder": ({"-o": "photos"}, "photos"),
    "output nowhere": ({"-o": "no/n.safetensors"}, "does not exist"),
    "unknown option": ({"--bits": "3"}, "--bits"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, monkeypatch, what):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    changes, message = BAD[what]
    options = GOOD | changes
    arguments = ["compress", options.pop("WEIGHTS"), *(part for pair in options.items() for part in pair)]
    assert run([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("kestrel: error: ")
    assert captured.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_an_earlier_output_survives_a_bad_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["compress", "random:1", "-o", "n.safetensors", *SMALL, "--json"]) == 0
    content = (folder / "n.safetensors").read_bytes()
    assert run(["compress", "random:2", "-o", "n.safetensors", *SMALL, "--calibrate", "broken"]) == 2
    assert (folder / "n.safetensors").read_bytes() == content


def test_scalars_of_fewer_bits(folder, capsys, monkeypatch):
    """The report counts the tables, and so does what ``list`` says of the network."""
    monkeypatch.chdir(folder)
    command = ["compress", "w.npz", "-o", "n.safetensors", *SMALL, "--calibrate", "photos"]
    assert run([*command, "--mask-bits", "1", "--scalar-bits", "8*1,2*rest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [layer["scalar_bits"] for layer in found["layers"]] == [8, 2]
    assert found["bits"] == 3 * 2 * 17 + 2 * 2 * 11 + 4 * 8
    assert run(["list", "--network", "n.safetensors", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [layer["scalar_bits"] for layer in described["layers"]] == [8, 2]
    assert described["weight_bits"] == found["bits"]
    command = ["plan", "n.safetensors", "--config", "nano", "--size", "16"]
    assert run(command) == 2
    assert "has 2 scalar bits" in capsys.readouterr().err
    assert run([*command, "--set", "scalar_tables=true"]) == 0


@pytest.mark.parametrize("bits", ["6", "8*1", "4*rest,8"])
def test_bad_scalar_bits_are_refused_in_one_line(bits, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(["compress", "w.npz", "-o", "n.safetensors", *SMALL, "--scalar-bits", bits]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("kestrel: ")
    assert "scalar bits" in error
    assert "\n" not in error
    assert not Path("n.safetensors").exists()
