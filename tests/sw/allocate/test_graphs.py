"""Allocation for networks that are graphs: shortcuts, strides, 1x1 kernels and shared layers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import centre_kernel_bits, kernel_bits
from kestrel.sw.allocate.allocate import Allocator, Target, front_loaded
from kestrel.sw.allocate.costs import layer_costs
from kestrel.sw.allocate.measure import in_memory
from kestrel.sw.allocate.search import for_every_layer, plan_text
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import ConvShape, NetworkShape, Shortcut, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork, random_network
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor

PICTURES = in_memory(generated_pictures(32, 32, seed=1, count=3), 3)
PREPROCESSING = "torchvision"

MIXED = NetworkShape("mixed", (
    ConvShape("stem", 3, 8, pool=True, pool_size=3),
    ConvShape("left", 8, 8, pool=False, shortcut=Shortcut(0)),
    ConvShape("again", 8, 8, pool=False, shortcut=Shortcut(1), shares=1),
    ConvShape("point", 8, 6, pool=False, kernel=1),
    ConvShape("half", 6, 12, pool=False, stride=2, shortcut=Shortcut(1, projection=True, stride=2)),
), ())  # fmt: skip
"""Every kind of layer; ``again`` has no integers of its own."""


def network(shape: NetworkShape, seed: int = 5) -> FloatNetwork:
    return random_network(shape, seed, min(find_preprocessing(PREPROCESSING).scale))


@pytest.fixture(scope="module")
def allocator() -> Allocator:
    return Allocator(network(MIXED), PICTURES, preprocessing=PREPROCESSING)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("resnet18/8:layer2.0", "3"), ("resnet18/8:layer2.0", "1"), ("shared_resnet/16:layer1.1", "2,3,1"),
     ("repvgg_a0/16:stage2.1", "5")],
)  # fmt: skip
def test_bits_and_weights_are_those_that_compress_reports(name: str, bits: str) -> None:
    shape = parse_network(name)
    costs = layer_costs(shape, (1, 2, 3, 5), 32, 32)
    every = parse_mask_plan(bits, shape)
    plan = tuple(b for b, layer in zip(every, shape.layers, strict=True) if layer.shares is None)
    _, report = compress(network(shape), every, PICTURES, preprocessing=PREPROCESSING)
    assert (costs.bits(plan), costs.weights) == (report.bits, report.weights)


def test_costs_of_every_kind_of_layer() -> None:
    costs = layer_costs(MIXED, (1, 3, 4), 32, 32)
    assert [[c.mask_bits for c in layer] for layer in costs.choices] == [[1, 3, 4]] * 2 + [[1], [1, 3, 4]]
    assert [c.bits for c in costs.choices[1]] == [
        64 * kernel_bits(b) + 8 * centre_kernel_bits() for b in (1, 3, 4)]  # fmt: skip
    assert costs.choices[2][0].bits == 48 * centre_kernel_bits()
    # The shared layer runs twice; its identity takes a pass each time, however wide the masks are.
    assert [c.cycles for c in costs.choices[1]] == [2 * 256 * (1 + 1), 2 * 256 * (1 + 1), 2 * 256 * (2 + 1)]
    assert costs.choices[2][0].cycles == 256
    assert [c.cycles for c in costs.choices[3]] == [8 * 16 + 64, 8 * 16 + 64, 2 * 8 * 16 + 64]
    assert costs.cycles == 32 * 32 + 2 * 512 + 256 + 192
    assert costs.weights == 9 * 24 + 9 * 64 + 48 + 9 * 72 + 8 * 12


@pytest.mark.parametrize("name", ["resnet18/4:layer2.1", "shared_resnet/4:layer2.1", "repvgg_a0/4:stage2.1"])
def test_cycles_are_those_in_which_the_engine_streams(name: str) -> None:
    """What is left out is loading and draining, which do not depend on the widths."""
    shape = parse_network(name)
    costs = layer_costs(shape, (3,), 64, 64)
    integers, _ = compress(network(shape), parse_mask_plan("3", shape), PICTURES, preprocessing=PREPROCESSING)
    plan = make_plan(integers, replace(NAMED["edge"], residual=True), 64, 64)
    assert costs.cycles == sum(record.streaming for record in frame_cycles(plan).layers)


def test_plans_read_back() -> None:
    plan = (3, 2, 1, 3)
    assert for_every_layer(plan, MIXED.layers) == (3, 2, 2, 1, 3)
    assert parse_mask_plan(plan_text(plan), MIXED) == (3, 2, 2, 1, 3)
    assert [front_loaded(MIXED, 3, 2, count) for count in (0, 2, 4)] == [
        (2, 2, 1, 2), (3, 3, 1, 2), (3, 3, 1, 3)]  # fmt: skip


def test_sensitivities_are_those_of_the_float_network_with_fitted_layers(allocator: Allocator) -> None:
    """Against the float model of the whole network, both users of shared masks changed."""
    floats = network(MIXED)
    pictures = real_batch([PICTURES.load(n) for n in range(3)], find_preprocessing(PREPROCESSING))
    pool = NipDescriptor()
    wanted = pool(FloatModel(floats).run(pictures)[-1]).double()
    for position, (owner, users) in enumerate([(0, [0]), (1, [1, 2]), (3, [3]), (4, [4])]):
        for width, found in allocator.sensitivity.descriptor[position].items():
            fitted = allocator.integers._fits.get(owner, width)[0].weights().astype(np.float32)
            weights = tuple(fitted if n in users else w for n, w in enumerate(floats.weights))
            changed = pool(FloatModel(replace(floats, weights=weights)).run(pictures)[-1]).double()
            expected = float(((changed - wanted) ** 2).sum(dim=1).mean()) / 2
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_sensitivities_around_a_plan_are_those_of_the_plans_themselves(allocator: Allocator) -> None:
    base = (3, 2, 1, 2)
    choices = [[c.mask_bits for c in layer] for layer in allocator.costs.choices]
    table = allocator._disturbance.around(base, choices)
    for position, widths in enumerate(choices):
        for width in widths:
            plan = (*base[:position], width, *base[position + 1 :])
            assert table.descriptor[position][width] == pytest.approx(
                allocator._disturbance.measure(plan), rel=1e-5)  # fmt: skip


def test_a_plan_of_a_size_is_found_and_measured_in_integers(allocator: Allocator) -> None:
    costs = allocator.costs
    size = (costs.smallest + costs.bits((3, 3, 1, 3))) // 2
    found = allocator.find(Target(bits=size), rounds=2, trials=4).found
    assert found.bits <= size
    assert found.plan[2] == 1
    integers = allocator.integers.compress(found.plan)
    assert integers.weight_bits == found.bits
    assert [layer.mask_bits for layer in integers.layers] == list(for_every_layer(found.plan, MIXED.layers))
    assert 0 < found.distortion.mean < 0.5


@pytest.mark.parametrize(
    "name", ["resnet18/32:layer2.0", "shared_resnet/32:layer2.1", "repvgg_a0/32:stage1.1"]
)
@pytest.mark.parametrize("fit", ["least-squares", "output"])
def test_named_networks(name: str, fit: str) -> None:
    """Wider masks disturb less, also in the network as a whole."""
    allocator = Allocator(network(parse_network(name)), PICTURES, preprocessing=PREPROCESSING, fit=fit)
    count = len(allocator.costs.choices)
    narrow, wide = (allocator.measured((bits,) * count).distortion.mean for bits in (1, 3))
    assert 0 < wide < narrow
    assert torch.isfinite(torch.tensor([narrow, wide])).all()


def test_costs_with_tables_are_those_of_the_compressed_network() -> None:
    """Scalars of fewer bits, and the tables of layers and of shortcuts."""
    floats = network(MIXED)
    allocator = Allocator(floats, PICTURES, preprocessing=PREPROCESSING, scalar_bits=3)
    choices = allocator.costs.choices
    for plan in ([1] * len(choices), [layer[-1].mask_bits for layer in choices]):
        found = allocator.integers.compress(tuple(plan))
        assert {layer.scalar_bits for layer in found.layers} == {3}
        assert allocator.costs.bits(plan) == found.weight_bits
    with pytest.raises(InputError, match="scalar bits 5; allowed: 8, 4, 3, 2"):
        Allocator(floats, PICTURES, preprocessing=PREPROCESSING, scalar_bits=5)
