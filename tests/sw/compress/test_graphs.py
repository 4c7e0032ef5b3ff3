"""Compression of networks that are graphs: sums, shared layers and 1x1 kernels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_MAX, SHORTCUT_SHIFT_MAX
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.dequantise import dequantise, real_parameters, real_shortcuts
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.sequential import SequentialFit
from kestrel.sw.model.blocks import blocks_kernel
from kestrel.sw.model.compressed import CompressedNetwork, load_network, same, save_network
from kestrel.sw.model.float_network import FloatModel, real_batch, shortcut_sums
from kestrel.sw.model.graph import scale_groups
from kestrel.sw.model.network import ConvShape, NetworkShape, Shortcut, parse_network, source_of
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import FloatNetwork, random_network
from kestrel.sw.pictures.images import first_map

TORCHVISION = find_preprocessing("torchvision")
PICTURES = generated_pictures(48, 40, count=4)


def compressed(name: str, fit: str, bits: str = "3") -> tuple[FloatNetwork, CompressedNetwork]:
    shape = parse_network(name)
    network = random_network(shape, 3, min(TORCHVISION.scale))
    plan = parse_mask_plan(bits, shape)
    return network, compress(network, plan, PICTURES, preprocessing="torchvision", fit=fit)[0]


def integer_maps(integers: CompressedNetwork, picture: int = 0) -> list[torch.Tensor]:
    x = first_map(PICTURES.load(picture), TORCHVISION, integers.activation_bits, blocks=integers.blocks)
    return Reference(integers).run(torch.from_numpy(x)[None])


def cosine(network: FloatNetwork, integers: CompressedNetwork) -> float:
    """Of the last map, in the integer and in the float network."""
    wanted = FloatModel(network).run(real_batch([PICTURES.load(0)], TORCHVISION))[-1]
    return float(functional.cosine_similarity(integer_maps(integers)[-1].flatten().double(),
                                              wanted.flatten().double(), dim=0))  # fmt: skip


@pytest.mark.parametrize(
    ("fit", "least"), [("least-squares", 0.95), ("output", 0.98), ("sequential", 0.99), ("vendor", 0.8)]
)
def test_every_fit_compresses_a_resnet(fit: str, least: float, tmp_path: Path) -> None:
    """The bounds are a little below what these fits reach (.969 by least squares)."""
    network, integers = compressed("resnet18/16:layer2.1", fit)
    assert cosine(network, integers) > least
    save_network(integers, tmp_path / "n.safetensors")
    assert same(load_network(tmp_path / "n.safetensors"), integers)


def test_the_real_parameters_are_what_the_integers_compute() -> None:
    """Layer by layer on the integers' own maps, in float64: equal but where a sum lies halfway."""
    _, integers = compressed("resnet18/16:layer2.1", "least-squares")
    maps, shortcuts = integer_maps(integers), real_shortcuts(integers)
    shapes = [layer.shape for layer in integers.layers]
    for number, (weight, bias) in enumerate(real_parameters(integers)):
        layer = integers.layers[number]
        if number == 0:  # the only layer with a border that is not zero, and with pooling
            continue
        source = source_of(shapes, number)
        x = maps[source].double() * integers.layers[source].scale
        total = functional.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), layer.shape.stride, 1)
        if layer.shape.shortcut is not None:
            other = maps[layer.shape.shortcut.source].double()
            other = other * integers.layers[layer.shape.shortcut.source].scale
            total += shortcut_sums(other, torch.from_numpy(shortcuts[number]), layer.shape.shortcut)
        units = total / layer.scale + 0.5
        sure = (units - units.round()).abs() > 1e-6
        assert sure.double().mean() > 0.9
        found = maps[number].double()[sure].numpy()
        np.testing.assert_array_equal(units.floor().clamp(0, 255)[sure].numpy(), found)


def test_shortcuts_use_the_resolution() -> None:
    """Identities are exact; the scalars of both parts of a sum reach into the upper half of their range."""
    _, integers = compressed("resnet18/16:layer2.1", "least-squares")
    for layer, weight in zip(integers.layers, real_shortcuts(integers), strict=True):
        if layer.shape.shortcut is None or weight is None:
            continue
        assert layer.shortcut_alpha is not None
        assert layer.shortcut_alpha.max() > SCALAR_MAX // 2
        if not layer.shape.shortcut.projection:
            np.testing.assert_allclose(weight, 1.0, rtol=1e-12)
        if layer.shortcut_shift < SHORTCUT_SHIFT_MAX:
            assert layer.alpha.max() > SCALAR_MAX // 2


@pytest.mark.parametrize("fit", ["least-squares", "output"])
def test_shared_layers_have_one_set_of_integers(fit: str) -> None:
    network, integers = compressed("shared_resnet/32:layer2.2", fit)
    groups = scale_groups(network.shape.layers)
    assert len(set(groups)) < len(groups)
    for layer, group in zip(integers.layers, groups, strict=True):
        assert layer.scale == integers.layers[group].scale
        if layer.shape.shares is not None:
            owner = integers.layers[layer.shape.shares]
            assert layer.mask is owner.mask
            assert (layer.shift, layer.shortcut_shift) == (owner.shift, owner.shortcut_shift)
    assert cosine(network, integers) > 0.85  # the least-squares fit of ten layers with few channels


def test_sequential_refuses_shared_layers() -> None:
    with pytest.raises(InputError, match=r"fit sequential: layer layer1_1_conv1 .* shares the integers"):
        compressed("shared_resnet/32:layer1.1", "sequential")


@pytest.mark.parametrize("fit", ["least-squares", "output", "sequential", "paper"])
def test_kernels_of_1x1(fit: str) -> None:
    """They are their sign and size by every rule, one bit each, also in a layer with stride."""
    layers = (
        ConvShape("conv0", 3, 8, pool=False, stride=2),
        ConvShape("conv1", 8, 8, pool=False, kernel=1, shortcut=Shortcut(0)),
        ConvShape("conv2", 8, 6, pool=False, kernel=1, stride=2),
    )
    shape = NetworkShape("small", layers, ())
    network = random_network(shape, 5, min(TORCHVISION.scale))
    plan = parse_mask_plan("3", shape)
    assert plan == (3, 1, 1)
    integers, report = compress(network, plan, PICTURES, preprocessing="torchvision", fit=fit)
    assert report.weights == 8 * 3 * 9 + 8 * 8 + 8 * 6
    for number in (1, 2):
        weight = network.weights[number]
        if fit == "sequential":  # which corrects the weights first
            continue
        found = real_parameters(integers)[number][0]
        np.testing.assert_allclose(found, weight, atol=float(np.abs(weight).max()) / SCALAR_MAX)
    with pytest.raises(InputError, match="mask bits 2 for layer conv2; allowed: 1"):
        compress(network, (3, 1, 2), PICTURES, preprocessing="torchvision", fit=fit)


def test_mask_plans_of_graphs() -> None:
    shape = parse_network("shared_resnet/32:layer1.1")
    assert parse_mask_plan("2", shape) == (2,) * 5
    assert parse_mask_plan("5,3,1", shape) == (5, 3, 1, 3, 1)  # no entries for the repetition
    with pytest.raises(InputError, match=r"describe 5 layers, shared_resnet/32:layer1\.1 has 3"):
        parse_mask_plan("3*5", shape)


def test_the_dequantised_network_is_near_the_float_one() -> None:
    network, integers = compressed("resnet18/16:layer1.1", "least-squares", "5")
    floats = dequantise(integers)
    x = real_batch([PICTURES.load(0)], TORCHVISION)
    wanted, found = FloatModel(network).run(x)[-1], FloatModel(floats).run(x)[-1]
    assert float((found - wanted).norm() / wanted.norm()) < 0.1


def test_the_stem_keeps_its_zeros() -> None:
    """Taps that belong to no pixel stay 0 where masks have a zero, so that they cost no accuracy."""
    network, integers = compressed("resnet18/16:layer1.0", "least-squares", "5")
    unused = blocks_kernel(np.ones((1, 3, 7, 7)))[0] == 0
    share = float((integers.layers[0].mask[:, unused] == 0).mean())
    assert share > 0.5
    assert not network.weights[0][:, unused].any()


def test_the_residual_is_what_the_shortcut_lost() -> None:
    """The mean of x' (c - c')^T of a layer with an identity, by plain loops over all windows."""
    shape = parse_network("resnet18/32:layer1.0")
    network = random_network(shape, 3, min(TORCHVISION.scale))
    pictures = generated_pictures(24, 20, count=2)
    seen = {}

    class Watched(SequentialFit):
        def _moments(self, position, maps, added, scale):
            seen[position] = super()._moments(position, maps, added, scale)
            return seen[position]

    layers = [c.folded.layer for c in Watched(network, TORCHVISION, 8, pictures, 99.99).run((2,) * 3)]
    integers, _ = compress(network, (2,) * 3, pictures, preprocessing="torchvision", fit="sequential")
    assert seen[1][2] is None
    found = seen[2][2]
    wanted = np.zeros_like(found)
    for n in range(2):
        rgb = pictures.load(n)
        x = first_map(rgb, TORCHVISION, 8, blocks=True)
        maps = Reference(integers).run(torch.from_numpy(x)[None])
        real = FloatModel(network).run(real_batch([rgb], TORCHVISION))
        lost = (real[0].double() - maps[0].double() * layers[0].scale)[0].numpy()
        read = np.pad(maps[1][0].numpy() * layers[1].scale, ((0, 0), (1, 1), (1, 1)))
        places = list(np.ndindex(lost.shape[1:]))
        for r, c in places:
            wanted += np.outer(read[:, r : r + 3, c : c + 3].ravel(), lost[:, r, c]) / len(places) / 2
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(np.abs(wanted).max()))
