"""Float weights as files: read again, they are the same network."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.dequantise import dequantise
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.network import ConvShape, NetworkShape, parse_network
from kestrel.sw.model.storage.load import find_network, load_weights
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import FloatNetwork, random_network

NAMES = ("vgg16/32:pool2", "resnet18/32:layer2.1", "shared_resnet/32:layer2.2", "repvgg_a0/32:stage2.1")


def saved(network: FloatNetwork, path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes by key of the file."""
    save_weights(network, path)
    with safe_open(path, framework="np") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def assert_same(found: FloatNetwork, wanted: FloatNetwork) -> None:
    for part in ("weights", "biases", "shortcuts"):
        for mine, theirs in zip(getattr(found, part), getattr(wanted, part), strict=True):
            if theirs is None:
                assert mine is None
                continue
            assert mine.dtype == theirs.dtype == np.float32
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    network = random_network(parse_network(name), 3)
    keys = saved(network, tmp_path / "x.safetensors")
    found = load_weights(str(tmp_path / "x.safetensors"), network.shape)
    assert_same(found, network)
    assert not found.origin.unused
    assert not any("layer1.1" in key for key in keys) or "shared" not in name, "shared layers are left out"


@pytest.mark.parametrize("bits", ["1", "3"])
@pytest.mark.parametrize("name", NAMES[1:])
def test_dequantised_networks(name: str, bits: str, tmp_path: Path) -> None:
    """With one mask bit no tap is 0, so that the stem is no longer a 7x7 convolution."""
    shape = parse_network(name)
    integers, _ = compress(random_network(shape, 3, 1 / 57), parse_mask_plan(bits, shape),
                           generated_pictures(48, 40, count=2), preprocessing="torchvision")  # fmt: skip
    floats = dequantise(integers)
    keys = saved(floats, tmp_path / "x.safetensors")
    assert_same(load_weights(str(tmp_path / "x.safetensors"), shape), floats)
    if shape.blocks:
        assert keys["conv1.weight"] == (2, 27, 3, 3)


def test_a_seven_by_seven_stem_is_torchvisions(tmp_path: Path) -> None:
    keys = saved(random_network(parse_network("resnet18/16:layer2.0"), 3), tmp_path / "x.safetensors")
    assert keys["conv1.weight"] == (4, 3, 7, 7)
    assert keys["layer2.0.downsample.0.weight"] == (8, 4, 1, 1)
    shape = find_network("resnet/16:layer2.0", str(tmp_path / "x.safetensors"))
    assert shape.name == "resnet_2_1_1_1/16:layer2.0", "stages behind the cut are not asked for"
    with pytest.raises(InputError, match=r"blocks \[\] of layer3; allowed for resnet/16"):
        find_network("resnet/16", str(tmp_path / "x.safetensors"))


def test_factors_of_identities_that_are_not_one(tmp_path: Path) -> None:
    network = random_network(parse_network("resnet18/16:layer1.0"), 3)
    factor = network.shortcut(2)
    assert factor is not None
    factor[1] = 0.75
    assert saved(network, tmp_path / "x.safetensors")["layer1.0.identity.weight"] == (4,)
    assert_same(load_weights(str(tmp_path / "x.safetensors"), network.shape), network)


@pytest.mark.parametrize("name", ["mine", "resnet18/16"])
def test_graphs_without_key_names_are_refused(name: str, tmp_path: Path) -> None:
    """One with an unknown name, and one that has the name of another."""
    shape = NetworkShape(name, (ConvShape("conv", 3, 4, pool=False, stride=2),), ())
    with pytest.raises(InputError, match=f"network {name}: layers that no key names are known for"):
        save_weights(random_network(shape, 1), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
