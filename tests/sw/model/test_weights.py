"""Loading float weights: formats agree, and every bad file is one line."""

import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import random_network

SHAPE = parse_network("vgg11/64:conv2_1")  # 3 -> 1 -> 2 channels, features 0 and 3


def arrays():
    network = random_network(SHAPE, 5)
    found = {"classifier.0.weight": np.zeros((2, 2), np.float32)}
    for index, weight, bias in zip(SHAPE.features, network.weights, network.biases, strict=True):
        found |= {f"features.{index}.weight": weight, f"features.{index}.bias": bias}
    return found


def write(path, found):
    if path.suffix == ".safetensors":
        save_file(found, path)
    elif path.suffix == ".npz":
        np.savez(path, **found)
    else:
        torch.save({key: torch.from_numpy(value) for key, value in found.items()}, path)
    return str(path)


@pytest.mark.parametrize("name", ["w", "w.bin", "w.ckpt", "w.PTH", "w.npz"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_formats_give_the_same_weights_whatever_the_name(tmp_path, suffix, name):
    Path(write(tmp_path / f"written{suffix}", arrays())).rename(tmp_path / name)
    network = load_weights(str(tmp_path / name), SHAPE)
    expected = random_network(SHAPE, 5)
    pairs = zip(network.weights + network.biases, expected.weights + expected.biases, strict=True)
    for found, wanted in pairs:
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("keys", [["state_dict"], ["model"], ["model_state_dict"], ["net", "state_dict"]])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_holds_its_weights_one_level_down(tmp_path, keys, zipped):
    path = tmp_path / "w.pth"
    state = {k: torch.from_numpy(v) for k, v in arrays().items()}
    for key in reversed(keys):
        state = {"epoch": 3, key: state, "optimizer": {"state": {}, "param_groups": [1]}}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    found = load_weights(str(path), SHAPE)
    np.testing.assert_array_equal(found.weights[0], random_network(SHAPE, 5).weights[0])
    assert repr(".".join(keys)) in found.origin.kind


def test_shards_are_one_file(tmp_path):
    found = arrays()
    files = {key: f"part{n % 2}.safetensors" for n, key in enumerate(found)}
    for name in set(files.values()):
        save_file({key: found[key] for key in found if files[key] == name}, tmp_path / name)
    index = tmp_path / "w.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    network = load_weights(str(index), SHAPE)
    for layer, wanted in zip(network.weights, random_network(SHAPE, 5).weights, strict=True):
        np.testing.assert_array_equal(layer, wanted)
    assert network.origin.unused == ("classifier.0.weight",)


@pytest.mark.parametrize(("content", "message"), [
    ({"weight_map": {"features.0.weight": "../w.safetensors"}}, r"file '\.\./w\.safetensors'; allowed"),
    ({"weight_map": {"features.0.weight": "none.safetensors"}}, "shard none.safetensors is missing"),
    ({"weight_map": {"features.9.weight": "one.safetensors"}}, "features.9.weight is not in one.safetensors"),
    ({"weight_map": [1]}, "no map from keys to files"),
    ({}, "no map from keys to files"),
])
def test_bad_indices_of_shards_are_refused(tmp_path, content, message):
    write(tmp_path / "one.safetensors", arrays())
    index = tmp_path / "w.json"
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_weights(str(index), SHAPE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_converted(tmp_path, dtype):
    tensors = {k: torch.from_numpy(v).to(dtype) for k, v in arrays().items()}
    save_torch(tensors, tmp_path / "w.safetensors")
    network = load_weights(str(tmp_path / "w.safetensors"), SHAPE)
    np.testing.assert_array_equal(network.weights[0], tensors["features.0.weight"].float().numpy())


def test_random_weights_depend_on_the_seed_alone():
    one, same, other = (load_weights(source, SHAPE) for source in ("random:1", "random:1", "random:2"))
    np.testing.assert_array_equal(one.weights[1], same.weights[1])
    assert not np.array_equal(one.weights[1], other.weights[1])


def test_random_weights_keep_the_size_of_activations():
    weight = load_weights("random:0", parse_network("vgg16:conv3_3")).weights[6]
    assert weight.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.01)


def changed(**replacements):
    """Arrays with keys replaced (given with _ for .) or, for None, left out."""
    found = arrays()
    for key, value in replacements.items():
        name = key.replace("__", ".")
        found.pop(name)
        if value is not None:
            found[name] = value
    return found


def with_value(value):
    bias = arrays()["features.3.bias"].copy()
    bias[1] = value
    return changed(features__3__bias=bias)


class Custom:
    """Something that only a pickle can hold."""


def garbage(path):
    path.write_bytes(b"not what the suffix says" * 10)


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "none")


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit; people have such files all the same
        torch.jit.script(torch.nn.Conv2d(3, 1, 3)).save(path)


def npy(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def truncated(path):
    write(path, arrays())
    path.write_bytes(path.read_bytes()[:-40])


BAD_FILES = {
    "missing-file": ("w.npz", lambda p: None, r"no such file"),
    "folder": ("w.npz", lambda p: p.mkdir(), r"is not a file"),
    "garbage": ("weights", garbage, r"none of the kinds .* known; allowed: safetensors .*random:SEED"),
    "garbage of a known name": ("w.safetensors", garbage, r"none of the kinds"),
    "garbage onnx": ("w.onnx", garbage, r"not a readable ONNX model"),
    "empty": ("w.npz", lambda p: p.touch(), r"an empty file"),
    "pickle": ("w.bin", lambda p: p.write_bytes(pickle.dumps({"features.0.weight": 1})),
               r"a pickle, which could run code .* torch\.save\(model\.state_dict\(\), FILE\)"),
    "zip of something": ("w.pt", other_zip, r"a zip archive of other things \(notes\.txt\)"),
    "safetensors-truncated": ("w.safetensors", truncated, r"not a readable safetensors"),
    "npz-truncated": ("w.npz", truncated, r"damaged or truncated zip"),
    "npz-is-npy": ("w.npz", npy, r"a single array"),
    "npz-objects": ("w.npz", lambda p: write(p, changed(features__0__bias=np.array([None]))),
                    r"features\.0\.bias"),
    "pth-truncated": ("w.pth", truncated, r"damaged or truncated zip"),
    "pth-code": ("w.pth", lambda p: torch.save({"features.0.weight": Custom()}, p),
                 r"holds a pickled .*Custom.* allowed: a state dictionary"),
    "module": ("w.pt", lambda p: torch.save(torch.nn.Sequential(torch.nn.ReLU()), p),
               r"holds a pickled torch\.nn\.\S+, .* torch\.save\(model\.state_dict\(\), FILE\)"),
    "old module": ("w.pt", lambda p: torch.save(torch.nn.ReLU(), p, _use_new_zipfile_serialization=False),
                   r"holds a pickled torch\.nn"),
    "TorchScript": ("w.pt", script, r"TorchScript, a program .* torch\.save\(model\.state_dict\(\), FILE\)"),
    "pth-list": ("w.pth", lambda p: torch.save([1, 2], p), r"holds a list"),
    "pth-number": ("w.pth", lambda p: torch.save(dict.fromkeys(arrays(), 1.0), p),
                   r"is a float; allowed: a tensor"),
    "first-missing": ("w.npz", lambda p: np.savez(p, a=np.ones(2)),
                      r"conv1_1 .*features\.0\.weight.*the file has a\).* torchvision's"),
    "weight-missing": ("w.npz", lambda p: write(p, changed(features__3__weight=None)),
                       r"conv2_1 .* not whole \(no key features\.3\.weight\)"),
    "bias-missing": ("w.npz", lambda p: write(p, changed(features__3__bias=None)), r"features\.3\.bias"),
    "shape": ("w.npz", lambda p: write(p, changed(features__0__weight=np.ones((1, 3, 5, 5), np.float32))),
              r"features\.0\.weight \(conv1_1\) has shape 1 x 3 x 5 x 5; allowed: 1 x 3 x 3 x 3"),
    "scalar": ("w.npz", lambda p: write(p, changed(features__0__bias=np.float32(1))),
               r"has shape \(\)"),
    "integers": ("w.npz", lambda p: write(p, changed(features__0__bias=np.ones(1, np.int32))), r"type int32"),
    "complex": ("w.npz", lambda p: write(p, changed(features__0__bias=np.ones(1, np.complex64))),
                r"complex64"),
    "whole.safetensors": ("w.safetensors",
                          lambda p: write(p, changed(features__0__bias=np.ones(1, np.int64))),
                          r"type int64"),
    "nan": ("w.safetensors", lambda p: write(p, with_value(np.nan)), r"features\.3\.bias .*contains nan"),
    "infinity": ("w.pth", lambda p: write(p, with_value(-np.inf)), r"contains -inf; allowed: finite"),
    "overflow": ("w.npz", lambda p: write(p, changed(features__0__bias=np.array([1e300]))), r"contains inf"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    """Breaks if a broken or hostile file raises something else, or without saying which file."""
    file, make, message = BAD_FILES[name]
    path = tmp_path / file
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(str(path), SHAPE)
    assert str(caught.value).isprintable()
    assert file in str(caught.value)


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "4294967296", "1 ", "0x10", "١"])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(InputError, match=r"allowed: a whole number 0\.\.4294967295"):
        load_weights(f"random:{seed}", SHAPE)


def test_a_file_of_fewer_layers_hints_at_the_cut(tmp_path):
    """The usual mistake: a cut network's weights with the whole network's name."""
    path = write(tmp_path / "w.npz", arrays())
    with pytest.raises(InputError, match=r"layer conv3_1 of vgg11/64 is missing.*--network vgg11/64:pool2"):
        load_weights(path, parse_network("vgg11/64"))


# --------------------------------------------------------------------------------------------------------
# Filling up
# --------------------------------------------------------------------------------------------------------

LONGER = parse_network("vgg11/64:pool3")  # two layers more than SHAPE


def test_missing_layers_are_filled_and_named(tmp_path):
    source = write(tmp_path / "w.safetensors", arrays())
    network = load_weights(source, LONGER, fill_seed=7)
    assert network.untrained == {"conv3_1", "conv3_2"}
    for found, wanted in zip(network.weights, random_network(SHAPE, 5).weights, strict=False):
        np.testing.assert_array_equal(found, wanted)
    for layer, weight, bias in zip(LONGER.layers, network.weights, network.biases, strict=True):
        assert weight.shape == (layer.out_channels, layer.in_channels, 3, 3)
        assert weight.dtype == bias.dtype == np.float32
        assert weight.any()


def test_fill_depends_on_seed_and_layer_alone(tmp_path):
    """Breaks if a layer's numbers change with what else is missing, or if two layers get the same ones."""
    source = write(tmp_path / "w.npz", arrays())
    longer, shorter, other = (
        load_weights(source, parse_network(f"vgg11/64:{cut}"), fill_seed=seed)
        for cut, seed in (("conv3_2", 1), ("conv3_1", 1), ("conv3_1", 2))
    )
    np.testing.assert_array_equal(longer.weights[2], shorter.weights[2])
    assert not np.array_equal(shorter.weights[2], other.weights[2])
    deeper = load_weights(source, parse_network("vgg11/64"), fill_seed=1)
    assert deeper.weights[6].shape == deeper.weights[7].shape
    assert not np.array_equal(deeper.weights[6], deeper.weights[7])


def test_filled_weights_keep_the_size_of_activations(tmp_path):
    shape = parse_network("vgg16/2:conv2_2")
    first = random_network(parse_network("vgg16/2:conv1_1"), 1)
    found = {"features.0.weight": first.weights[0], "features.0.bias": first.biases[0]}
    network = load_weights(write(tmp_path / "w.npz", found), shape, fill_seed=3)
    assert network.weights[3].std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)


def test_a_complete_file_has_nothing_to_fill(tmp_path):
    source = write(tmp_path / "w.npz", arrays())
    assert load_weights(source, SHAPE, fill_seed=7).untrained == frozenset()
    assert load_weights(source, SHAPE).untrained == frozenset()


def test_random_networks_are_not_trained():
    assert load_weights("random:1", SHAPE).untrained == {"conv1_1", "conv2_1"}


def test_a_missing_layer_names_both_ways_out(tmp_path):
    source = write(tmp_path / "w.npz", arrays())
    ways = r"layer conv3_1 of .* --network vgg11/64:pool2.* --fill-missing random:SEED"
    with pytest.raises(InputError, match=ways):
        load_weights(source, parse_network("vgg11/64:conv3_1"))


@pytest.mark.parametrize(("change", "message"), [
    ({"features__3__bias": None}, r"conv2_1 .*not whole \(no key features\.3\.bias\)"),
    ({"features__3__weight": None}, r"conv2_1 .*not whole \(no key features\.3\.weight\)"),
    ({f"features__{n}__{part}": None for n in (0, 3) for part in ("weight", "bias")},
     r"conv1_1 .* is missing .*the file has classifier\.0\.weight\)"),
])
def test_half_a_layer_and_a_foreign_file_are_refused_all_the_same(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_weights(write(tmp_path / "w.npz", changed(**change)), SHAPE, fill_seed=1)
