"""The bench of growth, with few pictures and descriptors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.verif.cases.random_network import random_network

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "scale.py"


def bench(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], text=True, capture_output=True,
                          check=False, timeout=600)


def test_both_parts(tmp_path, rng):
    output = tmp_path / "scale.json"
    done = bench("index", "--counts", "2000,5000", "--queries", 20, "--threads", 1, "-o", output)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(output.read_text())["index"]["counts"]
    assert (small["count"], large["count"]) == (2000, 5000)
    assert small["cells"] < large["cells"]
    for row in (small, large):
        assert row["row_bytes"] == row["count"] * 512
        assert min(row["train_seconds"], row["add_seconds"]) > 0
        few, usual, many = row["asked"]
        assert few["effort"] < usual["effort"] < many["effort"]
        assert 0.9 < many["recall_at_10"] <= 1
        assert 0.5 < many["recall_at_10_of_floats"] <= many["recall_at_10"]
        assert few["recall_at_10"] <= many["recall_at_10"] + 0.02

    pytest.importorskip("distributed")
    network = random_network(rng, parse_network("vgg16/32:pool2").layers, 3, name="vgg16/32:pool2")
    save_network(network, tmp_path / "n.safetensors")
    (tmp_path / "photos").mkdir()
    for n in range(12):
        Image.fromarray(generate_picture(40, 50, n)).save(tmp_path / "photos" / f"{n}.png")
    done = bench("pictures", tmp_path / "n.safetensors", tmp_path / "photos", "--workers", "1,2",
                 "--size", 32, "--repeats", 1, "-o", output)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert "index" in found  # the other part stands
    assert (found["pictures"]["images"], found["pictures"]["equal"]) == (12, True)
    one, two = found["pictures"]["workers"]
    assert (one["workers"], two["workers"]) == (1, 2)
    assert (one["speedup"], one["efficiency"], one["overhead"]) == (1, 1, 0)
    assert [two["pictures_per_second"]] == two["rates"]
    assert min(one["peak_bytes"], two["peak_bytes"]) > 50_000_000


@pytest.mark.parametrize(("arguments", "message"), [
    (["index", "--counts", "0"], "argument --counts: invalid numbers value: '0'"),
    (["index", "--descriptors", "missing.npz"], "missing.npz: no such file"),
    (["pictures", "missing.safetensors", "."], "missing.safetensors"),
])
def test_refusals(arguments, message, tmp_path):
    done = bench(*arguments, "-o", tmp_path / "out.json")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
