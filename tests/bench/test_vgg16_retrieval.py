"""The script that trains VGG-16's deep layers, on a handful of small pictures."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.start import load_float

TINY = ["--front", "random:1", "--front-network", "vgg16/32:pool3", "--teacher", "random:2",
        "--teacher-network", "resnet_2_2_2_3/32:layer4.0", "--network", "vgg16/32", "--passes", "2", "--side",
        "64", "--whole", "96", "--deep-steps", "3", "--settle-steps", "3", "--batch", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("vgg16_retrieval")


def test_all_stages_run_and_give_the_same_weights_again(script, tmp_path, monkeypatch):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(25):  # every tenth is held out: three, among which there are similarities
        Image.fromarray(generate_picture(80, 100, n)).save(photographs / f"{n:02}.png")
    for folder in ("a", "b"):
        monkeypatch.setattr(sys, "argv", ["x", str(photographs), "-o", str(tmp_path / folder), *TINY])
        script.main()
    files = [(tmp_path / folder / "float.safetensors").read_bytes() for folder in ("a", "b")]
    assert files[0] == files[1]

    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [line["layer"] for line in lines if line["stage"] == "start"] == [
        "conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"]
    for stage in ("deep", "settled"):
        (trained,) = [line for line in lines if line["stage"] == stage and "step" in line]
        assert trained["step"] == 3
        assert {"map", "descriptor", "relation", "map_held_out", "cosine_held_out",
                "agreement_held_out"} < trained.keys()
    assert str(tmp_path) not in json.dumps(lines)

    found = load_float(str(tmp_path / "a" / "float.safetensors"), "vgg16/32", "caffe")
    given = load_float("random:1", "vgg16/32:pool3", "caffe")
    for number, weight in enumerate(given.weights):  # the first layers stay
        assert np.array_equal(found.weights[number], weight)
        assert np.array_equal(found.biases[number], given.biases[number])

    # What is there is not made again.
    before = (tmp_path / "a" / "settled.pt").stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", ["x", str(photographs), "-o", str(tmp_path / "a"), *TINY])
    script.main()
    assert (tmp_path / "a" / "settled.pt").stat().st_mtime_ns == before
    assert len((tmp_path / "a" / "log.jsonl").read_text().splitlines()) == len(lines)
