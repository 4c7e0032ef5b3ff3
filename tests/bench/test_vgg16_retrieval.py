"""The script that trains VGG-16's deep layers, on a handful of small pictures."""

import json
import sys

import pytest
import torch
from PIL import Image

from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.start import load_float

TINY = ["--front", "random:1", "--front-network", "vgg16/32:pool3", "--teacher", "random:2", "--teacher-network",
        "resnet_2_2_2_3/32:layer4.0", "--network", "vgg16/32", "--passes", "1", "--side", "64", "--whole", "96",
        "--deep-steps", "2", "--all-steps", "2", "--batch", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("vgg16_retrieval")


def test_all_stages_run(script, tmp_path, monkeypatch, capsys):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(25):
        Image.fromarray(generate_picture(80, 100, n)).save(photographs / f"{n:02}.png")
    monkeypatch.setattr(sys, "argv", ["x", str(photographs), "-o", str(tmp_path / "a"), *TINY])
    script.main()
    print(capsys.readouterr().out)
