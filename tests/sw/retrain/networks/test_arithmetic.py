"""Gradients are those of the real arithmetic with the quantised numbers in it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from kestrel.sw.retrain.networks import arithmetic
from kestrel.sw.retrain.networks.arithmetic import Inputs, Map
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.verif.cases.random_network import random_network, stack


@pytest.mark.parametrize("first", [True, False])
def test_gradients_are_those_of_the_real_arithmetic(first: bool, rng: np.random.Generator) -> None:
    """Against autograd on v = (conv(S_in (x - z), w) + b) / S_out in float64."""
    student = QuantisedNetwork(random_network(rng, stack((3, 5)), 3), QuantiseOptions())
    layer = student.convs()[0]
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    x = torch.randint(0, 256, (2, 3, 6, 5), generator=generator).float().requires_grad_()
    pad = torch.tensor(student.pad.astype(np.float32)).view(1, 3, 1, 1) if first else None
    scale, zero = torch.full((3,), 0.7, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    if first:
        zero = torch.tensor(rng.uniform(0, 200, 3))
    inputs = Inputs(scale, zero)
    layer.quantise(inputs, "fit")
    integers = layer.integers
    log_in = torch.tensor(np.log(0.7)).requires_grad_()
    log_out = torch.tensor(np.log(integers.scale)).requires_grad_()
    seen = layer.bias.detach().double()
    operands = arithmetic.make_operands(integers, layer.shape, seen, inputs, pad, {}, mixed=False)
    v = arithmetic.convolve(Map(x, log_in), layer.weight, layer.bias, log_out, operands)
    direction = torch.randn(v.shape, generator=generator)
    (v * direction).sum().backward()

    weight = (integers.weights() * 2.0**-integers.shift * integers.scale / 0.7).requires_grad_()
    bias, real_x = seen.clone().requires_grad_(), x.detach().double().requires_grad_()
    wanted_in, wanted_out = (t.detach().clone().requires_grad_() for t in (log_in, log_out))
    framed = functional.pad(real_x, (1, 1, 1, 1))
    if pad is not None:
        outside = functional.pad(torch.ones_like(real_x), (1, 1, 1, 1)) == 0
        framed = torch.where(outside, pad.double().expand(framed.shape), framed)
    real = wanted_in.exp() * (framed - zero.view(1, -1, 1, 1))
    wanted = (functional.conv2d(real, weight) + bias.view(1, -1, 1, 1)) / wanted_out.exp()
    # Up to the rounding of the stored bias, of half a step of 1/8.
    assert float((v - wanted).detach().abs().max()) <= 1 / 16 + 1e-3
    (wanted * direction).sum().backward()
    for found, expected in ((x, real_x), (layer.weight, weight), (layer.bias, bias)):
        assert found.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(
            found.grad.double(), expected.grad, rtol=2e-4, atol=2e-4 * float(expected.grad.abs().max())
        )
    size = float((wanted.detach() * direction).abs().sum())
    for found, expected in ((log_out, wanted_out), *(() if first else ((log_in, wanted_in),))):
        assert found.grad is not None
        assert expected.grad is not None
        # v holds the stored bias, the formula the real one: a difference of 1/16 at most.
        assert (
            float((found.grad - expected.grad).abs()) <= (1 / 16) * float(direction.abs().sum()) + 1e-4 * size
        )


def test_requantise_passes_gradients_inside_its_range_only() -> None:
    v = torch.tensor([-3.0, -0.1, 0.2, 100.0, 254.9, 255.4, 255.6, 900.0], requires_grad=True)
    y = arithmetic.requantise(v, 8)
    assert y.tolist() == [0, 0, 0, 100, 255, 255, 255, 255]
    y.sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_a_library_that_convolves_inexactly_is_found_out(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With float32 convolutions that round, the layer still gives the exact numbers, in float64."""
    student = QuantisedNetwork(random_network(rng, stack((3, 8, 6)), 3), QuantiseOptions())
    x = torch.randint(0, 256, (1, 3, 9, 9)).float()
    wanted = [y for _, y, _ in student.integer_maps(x, [0, 1])]
    true = functional.conv2d

    def rounded(x: torch.Tensor, weight: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        found = true(x, weight, *rest, **options)
        return found if x.dtype == torch.float64 else found * (1 + 2.0**-12)

    monkeypatch.setattr(functional, "conv2d", rounded)
    student._exact.clear()
    found = [y for _, y, _ in student.integer_maps(x, [0, 1])]
    assert not any(student._exact.values())
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)
