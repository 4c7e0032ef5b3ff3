"""Sensitivities and the plans that follow from them, on small random networks."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.allocate.allocate import Allocator, Target, front_loaded
from kestrel.sw.allocate.measure import Gauge, in_memory
from kestrel.sw.allocate.search import Plan
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import same
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import random_network

SHAPE = parse_network("vgg16/8:pool2")
PICTURES = in_memory(generated_pictures(32, 32, seed=1, count=3), 3)
PREPROCESSING = "caffe"
ALL_PLANS: list[Plan] = list(product((1, 2, 3), repeat=4))


def network(seed):
    return random_network(SHAPE, seed)


@pytest.fixture(scope="module")
def allocator() -> Allocator:
    return Allocator(network(5), PICTURES, preprocessing=PREPROCESSING)


def test_a_layer_that_masks_hit_exactly_is_not_sensitive():
    """Weights that are masks already: no noise in that layer at 3 bits, and in no other layer less."""
    plain = network(3)
    rng = np.random.default_rng(3)
    mask = rng.choice([-4, -2, -1, 0, 1, 2, 4], plain.weights[2].shape)
    mask[:, :, 0, 0] = 4
    weights = list(plain.weights)
    weights[2] = (mask * 0.02).astype(np.float32)
    changed = replace(plain, weights=tuple(weights))
    found = Allocator(changed, PICTURES, preprocessing=PREPROCESSING).sensitivity
    assert found.output[2][3] < 1e-12
    assert found.descriptor[2][3] < 1e-12
    for position in (1, 3):  # the first layer is fitted otherwise
        assert found.output[position][3] > 1e-4
        assert found.output[position][1] > found.output[position][2] > found.output[position][3]


def test_sensitivities_around_a_plan_are_those_of_the_plans_themselves(allocator):
    base = (3, 2, 1, 2)
    table = allocator._disturbance.around(base, [(1, 2, 3)] * 4)
    assert table.at_base == pytest.approx(allocator._disturbance.measure(base), rel=1e-6)
    for position, width in product(range(4), (1, 2, 3)):
        plan = (*base[:position], width, *base[position + 1 :])
        assert table.descriptor[position][width] == pytest.approx(
            allocator._disturbance.measure(plan), rel=1e-5)
    assert sum(s[w] for s, w in zip(table.summands(), base, strict=True)) == pytest.approx(table.at_base)


def test_masks_alone_tell_what_the_integers_do(allocator):
    for plan in ((1, 1, 1, 1), (3, 2, 1, 1), (2, 2, 2, 2)):
        found = allocator.measured(plan)
        assert found.masks_only == pytest.approx(found.distortion.mean, rel=0.25)


def test_kept_fits_change_nothing():
    floats = network(7)
    plan = (3, 1, 2, 1)
    for rule in ("least-squares", "output", "vendor"):
        fits = LayerFits(floats, find_preprocessing(PREPROCESSING), PICTURES, rule)
        expected, _ = compress(floats, plan, PICTURES, preprocessing=PREPROCESSING, fit=rule)
        for _ in range(2):
            found, _ = compress(floats, plan, PICTURES, preprocessing=PREPROCESSING, fit=rule, fits=fits)
            assert same(found, expected)


@pytest.mark.parametrize("seed", [5, 6])
def test_at_any_size_as_good_as_everything_else(seed):
    """81 plans of four layers, all measured: of those within the size, the found one is the best or close to
    it, and never worse than wide masks first."""
    allocator = Allocator(network(seed), PICTURES, preprocessing=PREPROCESSING)
    costs, measure = allocator.costs, allocator._disturbance.measure
    known = {plan: measure(plan) for plan in ALL_PLANS}
    for share in (0.1, 0.35, 0.6, 0.85):
        size = int(costs.smallest + share * (costs.bits((3,) * 4) - costs.smallest))
        found = allocator.find(Target(bits=size)).found
        assert found.bits <= size
        within = {plan: value for plan, value in known.items() if costs.bits(plan) <= size}
        assert found.masks_only <= 1.1 * min(within.values())
        for count in range(5):
            if costs.bits(front_loaded(SHAPE, 3, 1, count)) <= size:
                assert found.masks_only <= within[front_loaded(SHAPE, 3, 1, count)]


def test_a_cosine_is_reached_by_the_integers_at_little_size(allocator):
    low, high = (allocator.integers(plan).cosine for plan in ((1,) * 4, (3,) * 4))
    target = low + 0.7 * (high - low)
    found = allocator.find(Target(cosine=target)).found
    assert found.distortion.cosine >= target
    smaller = [plan for plan in ALL_PLANS[::4]
               if allocator.costs.bits(plan) < 0.85 * found.bits]
    assert smaller
    assert all(allocator.integers(plan).cosine < target for plan in smaller)


def test_four_and_five_bits_only_for_their_cycles():
    wide = Allocator(network(5), PICTURES, preprocessing=PREPROCESSING, widths=(1, 2, 3, 4, 5))
    size = wide.costs.bits((5,) * 4)
    plain = wide.find(Target(bits=size), rounds=1, trials=2).found
    assert max(plain.plan) <= 3
    assert plain.cycles == 1
    dear = wide.find(Target(bits=size, cycles=1.9), rounds=1, trials=2).found
    assert 1 < dear.cycles <= 1.9
    assert dear.masks_only < plain.masks_only


def test_held_out_pictures_are_measured_as_they_are(allocator):
    integers = allocator.integers.compress((3,) * 4)
    whole = Gauge(allocator.network, PREPROCESSING, PICTURES).measure(integers)
    assert whole == allocator.integers((3,) * 4)
    other = Gauge(allocator.network, PREPROCESSING, generated_pictures(32, 32, 9, 2)).measure(integers)
    assert len(other.values) == 2
    assert 0 < other.mean <= other.highest < 0.1
    assert other.cosine == pytest.approx(1 - other.mean)


def test_pictures_spread_over_the_folder():
    some = in_memory(generated_pictures(16, 16, seed=0, count=9), 3)
    assert some.names == ("generated 0", "generated 4", "generated 8")
    assert (some.load(1) == generated_pictures(16, 16, seed=0, count=9).load(4)).all()
    assert len(in_memory(generated_pictures(16, 16, count=2), 5).names) == 2


@pytest.mark.parametrize(("target", "message"), [
    ({"bits": 100}, "target size 100 bits; allowed: at least"),
    ({"cosine": 0.9999999}, "cosine 1; allowed: up to 0.9"),
    ({"cosine": 1.0}, "cosine 1; allowed: between 0 and 1"),
    ({"bits": 10**9, "cycles": 0.5}, "cycles 0.5; allowed: 1"),
])
def test_targets_that_cannot_be_met(allocator, target, message):
    with pytest.raises(InputError) as caught:
        allocator.find(Target(**target))
    assert message in str(caught.value)


def test_widths_that_no_cycles_allow():
    wide = Allocator(network(5), PICTURES, preprocessing=PREPROCESSING, widths=(4, 5))
    with pytest.raises(InputError, match="mask widths 4, 5 with at most 1 times the cycles"):
        wide.find(Target(bits=10**9))
