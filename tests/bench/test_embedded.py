"""The script that trains the embedded network, on a handful of small pictures."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.networks.floats import FloatConvs

TINY = ["--network", "vgg16/32:pool2", "--mask-bits", "3*2,1*2", "--stages", "conv1_2,conv2_2", "--steps",
        "3", "--retrain-steps", "2", "--pairs", "3", "--side", "16", "--scenes", "1", "--calibration", "2"]


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("embedded")


def test_normalisation_is_folded_into_weights_and_biases(script):
    torch.manual_seed(1)
    model = script.NormalisedNetwork(parse_network("vgg16/32:pool2"))
    pictures = torch.from_numpy(np.stack([generate_picture(24, 24, n) for n in range(4)]))
    for _ in range(3):  # running figures that are no longer 0 and 1
        model(pictures, ["conv2_2"])
    for norm in model.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    expected = model.eval()(pictures, ["conv2_2"])[0]
    folded = FloatConvs(model.fold(), find_preprocessing(script.PREPROCESSING))
    assert float(expected.detach().abs().max()) > 0
    torch.testing.assert_close(folded(pictures, [3])[3], expected, rtol=1e-4, atol=1e-4)


def test_all_stages_run_and_give_the_same_file_again(script, tmp_path, monkeypatch, capsys):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(4):
        Image.fromarray(generate_picture(40, 50, n)).save(photographs / f"{n}.png")
    for folder in ("a", "b"):
        output = ["-o", str(tmp_path / folder)]
        monkeypatch.setattr(sys, "argv", ["embedded.py", str(photographs), *output, *TINY])
        script.main()
    files = [(tmp_path / folder / "network.safetensors").read_bytes() for folder in ("a", "b")]
    assert files[0] == files[1]
    assert files[0] != (tmp_path / "a" / "start.safetensors").read_bytes()
    network = load_network(tmp_path / "a" / "network.safetensors")
    assert [layer.mask_bits for layer in network.layers] == [3, 3, 1, 1]
    found = json.loads((tmp_path / "b" / "run.json").read_text())
    assert found["float"]["steps"] == 3
    assert found["integer"]["steps"] == 2
    assert {"contrast", "features", "descriptor", "relation"} == found["integer"]["last"].keys()
    assert str(tmp_path) not in json.dumps(found)
    # What is there is not made again.
    monkeypatch.setattr(script, "train_float", None)
    monkeypatch.setattr(script, "retrain", None)
    capsys.readouterr()
    script.main()
    again = json.loads(capsys.readouterr().out)
    assert [again[key] == found[key] for key in ("sha256", "float", "integer")] == [True] * 3


def test_a_teacher_takes_part_in_float_training(script, tmp_path, monkeypatch):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(4):
        Image.fromarray(generate_picture(40, 50, n)).save(photographs / f"{n}.png")
    shape = parse_network("resnet18:layer4.0")
    save_weights(random_network(shape, 1), tmp_path / "teacher.safetensors")
    floats = []
    for folder, more in (("alone", []), ("taught", ["--teacher", str(tmp_path / "teacher.safetensors")])):
        output = ["-o", str(tmp_path / folder)]
        monkeypatch.setattr(sys, "argv", ["embedded.py", str(photographs), *output, *TINY, *more])
        script.main()
        floats.append((tmp_path / folder / "float.safetensors").read_bytes())
        found = json.loads((tmp_path / folder / "run.json").read_text())
        taught = {"map", "relation"} if more else set()
        assert found["float"]["last"].keys() == {"conv1_2", "conv2_2"} | taught
        assert found["teacher"] == ("teacher.safetensors" if more else None)
    assert floats[0] != floats[1]
