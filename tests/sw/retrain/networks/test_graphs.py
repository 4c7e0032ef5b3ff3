"""Training of networks that are graphs: the forward pass is the reference, gradients are the real ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.fit import fit_masks
from kestrel.sw.compress.fold import InputScale, ShortcutInput, fold_layer
from kestrel.sw.compress.mask_plan import parse_mask_plan, parse_scalar_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.refine import keep_masks, nearest_masks
from kestrel.sw.model.blocks import blocks_kernel
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.graph import scale_groups
from kestrel.sw.model.network import ConvShape, NetworkShape, Shortcut, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.validation import validate
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.model.weights import random_network as float_random
from kestrel.sw.pictures.images import first_map, generate_picture
from kestrel.sw.retrain.losses import feature_layers
from kestrel.sw.retrain.networks import arithmetic
from kestrel.sw.retrain.networks.arithmetic import Inputs, Map
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.folding import RealShortcut, fold
from kestrel.sw.retrain.networks.parameters import float_parameters
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork, integer_pixels
from kestrel.sw.retrain.start import quantised_student
from kestrel.verif.cases.random_graph import random_graph

pytestmark = pytest.mark.usefixtures("one_thread")

TORCHVISION = find_preprocessing("torchvision")
PICTURES = generated_pictures(33, 40, count=3)


def graph(
    rng: np.random.Generator, *, blocks: bool = False, activation_bits: int = 8, count: int = 9
) -> CompressedNetwork:
    """A random graph all of whose maps have one scale, as those of layers that share integers must."""
    network = random_graph(rng, count, (5, 8, 9), blocks=blocks, activation_bits=activation_bits)
    return replace(network, layers=tuple(replace(layer, scale=1.0) for layer in network.layers))


def compressed(name: str, bits: str, fit: str) -> tuple[FloatNetwork, CompressedNetwork]:
    shape = parse_network(name)
    weights = float_random(shape, 3, min(TORCHVISION.scale))
    plan = parse_mask_plan(bits, shape)
    return weights, compress(weights, plan, PICTURES, preprocessing="torchvision", fit=fit)[0]


def assert_equal(student: QuantisedNetwork, network: CompressedNetwork, rng: np.random.Generator) -> None:
    """The maps of ``student`` are those of ``network``, layer by layer."""
    size = (2, network.layers[0].shape.in_channels, 21, 26)
    x = torch.from_numpy(rng.integers(0, 1 << network.activation_bits, size).astype(np.uint8))
    expected = Reference(network).run(x)
    with torch.no_grad():
        found = student.integer_maps(x.float(), range(len(expected)))
    for (index, y, log_scale), wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y.numpy(), wanted.numpy(), err_msg=f"layer {index}")
        assert float(log_scale.exp()) == pytest.approx(network.layers[index].scale, rel=1e-12)


def steps(student: QuantisedNetwork, rng: np.random.Generator, count: int = 3) -> None:
    """Training steps that change weights, biases, shortcuts and ranges."""
    groups = [
        {"params": [p], "lr": 0.03 * (float(p.detach().std()) or float(p.detach().abs().mean()))}
        for p in student.parameters() if p.numel() > 1
    ]  # fmt: skip
    ranges = [p for p in student.parameters() if p.numel() == 1]
    optimiser = torch.optim.Adam([*groups, {"params": ranges, "lr": 0.03}])
    pictures = torch.from_numpy(rng.integers(0, 256, (2, 27, 31, 3)).astype(np.uint8))
    last = len(student.shape.layers) - 1
    for _ in range(count):
        y = student(pictures, [last])[last]
        (y * torch.from_numpy(rng.standard_normal(y.shape).astype(np.float32))).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        student.quantise("fit")


@pytest.mark.parametrize("options", [QuantiseOptions(), QuantiseOptions(learn_scalars=True)])
@pytest.mark.parametrize(("blocks", "activation_bits"), [(False, 8), (True, 8), (False, 5)])
def test_training_forward_is_the_reference(
    blocks: bool, activation_bits: int, options: QuantiseOptions, rng: np.random.Generator
) -> None:
    """Random graphs with strides, 1x1 kernels, shortcuts, all poolings and shared layers."""
    for _ in range(4):
        network = graph(rng, blocks=blocks, activation_bits=activation_bits)
        student = QuantisedNetwork(network, options)
        assert_equal(student, network, rng)
        assert_equal(student, student.export(), rng)
        steps(student, rng)
        assert_equal(student, student.export(), rng)


@pytest.mark.parametrize(
    ("name", "bits", "fit"),
    [
        ("resnet18/16:layer2.1", "1", "sequential"),
        ("resnet18/16:layer2.1", "2", "output"),
        ("shared_resnet/32:layer2.2", "3", "least-squares"),
        ("repvgg_a0/16:stage2.1", "2", "sequential"),
    ],
)
def test_starts_from_a_compressed_network(name: str, bits: str, fit: str, rng: np.random.Generator) -> None:
    """From its own integers, with the sizes of the float weights or without, and trained on."""
    weights, network = compressed(name, bits, fit)
    for latent in (None, weights):
        student = QuantisedNetwork(network, QuantiseOptions(), latent=latent)
        assert_equal(student, network, rng)
        student.quantise("fit")
        assert_equal(student, student.export(), rng)
    before = [None if c.shortcut is None else c.shortcut.detach().clone() for c in student.convs()]
    steps(student, rng)
    assert_equal(student, student.export(), rng)
    for conv, start in zip(student.convs(), before, strict=True):
        if conv.shortcut is not None:
            assert start is not None
            assert not torch.equal(conv.shortcut, start)


def test_start_is_found_out_for_graphs() -> None:
    """From the float weights if the network holds no more than they do, else from the network."""
    weights, network = compressed("resnet18/16:layer2.0", "2", "least-squares")
    student = quantised_student(network, weights, "auto", QuantiseOptions())
    np.testing.assert_array_equal(student.convs()[2].weight.detach().numpy(), weights.weights[2])
    _, fitted = compressed("resnet18/16:layer2.0", "2", "sequential")
    student = quantised_student(fitted, weights, "auto", QuantiseOptions())
    assert not np.array_equal(student.convs()[2].weight.detach().numpy(), weights.weights[2])


def test_shared_layers_stay_shared(rng: np.random.Generator) -> None:
    """One layer trains for all its repetitions, and maps that must agree keep one scale."""
    _, network = compressed("shared_resnet/32:layer2.2", "2", "least-squares")
    student = QuantisedNetwork(network, QuantiseOptions())
    shapes = student.shape.layers
    assert len(student.convs()) == sum(shape.shares is None for shape in shapes) < len(shapes)
    steps(student, rng)
    layers = student.export().layers
    for layer, group in zip(layers, scale_groups(shapes), strict=True):
        assert layer.scale == layers[group].scale
        if layer.shape.shares is not None:
            assert layer.mask is layers[layer.shape.shares].mask
    assert layers[1].scale != network.layers[1].scale


def test_ranges_that_belong_together_are_raised_together(rng: np.random.Generator) -> None:
    """A bias of one repetition's layer that does not fit raises the range of all maps of its group."""
    _, network = compressed("shared_resnet/32:layer1.1", "3", "least-squares")
    student = QuantisedNetwork(network, QuantiseOptions())
    groups = scale_groups(student.shape.layers)
    assert groups[2] == groups[0]
    student.convs()[2].bias.data[0] = 1.5 * 256 * network.layers[2].scale
    student.quantise("fit")
    layers = student.export().layers
    assert layers[2].scale == layers[0].scale > 1.4 * network.layers[0].scale
    assert_equal(student, student.export(), rng)


def test_scales_that_should_agree_and_do_not_are_refused() -> None:
    _, network = compressed("shared_resnet/32:layer1.1", "3", "least-squares")
    layer = network.layers[2]
    odd = replace(network, layers=(*network.layers[:2], replace(layer, scale=2 * layer.scale)))
    odd = replace(odd, layers=(*odd.layers, *(replace(x, scale=2 * x.scale) if x.shape.shares == 2 else x
                                              for x in network.layers[3:])))  # fmt: skip
    with pytest.raises(InputError, match=r"scale of layer layer1_0_conv2 = .*; allowed: .* of conv1"):
        QuantisedNetwork(odd, QuantiseOptions())


def test_sums_with_shortcuts_beyond_24_bits(rng: np.random.Generator) -> None:
    """Many channels: what does not fit float32 is split, the shortcut included."""
    shapes = (
        ConvShape("a", 3, 96, pool=False),
        ConvShape("b", 96, 96, pool=False, shortcut=Shortcut(0)),
        ConvShape("c", 96, 80, pool=False, stride=2, shortcut=Shortcut(0, projection=True, stride=2)),
    )
    weights = float_random(NetworkShape("wide", shapes, ()), 1, min(TORCHVISION.scale))
    network, _ = compress(weights, (5, 5, 5), PICTURES, preprocessing="torchvision")
    student = QuantisedNetwork(network, QuantiseOptions())
    for layer in student.convs()[1:]:
        assert layer.shortcut is not None
        layer.weight.data = layer.weight.data.abs() * 0.2
        layer.shortcut.data = layer.shortcut.data.abs() * 20
    student.quantise("fit")
    assert_equal(student, student.export(), rng)


@pytest.mark.parametrize("kind", ["identity", "projection"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_folding_with_shortcuts_is_that_of_compress(
    kind: str, kernel: int, rng: np.random.Generator
) -> None:
    for gain in (0.02, 1.0, 50.0):
        weight = rng.standard_normal((7, 5, kernel, kernel)).astype(np.float32) * 0.1
        bias = rng.standard_normal(7).astype(np.float32)
        shortcut = rng.uniform(0.1, 1, 7) if kind == "identity" else rng.standard_normal((7, 4))
        bits = 3 if kernel == 3 else 1
        fit = fit_masks(weight, bits)
        inputs = InputScale(rng.uniform(0.5, 2, 5), rng.uniform(0, 100, 5))
        wanted = fold_layer(
            ConvShape("a", 5, 7, pool=False, kernel=kernel), weight, bias, fit, bits, 3.0, inputs, 8,
            nearest_masks if kernel == 3 else keep_masks, ShortcutInput(gain * shortcut, 0.3),
        )  # fmt: skip
        found = fold(
            torch.from_numpy(weight).double(), torch.from_numpy(bias).double(),
            (torch.from_numpy(fit.mask).double(), torch.from_numpy(fit.alpha)), bits, 3.0,
            (torch.from_numpy(inputs.scale), torch.from_numpy(inputs.zero)), 8, refine=kernel == 3,
            shortcut=RealShortcut(torch.from_numpy(gain * shortcut), 0.3),
        )  # fmt: skip
        layer = wanted.layer
        for part in ("mask", "alpha", "bias", "shortcut_alpha", "shortcut_sign"):
            mine, theirs = getattr(found, part), getattr(layer, part)
            assert (mine is None) == (theirs is None)
            if mine is not None:
                np.testing.assert_array_equal(mine.numpy(), theirs, err_msg=part)
        assert (found.shift, found.shortcut_shift, found.scale, found.raised) == (
            layer.shift, layer.shortcut_shift, layer.scale, wanted.raised
        )  # fmt: skip


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_with_a_shortcut(projection: bool, kernel: int, rng: np.random.Generator) -> None:
    """Against autograd on v = (conv(S_in x, w) + shortcut(S_2 x2, u) + b) / S_out in float64."""
    stride = 2 if projection else 1
    shapes = (
        ConvShape("a", 3, 6, pool=False),
        ConvShape("b", 6, 6, pool=False, kernel=kernel, stride=stride,
                  shortcut=Shortcut(0, projection, stride)),
    )  # fmt: skip
    weights = float_random(NetworkShape("two", shapes, ()), int(rng.integers(1000)), 1.0)
    plan, pictures = (3, 1 if kernel == 1 else 3), generated_pictures(16, 16)
    network, _ = compress(weights, plan, pictures, preprocessing="none")
    layer = QuantisedNetwork(network, QuantiseOptions()).convs()[1]
    assert layer.shortcut is not None
    scales = 0.7, 0.4
    inputs = Inputs(torch.full((6,), scales[0]).double(), torch.zeros(6).double(), scales[1])
    layer.quantise(inputs, "fit")
    integers = layer.integers
    draw = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    maps = torch.randint(0, 256, (2, 2, 6, 7, 5), generator=draw).float()
    x, other = (part.clone().requires_grad_() for part in maps)
    logs = [torch.tensor(np.log(s)).requires_grad_() for s in (*scales, integers.scale)]
    seen = layer.bias.detach().double()
    operands = arithmetic.make_operands(integers, layer.shape, seen, inputs, None, {}, mixed=False)
    v = arithmetic.convolve(
        Map(x, logs[0]), layer.weight, layer.bias, logs[2], operands, Map(other, logs[1]), layer.shortcut
    )
    direction = torch.randn(v.shape, generator=draw)
    (v * direction).sum().backward()

    unit = 2.0**-integers.shift * integers.scale
    whole = integers.shortcut_weights()
    assert whole is not None
    wanted = (integers.weights() * unit / scales[0], seen, whole * unit / scales[1], x.double(),
              other.double(), *logs)  # fmt: skip
    wanted = [leaf.detach().clone().requires_grad_() for leaf in wanted]
    w, b, u, real_x, real_other, log_in, log_other, log_out = wanted
    total = functional.conv2d(log_in.exp() * real_x, w, b, stride, kernel // 2)
    added = log_other.exp() * real_other
    total = total + (
        functional.conv2d(added, u[:, :, None, None], stride=stride) if projection
        else added * u.view(1, -1, 1, 1)
    )  # fmt: skip
    expected = total / log_out.exp()
    assert float((v - expected).detach().abs().max()) <= 1 / 16 + 1e-3
    (expected * direction).sum().backward()
    for mine, theirs in zip((layer.weight, layer.bias, layer.shortcut, x, other), wanted[:5], strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        limit = 2e-4 * float(theirs.grad.abs().max())
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=2e-4, atol=limit)
    # v holds the stored bias, the formula the real one: a difference of 1/16 at most.
    limit = float(direction.abs().sum()) / 16 + 1e-4 * float((expected.detach() * direction).abs().sum())
    for mine, theirs in zip(logs, (log_in, log_other, log_out), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert float((mine.grad - theirs.grad).abs()) <= limit
        assert float(theirs.grad.abs()) > 0


def test_gradients_of_repetitions_add_up(rng: np.random.Generator) -> None:
    """A shared layer's gradient is the sum of those of equal layers that do not share."""
    _, network = compressed("shared_resnet/32:layer1.1", "3", "least-squares")
    alone = replace(network, layers=tuple(
        replace(x, shape=replace(x.shape, shares=None)) for x in network.layers))  # fmt: skip
    together, apart = (QuantisedNetwork(n, QuantiseOptions()) for n in (network, alone))
    pictures = torch.from_numpy(rng.integers(0, 256, (1, 20, 20, 3)).astype(np.uint8))
    for student in (together, apart):
        student(pictures, [4])[4].square().mean().backward()
    owners: Sequence[tuple[int, int]] = ((1, 3), (2, 4))
    for owner, repetition in owners:
        for name in ("weight", "bias", "shortcut"):
            mine = getattr(together.convs()[owner], name)
            others = [getattr(apart.convs()[n], name) for n in (owner, repetition)]
            if mine is None:
                continue
            wanted = others[0].grad + others[1].grad
            assert float(others[1].grad.abs().max()) > 0
            torch.testing.assert_close(mine.grad, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_the_student_reads_pictures_as_the_chip_does(rng: np.random.Generator) -> None:
    """Blocks of odd sizes, and fewer activation bits."""
    for bits in (8, 5):
        picture = rng.integers(0, 256, (19, 22, 3)).astype(np.uint8)
        wanted = first_map(picture, TORCHVISION, bits, blocks=True)
        found = integer_pixels(torch.from_numpy(picture)[None], TORCHVISION, bits, blocks=True)
        np.testing.assert_array_equal(found[0].numpy(), wanted)


@pytest.mark.parametrize(
    "name", ["resnet18/16:layer2.1", "shared_resnet/32:layer2.2", "repvgg_a0/16:stage2.1"]
)
def test_the_teacher_is_the_float_network(name: str) -> None:
    weights = float_random(parse_network(name), 3, min(TORCHVISION.scale))
    picture = generate_picture(33, 38, 1)
    wanted = FloatModel(weights).run(real_batch([picture], TORCHVISION))
    module = FloatConvs(weights, TORCHVISION)
    with torch.no_grad():
        found = module(torch.from_numpy(picture)[None], range(len(wanted)))
    for number, expected in enumerate(wanted):
        torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
    exported = module.export()
    assert exported.shape == weights.shape
    for number in range(len(wanted)):
        np.testing.assert_array_equal(exported.weights[number], weights.weights[number])
        np.testing.assert_array_equal(exported.biases[number], weights.biases[number])
        mine, theirs = exported.shortcut(number), weights.shortcut(number)
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            np.testing.assert_array_equal(mine, theirs)


def test_float_training_leaves_the_stem_one_of_7x7(rng: np.random.Generator) -> None:
    module = FloatConvs(float_random(parse_network("resnet18/32:layer1.0"), 3), TORCHVISION)
    pictures = torch.from_numpy(rng.integers(0, 256, (1, 20, 20, 3)).astype(np.uint8))
    module(pictures, [2])[2].square().mean().backward()
    grad = module.convs()[0].weight.grad
    assert grad is not None
    there = blocks_kernel(np.ones((1, 3, 7, 7)))[0] != 0
    assert not grad[:, ~there].any()
    assert grad[:, there].any()
    identity = module.convs()[2].shortcut
    assert identity is not None
    assert identity.grad is None


def test_features_are_compared_before_each_smaller_map() -> None:
    shape = parse_network("resnet18:layer4.0")
    names = [shape.layers[n].name for n in feature_layers(shape, ())]
    assert names == ["conv1", "layer1_1_conv2", "layer2_1_conv2", "layer3_1_conv2", "layer4_0_conv2"]
    shape = parse_network("vgg16:conv3_1")
    assert [shape.layers[n].name for n in feature_layers(shape, ())] == ["conv1_2", "conv2_2", "conv3_1"]


def test_weights_of_another_network_are_refused() -> None:
    weights, _ = compressed("resnet18/16:layer1.0", "2", "least-squares")
    _, network = compressed("resnet18/16:layer2.0", "2", "least-squares")
    with pytest.raises(InputError, match=r"weights of 3 layers; allowed: 7, those of resnet18/16:layer2\.0"):
        float_parameters(network, weights)
    plain = replace(weights, shortcuts=())
    with pytest.raises(InputError, match=r"shortcut of layer1_0_conv2: none; allowed: \[4\], the network's"):
        float_parameters(compressed("resnet18/16:layer1.0", "2", "least-squares")[1], plain)


@pytest.mark.parametrize("bits", ["1", "2"])
@pytest.mark.parametrize("scalar_bits", ["4", "2"])
@pytest.mark.parametrize("fit", ["least-squares", "vendor"])
def test_tables_follow_the_scalars(bits: str, scalar_bits: str, fit: str, rng: np.random.Generator) -> None:
    """The start is the compressed network, from its own integers and from the float weights; trained on,
    every layer and shortcut keeps to a table of its own, and the forward pass is that of the network that is
    written."""
    shape = parse_network("resnet18/16:layer2.0")
    weights = float_random(shape, 3, min(TORCHVISION.scale))
    network = compress(weights, parse_mask_plan(bits, shape), PICTURES, preprocessing="torchvision", fit=fit,
                       scalar_bits=parse_scalar_plan(scalar_bits, shape))[0]  # fmt: skip
    if fit == "least-squares":
        assert_equal(QuantisedNetwork(network, QuantiseOptions(fit)), network, rng)
    student = quantised_student(network, weights, "float", QuantiseOptions(fit))
    # By least squares compression fits the first layer to its output, which training does not: ranges differ
    # then.
    alike = [(a.alpha, b.alpha) for a, b in zip(network.layers, student.export().layers, strict=True)
             if a.shift == b.shift][fit != "vendor" :]  # fmt: skip
    assert len(alike) > 2
    for found, wanted in alike:
        np.testing.assert_array_equal(found, wanted)
    assert_equal(student, network if fit == "vendor" else student.export(), rng)
    steps(student, rng)
    found = student.export()
    assert_equal(student, found, rng)
    validate(found)
    assert [layer.scalar_bits for layer in found.layers] == [int(scalar_bits)] * len(shape.layers)
    pairs = zip(found.layers, network.layers, strict=True)
    assert any(not np.array_equal(a.alpha, b.alpha) for a, b in pairs)
