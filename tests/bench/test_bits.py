"""The bench of bits, with a small network and few pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import load_whitening, save_whitening
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser
from kestrel.verif.cases.random_network import random_network

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "bits.py"
NAME = "vgg16/16:pool2"


@pytest.fixture
def here(tmp_path):
    network = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
    save_network(network, tmp_path / "n.safetensors")
    for folder in ("set", "train"):
        (tmp_path / folder).mkdir()
    for n in range(8):
        scene = generate_picture(60, 80, n)
        Image.fromarray(scene[:50, :60]).save(tmp_path / "set" / f"{n // 2:03}{n % 2:02}.png")
    for n in range(24):
        Image.fromarray(generate_picture(50, 60, 100 + n)).save(tmp_path / "train" / f"{n}.png")
    return tmp_path


def bench(here, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, here / "n.safetensors", "--dataset", here / "set", "--train", here / "train",
         "--features", here / "features", "-o", here / "out.json", "--size", "32", *map(str, arguments)],
        text=True, capture_output=True, check=False, timeout=300)  # fmt: skip


def test_rows_are_what_the_commands_give(here):
    done = bench(here, "--poolings", "nip,rnip5x", "--bits", "8,16", "--train-images", 20)
    assert done.returncode == 0, done.stderr
    found = json.loads((here / "out.json").read_text())
    rows = {(r["pooling"], r["bits"], r["asymmetric"], r["chip"]): r for r in found["rows"]}
    assert len(rows) == len(found["rows"]) == 2 * (2 + 2 * 4)
    assert found["training_images"] == 20
    assert all(share < 0.1 for share in found["bits_of_the_chip_that_differ"].values())
    for pooling in ("nip", "rnip5x"):
        train = sorted(path.relative_to(here / "train").as_posix() for path in (here / "train").iterdir())
        chosen = [train[n * 24 // 20] for n in range(20)]
        paths = [here / "train" / name for name in chosen]
        plain = make_describer(here / "n.safetensors", DescriptorOptions(size=32, pooling=pooling))
        save_whitening(plain.train_whitening(paths, chosen, mode="after", workers=0), here / "w.safetensors")
        whole = make_describer(here / "n.safetensors", DescriptorOptions(size=32, pooling=pooling,
                                                                         whitening=here / "w.safetensors"))
        assert load_whitening(here / "w.safetensors").dimension == whole.dimension
        learned = whole.describe(paths, chosen, workers=0)
        benchmark = load_benchmark("groups", here / "set")
        described = whole.describe([here / "set" / name for name in benchmark.images], benchmark.images,
                                   workers=0)
        assert rows[pooling, 0, False, False]["map"] == pytest.approx(evaluate(benchmark, described).map)
        for bits in (8, 16):
            quantiser = fit_quantiser(learned.vectors, bits=bits)
            for asymmetric in (False, True):
                wanted = evaluate(benchmark, described, codes="bits", quantiser=quantiser,
                                  asymmetric=asymmetric)
                assert rows[pooling, bits, asymmetric, False]["map"] == pytest.approx(wanted.map)


def test_features_are_kept(here):
    assert bench(here, "--poolings", "nip", "--bits", "8").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "features").rglob("*.npz")}
    assert len(before) == 32
    assert bench(here, "--poolings", "nip", "--bits", "16").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (here / "features").rglob("*.npz")} == before


@pytest.mark.parametrize(("arguments", "message"), [
    (["--poolings", "rmac"], "pooling 'rmac'; allowed: poolings of the chain sqrt over levels 1+2+3"),
    (["--bits", "0"], "bits 0; allowed: 1..16384"),
])
def test_refusals(here, arguments, message):
    done = bench(here, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
