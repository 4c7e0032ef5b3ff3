"""Key names: which layer an array is, which network a file holds, and what must not be ignored."""

import numpy as np
import pytest
import torch
from torch import nn

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import random_network

WHOLE = {"vgg11": "vgg11/64", "vgg13": "vgg13/64", "vgg16": "vgg16/64", "vgg19": "vgg19/64"}


def arrays(name, seed=5, prefix="features."):
    """A network's arrays by torchvision's names."""
    network = random_network(parse_network(name), seed)
    found = {}
    for index, weight, bias in zip(network.shape.features, network.weights, network.biases, strict=True):
        found |= {f"{prefix}{index}.weight": weight, f"{prefix}{index}.bias": bias}
    return found


def write(path, found):
    np.savez(path, **found)
    return str(path)


def load(tmp_path, found, name):
    return load_weights(write(tmp_path / "w.npz", found), parse_network(name))


@pytest.mark.parametrize("prefix", [
    "", "module.", "features.", "module.features.", "model.features.", "backbone.features.", "encoder.0.",
])
def test_any_prefix_is_found_and_named(tmp_path, prefix):
    network = load(tmp_path, arrays("vgg16/64:pool2", prefix=prefix), "vgg16/64:pool2")
    for found, wanted in zip(network.weights, random_network(network.shape, 5).weights, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert network.origin.prefix == prefix
    said = f"keys begin with {prefix!r}" in network.origin.remarks
    assert said == (prefix not in {"", "features."})


@pytest.mark.parametrize("name", [
    "conv{0}_{1}.{2}", "block{0}_conv{1}.{2}", "net.conv{0}_{1}.{2}",
])
def test_names_by_block_and_number(tmp_path, name):
    network = random_network(parse_network("vgg16/64:pool3"), 5)
    found = {}
    for layer, weight, bias in zip(network.shape.layers, network.weights, network.biases, strict=True):
        block, number = layer.name.removeprefix("conv").split("_")
        found[name.format(block, number, "weight")] = weight
        found[name.format(block, number, "bias")] = bias
    for layer, wanted in zip(load(tmp_path, found, "vgg16/64:pool3").weights, network.weights, strict=True):
        np.testing.assert_array_equal(layer, wanted)
    with pytest.raises(InputError, match=r"conv(3_|)3\.weight, which vgg13/64:pool3 does not have"):
        load(tmp_path, found, "vgg13/64:pool3")


def test_layers_without_bias_have_none(tmp_path):
    found = {key: value for key, value in arrays("vgg16/64:pool1").items() if "bias" not in key}
    network = load(tmp_path, found, "vgg16/64:pool1")
    assert not any(bias.any() for bias in network.biases)
    assert "no biases for conv1_1, conv1_2: taken as 0" in network.origin.remarks


def test_what_is_not_used_is_listed(tmp_path):
    found = arrays("vgg16/64:pool2") | {"classifier.0.weight": np.ones((2, 2))}
    network = load(tmp_path, found, "vgg16/64:pool1")
    unused = [f"features.{n}.{part}" for n in (5, 7) for part in ("weight", "bias")]
    assert network.origin.unused == (*unused, "classifier.0.weight")
    assert network.origin.remarks[-1].startswith("keys not used (5): features.5.weight, ")


def test_timms_classifier_of_convolutions_is_no_layer(tmp_path):
    found = arrays("vgg16/64") | {"pre_logits.fc1.weight": np.ones((4, 8, 7, 7), np.float32),
                                  "pre_logits.fc1.bias": np.ones(4), "head.fc.weight": np.ones((2, 4))}
    assert len(load(tmp_path, found, "vgg16/64").origin.unused) == 3


# --------------------------------------------------------------------------------------------------------
# Families
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", WHOLE)
@pytest.mark.parametrize("asked", WHOLE)
def test_another_member_of_the_family_is_refused_and_named(tmp_path, family, asked):
    found = arrays(WHOLE[family])
    if family == asked:
        assert load(tmp_path, found, WHOLE[asked]).origin.remarks == ()
        return
    with pytest.raises(InputError, match=rf"the file is of {family}/64; allowed: --network {family}/64$"):
        load(tmp_path, found, WHOLE[asked])


def test_a_pooling_in_another_place_is_refused(tmp_path):
    """Breaks if conv3_3 of VGG-16 goes unused where VGG-13 pools."""
    with pytest.raises(InputError, match=r"has features\.14\.weight, .* --network vgg16/64:pool3"):
        load(tmp_path, arrays("vgg16/64"), "vgg13/64:pool3")


def test_a_cut_that_both_families_share_is_remarked_on(tmp_path):
    network = load(tmp_path, arrays("vgg16/64"), "vgg13/64:conv3_2")
    assert "the file is of vgg16/64, not vgg13/64; up to conv3_2 they are the same" in network.origin.remarks


def test_two_networks_in_a_file_are_refused(tmp_path):
    found = arrays("vgg16/64", prefix="student.") | arrays("vgg16/64", prefix="teacher.")
    with pytest.raises(InputError, match=r"2 networks, with keys that begin student\., teacher\."):
        load(tmp_path, found, "vgg16/64")


# --------------------------------------------------------------------------------------------------------
# Batch norm
# --------------------------------------------------------------------------------------------------------


def batch_norm_features(name, seed, *, bias=True, affine=True):
    """torchvision's ``features`` of a ``_bn`` network, its statistics random, in float64."""
    torch.manual_seed(seed)
    modules = []
    for layer in parse_network(name).layers:
        conv = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=bias)
        norm = nn.BatchNorm2d(layer.out_channels, affine=affine)
        norm.running_mean = torch.randn(layer.out_channels) / 4
        norm.running_var = torch.rand(layer.out_channels) + 0.2
        if affine:
            nn.init.uniform_(norm.weight, -2, 2)
            nn.init.normal_(norm.bias)
        modules += [conv, norm, nn.ReLU(), *([nn.MaxPool2d(2)] if layer.pool else [])]
    return nn.Sequential(*modules).double().eval()


@pytest.mark.parametrize("family", WHOLE)
@pytest.mark.parametrize("kind", [{}, {"bias": False}, {"affine": False}])
def test_batch_norm_is_folded(tmp_path, seed, family, kind):
    name = f"{WHOLE[family]}:pool3"
    module = batch_norm_features(name, seed, **kind)
    torch.save({f"features.{key}": value for key, value in module.state_dict().items()}, tmp_path / "w.pth")
    network = load_weights(str(tmp_path / "w.pth"), parse_network(name))
    assert network.origin.batch_norm == tuple(layer.name for layer in network.shape.layers)
    x = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        wanted = module(x)
    found = FloatModel(network).run(x.float())[-1]
    # Float32 weights and sums of at most 9 * 4 products against float64.
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_places_of_folded_batch_norms_do_not_hide_the_layers(tmp_path):
    """A _bn network whose batch norms were folded elsewhere: the indices remain those of _bn."""
    shape = parse_network("vgg13/64:pool2")
    network = random_network(shape, 5)
    found = {}
    layers = zip(shape.features, network.weights, network.biases, strict=True)
    for n, (index, weight, bias) in enumerate(layers):
        found |= {f"features.{index + n}.weight": weight, f"features.{index + n}.bias": bias}
    for layer, wanted in zip(load(tmp_path, found, shape.name).weights, network.weights, strict=True):
        np.testing.assert_array_equal(layer, wanted)


def tampered(**extra):
    return {key.replace("__", "."): value for key, value in extra.items()}


ONE = np.ones(1, np.float32)
CHANGED = {
    "batch norm behind the activation": {f"features__1__{p}": ONE for p in ("running_mean", "running_var")},
    "half a batch norm": {"features__1__running_mean": ONE, "features__0__bias": ONE},
    "an activation with parameters": {"features__1__weight": ONE},
    "weight norm": {"features__0__weight_g": ONE},
    "pruning": {"features__2__weight_mask": np.ones((1, 1, 3, 3), np.float32)},
    "parametrisation": {"features__0__parametrizations.weight.original0": ONE},
    "a layer between": {"features__3__weight": np.ones((1, 1, 1, 1), np.float32)},
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_changes_the_meaning_is_never_ignored(tmp_path, what):
    found = arrays("vgg16/64:conv2_2") | tampered(**CHANGED[what])
    if what == "batch norm behind the activation":  # conv, ReLU, batch norm: one place further on
        found = {key.replace("features.1.", "features.4."): value for key, value in found.items()}
    with pytest.raises(InputError, match=r"may change what|has no features\.1\.running_var|does not have"):
        load(tmp_path, found, "vgg16/64:conv2_2")


def test_a_negative_variance_is_refused(tmp_path):
    state = batch_norm_features("vgg16/64:pool1", 1).state_dict()
    state["1.running_var"] -= 5
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"1\.running_var: variance -\S+ with epsilon 1e-05; allowed"):
        load_weights(str(tmp_path / "w.pth"), parse_network("vgg16/64:pool1"))
