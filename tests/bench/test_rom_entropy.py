"""The bench of the ROM's entropy, with a small network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.verif.cases.random_network import random_network

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "rom_entropy.py"
NAME = "vgg16/8:pool1"


def test_sizes_and_entropy_of_a_network(tmp_path, rng):
    """Uniform masks have nearly nine bits of entropy, scalars of two bits nearly two."""
    network = random_network(rng, parse_network(NAME).layers, 1, name=NAME, tables=True)
    save_network(network, tmp_path / "n.safetensors")
    command = [sys.executable, str(SCRIPT), "n.safetensors", "--weights", "random:3", "-o", "out.json"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = json.loads((tmp_path / "out.json").read_text())["n.safetensors"]
    kernels = sum(layer.alpha.size for layer in network.layers)
    assert found["weights"] == 9 * kernels
    assert found["weight_bits"] == network.weight_bits
    assert found["weight_bits"] < found["rom_bits"]
    masks = sum(
        len(m) * -(p * np.log2(p)).sum()
        for m in (layer.mask.reshape(-1, 9) for layer in network.layers)
        for p in (np.unique(m, axis=0, return_counts=True)[1] / len(m),)
    )
    assert found["mask_entropy"] == pytest.approx(masks)
    assert found["entropy"] <= found["weight_bits"]
    for layer in found["layers"]:
        assert layer["mask_entropy"] <= 9
        assert layer["error"] <= layer["codebook_error"]["256"] <= layer["codebook_error"]["128"] < 1
