"""docs/network-file.md: the reader it prints reads what is written, and its tables are the format's."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.widths import BIAS_FRACTION, BIAS_MAX, BIAS_MIN, SHIFT_MAX, SHIFT_MIN
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.dequantise import real_parameters
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import load_network, save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import PREPROCESSINGS, find_preprocessing
from kestrel.sw.model.weights import random_network

PAGE = Path(__file__).parents[3] / "docs" / "network-file.md"


@pytest.fixture
def reader(tmp_path):
    """What the page's one block of Python defines."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    (tmp_path / "reader.py").write_text(blocks[0], encoding="utf-8")
    return runpy.run_path(str(tmp_path / "reader.py"))


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
@pytest.mark.parametrize("activation_bits", [8, 5])
def test_the_reader_reads_what_is_written(tmp_path, reader, preprocessing, activation_bits):
    floats = random_network(parse_network("vgg16/16:pool2"), 4, min(find_preprocessing(preprocessing).scale))
    path = tmp_path / "n.safetensors"
    save_network(compress(floats, (3, 1, 4, 2), generated_pictures(16, 16, count=2),
                          preprocessing=preprocessing, activation_bits=activation_bits)[0], path)  # fmt: skip
    network = load_network(path)
    about, pad, layers = reader["read_network"](path)
    assert (about["name"], about["activation_bits"]) == (network.name, network.activation_bits)
    np.testing.assert_array_equal(pad, network.pad)
    for found, layer in zip(layers, network.layers, strict=True):
        for part in ("mask", "alpha", "bias"):
            np.testing.assert_array_equal(found[part], getattr(layer, part), strict=True)
        assert (found["name"], found["pool"]) == (layer.shape.name, layer.shape.pool)
        assert (found["mask_bits"], found["shift"]) == (layer.mask_bits, layer.shift)
        assert (found["scale"], found["trained"]) == (layer.scale, layer.trained)
    wanted = real_parameters(network)
    for found, expected in zip(reader["real_weights"](about, layers), wanted, strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


def test_the_tables_are_the_formats():
    text = PAGE.read_text(encoding="utf-8")
    for bits in MASK_BITS:
        values = mask_values(bits)
        listed = ", ".join(map(str, values)) if bits < 4 else f"{values[0]}..{values[-1]}"
        assert f"| {bits} | {listed} |" in text
    assert f"{BIAS_MIN}..{BIAS_MAX}" in text
    assert f"{SHIFT_MIN}..{SHIFT_MAX}" in text
    assert (2**BIAS_FRACTION, "bias * 2^(s-3)" in text) == (8, True)
