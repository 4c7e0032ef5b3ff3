"""The network file: the same network comes back, and nothing else is accepted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.widths import BIAS_MAX, BIAS_MIN
from kestrel.sw.model.compressed import (
    METADATA_KEY,
    CompressedLayer,
    CompressedNetwork,
    load_network,
    same,
    save_network,
    validate,
)
from kestrel.sw.model.network import ConvShape


def network(mask_bits=(3, 1)):
    """Two layers, 3 -> 2 -> 4 channels, with values at both ends of every range."""
    generator = np.random.default_rng(9)
    layers, channels = [], 3
    for n, bits in enumerate(mask_bits):
        outputs = 2 * (n + 1)
        layers.append(CompressedLayer(
            ConvShape(f"conv{n + 1}_1", channels, outputs, pool=n == 1), bits,
            generator.choice(mask_values(bits), (outputs, channels, 3, 3)).astype(np.int8),
            generator.choice([0, 1, 255], (outputs, channels)).astype(np.uint8),
            np.resize([BIAS_MIN, BIAS_MAX], outputs).astype(np.int16),
            shift=(3, 15)[n % 2], scale=0.1 * (n + 1), trained=n == 0,
        ))
        channels = outputs
    return CompressedNetwork("vgg16/8:pool3", 5, "caffe", np.array([0, 31, 7], np.uint8), tuple(layers))


@pytest.mark.parametrize("mask_bits", [(b,) for b in MASK_BITS] + [(3, 1), (5, 4, 3, 2, 1)])
def test_saved_networks_come_back_equal(tmp_path, mask_bits):
    """Breaks if a field is not stored, or an array changes its type."""
    one = network(mask_bits)
    save_network(one, tmp_path / "n.safetensors")
    other = load_network(tmp_path / "n.safetensors")
    assert same(one, other)
    assert other.layers[0].mask.dtype == np.int8
    assert other.weight_bits == one.weight_bits


def test_same_network_same_bytes(tmp_path):
    """Files are compared by their hash: order and time must not matter."""
    save_network(network(), tmp_path / "a.safetensors")
    save_network(load_network(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def with_layer(one, **changes):
    return replace(one, layers=(one.layers[0], replace(one.layers[1], **changes)))


def flipped(array):
    other = array.copy()
    other.ravel()[-1] = -other.ravel()[-1] if array.dtype == np.int8 else other.ravel()[-1] ^ 1
    return other


DIFFERENCES = {
    "name": lambda n: replace(n, name="vgg11"),
    "activation_bits": lambda n: replace(n, activation_bits=8),
    "preprocessing": lambda n: replace(n, preprocessing="none"),
    "pad": lambda n: replace(n, pad=flipped(n.pad)),
    "layers": lambda n: replace(n, layers=n.layers[:1]),
    "mask": lambda n: with_layer(n, mask=flipped(n.layers[1].mask)),
    "alpha": lambda n: with_layer(n, alpha=flipped(n.layers[1].alpha)),
    "bias": lambda n: with_layer(n, bias=flipped(n.layers[1].bias)),
    "type": lambda n: with_layer(n, bias=n.layers[1].bias.astype(np.int32)),
    "mask_bits": lambda n: with_layer(n, mask_bits=2),
    "shift": lambda n: with_layer(n, shift=4),
    "scale": lambda n: with_layer(n, scale=0.3),
    "trained": lambda n: with_layer(n, trained=True),
    "pool": lambda n: with_layer(n, shape=replace(n.layers[1].shape, pool=False)),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_same_sees_every_difference(what):
    assert same(network(), network())
    assert not same(network(), DIFFERENCES[what](network()))


# --------------------------------------------------------------------------------------------------------
# Bad networks
# --------------------------------------------------------------------------------------------------------


def set_entry(array, value, dtype=None):
    other = array.astype(dtype or array.dtype)
    other.ravel()[1] = value
    return other


INVALID = {
    "name": (lambda n: replace(n, name="a\nb"), r"name = "),
    "activation bits": (lambda n: replace(n, activation_bits=9), r"activation_bits = 9; allowed: 4\.\.8"),
    "preprocessing": (lambda n: replace(n, preprocessing="?"), r"preprocessing = '\?'; allowed: caffe"),
    "no layers": (lambda n: replace(n, layers=()), r"number of layers = 0"),
    "pad value": (lambda n: replace(n, pad=np.array([32, 0, 0], np.uint8)),
                  r"pad reaches 0\.\.32; allowed: 0\.\.31"),
    "pad length": (lambda n: replace(n, pad=np.zeros(2, np.uint8)), r"pad is uint8 \[2\]"),
    "pad type": (lambda n: replace(n, pad=np.zeros(3, np.int64)), r"pad is int64"),
    "names twice": (lambda n: with_layer(n, shape=replace(n.layers[1].shape, name="conv1_1")),
                    r"each name once"),
    "layer name": (lambda n: with_layer(n, shape=replace(n.layers[1].shape, name="../x")), r"layer name = "),
    "chain": (lambda n: with_layer(n, shape=replace(n.layers[1].shape, in_channels=3)),
              r"layer conv2_1: in_channels = 3; allowed: 2"),
    "out channels": (lambda n: with_layer(n, shape=replace(n.layers[1].shape, out_channels=5)),
                     r"conv2_1: mask is int8 \[4, 2, 3, 3\]; allowed: int8 \[5, 2, 3, 3\]"),
    "mask bits": (lambda n: with_layer(n, mask_bits=6), r"conv2_1: mask_bits = 6; allowed: 1\.\.5"),
    "mask value": (lambda n: with_layer(n, mask=n.layers[1].mask * 0),
                   r"mask contains 0; allowed with 1 bits"),
    "mask gap": (lambda n: with_layer(n, mask_bits=3, mask=set_entry(n.layers[1].mask, 3)),
                 r"mask contains 3"),
    "mask range": (lambda n: with_layer(n, mask_bits=4, mask=set_entry(n.layers[1].mask, -8)),
                   r"mask reaches -8"),
    "mask type": (lambda n: with_layer(n, mask=n.layers[1].mask.astype(np.int16)), r"mask is int16"),
    "alpha shape": (lambda n: with_layer(n, alpha=n.layers[1].alpha[:3]), r"alpha is uint8 \[3, 2\]"),
    "alpha type": (lambda n: with_layer(n, alpha=n.layers[1].alpha.astype(float)), r"alpha is float64"),
    "bias high": (lambda n: with_layer(n, bias=set_entry(n.layers[1].bias, 2048)),
                  r"bias reaches .*-2048\.\.2047"),
    "bias low": (lambda n: with_layer(n, bias=set_entry(n.layers[1].bias, -2049)), r"bias reaches -2049"),
    "shift low": (lambda n: with_layer(n, shift=2), r"shift = 2; allowed: 3\.\.15"),
    "shift high": (lambda n: with_layer(n, shift=16), r"shift = 16"),
    "scale zero": (lambda n: with_layer(n, scale=0.0), r"scale = 0\.0; allowed: finite and above 0"),
    "scale nan": (lambda n: with_layer(n, scale=float("nan")), r"scale = nan"),
    "scale infinite": (lambda n: with_layer(n, scale=float("inf")), r"scale = inf"),
    "scale negative": (lambda n: with_layer(n, scale=-1.0), r"scale = -1\.0"),
}


@pytest.mark.parametrize("what", INVALID)
def test_invalid_networks_are_neither_saved_nor_loaded(tmp_path, what, monkeypatch):
    change, message = INVALID[what]
    bad = change(network())
    path = tmp_path / "n.safetensors"
    with pytest.raises(InputError, match=message):
        save_network(bad, path)
    assert list(tmp_path.iterdir()) == []
    # Written all the same, as by another program: refused when read, and by the file's name.
    with monkeypatch.context() as patch:
        patch.setattr("kestrel.sw.model.compressed.validate", lambda n: None)
        save_network(bad, path)
    with pytest.raises(InputError, match=message) as caught:
        load_network(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_valid_networks_pass():
    validate(network())


# --------------------------------------------------------------------------------------------------------
# Bad files
# --------------------------------------------------------------------------------------------------------


def rewritten(path, change=lambda d: None, drop=(), **added):
    """The file of ``network()`` with its metadata or tensors tampered with."""
    save_network(network(), path)
    with safe_open(str(path), framework="np") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
        tensors = {key: file.get_tensor(key) for key in file.keys() if key not in drop}  # noqa: SIM118
    change(description)
    save_file(tensors | added, path, metadata={METADATA_KEY: json.dumps(description)})


def cut(path, keep):
    save_network(network(), path)
    path.write_bytes(path.read_bytes()[:keep])


def set_key(**values):
    return lambda description: description.update(values)


def set_layer(**values):
    return lambda description: description["layers"][0].update(values)


BAD_FILES = {
    "missing": (lambda p: None, "no such file"),
    "folder": (lambda p: p.mkdir(), "is not a file"),
    "empty": (lambda p: p.touch(), "not a readable network file"),
    "garbage": (lambda p: p.write_bytes(b"x" * 100), "not a readable network file"),
    "cut in the header": (lambda p: cut(p, 100), "not a readable network file"),
    "cut in the data": (lambda p: cut(p, -3), "not a readable network file"),
    "float weights": (lambda p: save_file({"features.0.weight": np.ones(3)}, p), "not a compressed network"),
    "not json": (lambda p: save_file({"pad": np.ones(3)}, p, metadata={METADATA_KEY: "{"}), "not JSON"),
    "json of a list": (lambda p: save_file({"pad": np.ones(3)}, p, metadata={METADATA_KEY: "[]"}),
                       "'version'"),
    "later version": (lambda p: rewritten(p, set_key(version=4)), "format version 4; allowed: 1, 2, 3"),
    "version text": (lambda p: rewritten(p, set_key(version="1")), "metadata 'version' = '1'; allowed: int"),
    "no name": (lambda p: rewritten(p, lambda d: d.pop("name")), "metadata 'name' = None"),
    "layers text": (lambda p: rewritten(p, set_key(layers="two")), "metadata 'layers'"),
    "layer number": (lambda p: rewritten(p, set_key(layers=[1, 2])), "metadata 'name' = 1"),
    "shift text": (lambda p: rewritten(p, set_layer(shift="7")), "metadata 'shift' = '7'; allowed: int"),
    "shift true": (lambda p: rewritten(p, set_layer(shift=True)), "metadata 'shift' = True"),
    "pool number": (lambda p: rewritten(p, set_layer(pool=1)), "metadata 'pool' = 1; allowed: bool"),
    "scale whole": (lambda p: rewritten(p, set_layer(scale=1)), "metadata 'scale' = 1; allowed: float"),
    "tensor missing": (lambda p: rewritten(p, drop=("1.bias",)), "tensor '1.bias' missing"),
    "tensor extra": (lambda p: rewritten(p, **{"2.bias": np.zeros(1)}), "tensor '2.bias' not expected"),
    "mask shape": (lambda p: rewritten(p, **{"0.mask": np.zeros((2, 3, 9), np.int8)}),
                   r"mask is int8 \[2, 3, 9\]"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, what):
    make, message = BAD_FILES[what]
    path = tmp_path / "n.safetensors"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
