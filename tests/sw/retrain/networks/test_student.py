"""The forward pass of training is the exported network, bit for bit; folding is that of compress."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.fit import fit_masks
from kestrel.sw.compress.fold import InputScale, fold_layer
from kestrel.sw.compress.mask_rules import RULES, fit_kernels, vendor
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.refine import keep_masks, nearest_masks
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import ConvShape, parse_network
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import random_network as float_random
from kestrel.sw.retrain.networks.folding import fold
from kestrel.sw.retrain.networks.parameters import vendor_weights
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.start import quantised_student
from kestrel.verif.cases.lively_network import lively_network
from kestrel.verif.cases.random_network import stack


def draw(
    rng: np.random.Generator, mask_bits: int, activation_bits: int, channels: tuple[int, ...] = (3, 9, 8, 7)
) -> CompressedNetwork:
    return lively_network(rng, stack(channels, pools=[1]), mask_bits, activation_bits=activation_bits)


def assert_equal(
    student: QuantisedNetwork, rng: np.random.Generator, height: int = 12, width: int = 11
) -> None:
    exported = student.export()
    reference = Reference(exported)
    x = torch.from_numpy(rng.integers(0, 2**exported.activation_bits, (2, 3, height, width)).astype(np.uint8))
    expected = reference.run(x)
    with torch.no_grad():
        found = student.integer_maps(x.float(), range(len(expected)))
    assert len(found) == len(expected)
    for (index, y, log_scale), wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y.numpy(), wanted.numpy(), err_msg=f"layer {index}")
        assert float(log_scale.exp()) == pytest.approx(exported.layers[index].scale, rel=1e-12)
    assert len(expected[-1].unique()) > 2, "the network says nothing: the comparison is worth little"


@pytest.mark.parametrize("activation_bits", [5, 8])
@pytest.mark.parametrize("mask_bits", MASK_BITS)
@pytest.mark.parametrize("learn_scalars", [False, True])
def test_training_forward_is_the_exported_network(
    mask_bits: int, activation_bits: int, learn_scalars: bool, rng: np.random.Generator
) -> None:
    student = QuantisedNetwork(
        draw(rng, mask_bits, activation_bits), QuantiseOptions(learn_scalars=learn_scalars)
    )
    assert_equal(student, rng)
    # And after steps that changed weights, biases, ranges (and scalars).
    optimiser = torch.optim.Adam(
        [
            {"params": [p], "lr": 0.03 * (float(p.detach().std()) if p.numel() > 1 else 1)}
            for p in student.parameters()
        ]
    )
    pictures = torch.from_numpy(rng.integers(0, 256, (2, 12, 11, 3)).astype(np.uint8))
    for _ in range(3):
        y = student(pictures, [2])[2]
        (y * torch.from_numpy(rng.standard_normal(y.shape).astype(np.float32))).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        student.quantise("fit")
    assert_equal(student, rng)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_starts_as_the_compressed_network(mask_bits: int, rng: np.random.Generator) -> None:
    network = draw(rng, mask_bits, 8)
    student = QuantisedNetwork(network, QuantiseOptions())
    x = torch.from_numpy(rng.integers(0, 256, (1, 3, 10, 10)).astype(np.uint8))
    expected = Reference(network).run(x)
    for how in ("keep", "fit"):
        student.quantise(how)
        found = student.integer_maps(x.float(), range(3))
        for (index, y, _), wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(y.detach().numpy(), wanted.numpy(), err_msg=f"{how}, layer {index}")


def test_sums_beyond_24_bits(rng: np.random.Generator) -> None:
    """Many channels: the sums are split, and still exact."""
    student = QuantisedNetwork(draw(rng, 5, 8, (3, 160, 40)), QuantiseOptions())
    for layer in student.convs():
        layer.weight.data += 0.5 * layer.weight.data.abs()
        layer.log_range.data += 4.0
    student.quantise("fit")
    assert_equal(student, rng)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
@pytest.mark.parametrize("rule", list(RULES))
def test_folding_is_that_of_compress(
    rule: str, mask_bits: int, rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((7, 5, 3, 3)).astype(np.float32) * 0.1
    weight[2, 1] = 0
    bias = rng.standard_normal(7).astype(np.float32)
    wanted_fit = fit_masks(weight, mask_bits, rule)
    found_fit = fit_kernels(torch.from_numpy(weight), mask_bits, RULES[rule])
    inputs = InputScale(rng.uniform(0.5, 2, 5), rng.uniform(0, 100, 5))
    refine = keep_masks if rule in {"vendor", "paper"} else nearest_masks
    wanted = fold_layer(
        ConvShape("a", 5, 7, False), weight, bias, wanted_fit, mask_bits, 3.0, inputs, 8, refine
    )
    found = fold(
        torch.from_numpy(weight).double(),
        torch.from_numpy(bias).double(),
        found_fit,
        mask_bits,
        3.0,
        (torch.from_numpy(inputs.scale), torch.from_numpy(inputs.zero)),
        8,
        refine=rule not in {"vendor", "paper"},
    )
    np.testing.assert_array_equal(found.mask.numpy(), wanted.layer.mask)
    np.testing.assert_array_equal(found.alpha.numpy(), wanted.layer.alpha)
    np.testing.assert_array_equal(found.bias.numpy(), wanted.layer.bias)
    assert (found.shift, found.scale, found.raised) == (wanted.layer.shift, wanted.layer.scale, wanted.raised)


def test_latent_weights_stand_for_the_same_integers(rng: np.random.Generator) -> None:
    """One-bit weights with sizes from float ones: the same network, and a tap that float has otherwise is
    nearest to turning."""
    shape = parse_network("vgg11/16:pool2")
    weights = float_random(shape, 5)
    network, _ = compress(weights, [1, 1], generated_pictures(16, 16, count=1), preprocessing="none")
    layer = network.layers[1]
    mask = layer.mask.copy()
    mask[3, 2, 1, 1] *= -1
    turned = replace(network, layers=(network.layers[0], replace(layer, mask=mask)))
    student = QuantisedNetwork(turned, QuantiseOptions(), latent=weights)
    assert_equal(student, rng)
    x = torch.from_numpy(rng.integers(0, 256, (1, 3, 16, 16)).astype(np.uint8))
    wanted = Reference(turned).last(x)
    found = student.integer_maps(x.float(), [1])[0][1]
    np.testing.assert_array_equal(found.detach().numpy(), wanted.numpy())
    kernel = student.convs()[1].weight.detach()[3, 2].abs()
    assert kernel[1, 1] == pytest.approx(float(kernel.min()))
    assert kernel.max() > 1.5 * kernel.mean()


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_the_vendors_rule_starts_from_any_network(mask_bits: int, rng: np.random.Generator) -> None:
    """Weights from which the rule makes given kernels: all masks of the width, but that with four and five
    bits one tap has the largest level."""
    values = np.array(mask_values(mask_bits))
    mask = rng.choice(values, (300, 9))
    if mask_bits > 3:
        mask[:, 0] = values[-1]
    if mask_bits == 1:
        mask[0] = 1
    else:
        mask[0] = 0
    kernels = torch.from_numpy(mask * rng.uniform(0.1, 3, (300, 1)))
    weights = vendor_weights(kernels, mask_bits).float().reshape(20, 15, 3, 3)
    found, alpha = fit_kernels(weights, mask_bits, vendor)
    np.testing.assert_allclose((found * alpha[:, :, None, None]).reshape(300, 9), kernels, rtol=1e-6)


def test_training_with_the_vendors_rule_goes_on_from_the_network(rng: np.random.Generator) -> None:
    """A fit with unchanged weights keeps every kernel's product, up to scalars that are halved."""
    network = draw(rng, 3, 8)
    student = QuantisedNetwork(network, QuantiseOptions(fit="vendor"))
    before = [layer.integers.weights() * 2.0**-layer.integers.shift for layer in student.convs()]
    for layer, stored in zip(student.export().layers, network.layers, strict=True):
        np.testing.assert_array_equal(layer.alpha, stored.alpha)
        told = stored.mask * (stored.alpha > 0)[:, :, None, None]  # with a scalar of 0 a mask says nothing
        np.testing.assert_array_equal(layer.mask, told)
    student.quantise("fit")
    for layer, wanted in zip(student.convs(), before, strict=True):
        found = layer.integers.weights() * 2.0**-layer.integers.shift
        assert float((found - wanted).abs().max()) <= 2.0**-layer.integers.shift * 4
        assert float(wanted.abs().max()) > 2.0**-layer.integers.shift * 100
    assert_equal(student, rng)


def test_start_is_found_out() -> None:
    """From float weights where the network holds no more than they do, else from the network."""
    shape = parse_network("vgg11/16:pool2")
    weights = float_random(shape, 5)
    network, _ = compress(weights, [3, 1], generated_pictures(16, 16, count=1), preprocessing="none")
    student = quantised_student(network, weights, "auto", QuantiseOptions())
    np.testing.assert_array_equal(student.convs()[1].weight.detach().numpy(), weights.weights[1])
    layer = network.layers[1]
    turned = replace(network, layers=(network.layers[0], replace(layer, mask=-layer.mask)))
    student = quantised_student(turned, weights, "auto", QuantiseOptions())
    np.testing.assert_array_equal(np.sign(student.convs()[1].weight.detach().numpy()), turned.layers[1].mask)
