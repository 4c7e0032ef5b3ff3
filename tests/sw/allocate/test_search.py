"""The exact search against trying every plan."""

from itertools import pairwise, product

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.allocate.costs import layer_costs
from kestrel.sw.allocate.search import (
    best_points,
    make_point,
    neighbours,
    plan_text,
    within_distortion,
    within_size,
)
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.model.network import parse_network

SHAPE = parse_network("vgg16/16:pool2")
WIDTHS = (1, 2, 3, 4, 5)


def random_distortions(rng, layers, widths):
    """Falling with the width, mostly: measured ones are not always."""
    return [{w: float(rng.exponential(4.0**-w)) for w in widths} for _ in range(layers)]


def everything(costs, distortions, cycles_max):
    points = [make_point(plan, costs, distortions)
              for plan in product(*([c.mask_bits for c in layer] for layer in costs.choices))]
    return [p for p in points if p.cycles <= cycles_max]


def test_costs_are_the_stored_bits_and_the_engines_passes():
    costs = layer_costs(parse_network("vgg16:pool1"), (1, 3, 5), 224, 224)
    assert [[c.bits for c in layer] for layer in costs.choices] == [
        [192 * 17, 192 * 35, 192 * 53], [4096 * 17, 4096 * 35, 4096 * 53]]
    pixels = 224 * 224
    assert [[c.cycles for c in layer] for layer in costs.choices] == [
        [4 * pixels, 4 * pixels, 12 * pixels], [16 * pixels, 16 * pixels, 48 * pixels]]
    assert (costs.cycles, costs.weights) == (20 * pixels, 9 * 4288)
    assert costs.bits((3, 1)) == 192 * 35 + 4096 * 17
    assert costs.plan_cycles((5, 1)) == 28 * pixels


def test_whole_vgg16_has_the_size_that_compress_reports():
    costs = layer_costs(parse_network("vgg16"), (1, 2, 3), 224, 224)
    assert costs.bits((3,) * 7 + (1,) * 6) == 31_255_104


@pytest.mark.parametrize("cycles", [1.0, 1.3, 2.0, 9.0])
def test_the_front_is_that_of_all_plans(rng, cycles):
    costs = layer_costs(SHAPE, WIDTHS, 32, 32)
    distortions = random_distortions(rng, len(SHAPE.layers), WIDTHS)
    most = int(cycles * costs.cycles)
    front = best_points(costs, distortions, most)
    points = everything(costs, distortions, most)
    assert [p.bits for p in front] == sorted({p.bits for p in front})
    for size in sorted({p.bits for p in points}):
        best = min(p.distortion for p in points if p.bits <= size)
        found = within_size(front, size)
        assert found is not None
        assert found.distortion == pytest.approx(best, rel=1e-12)
        assert found == make_point(found.plan, costs, distortions)
    for limit in (p.distortion for p in points[:: len(points) // 7]):
        smallest = min(p.bits for p in points if p.distortion <= limit)
        assert within_distortion(front, limit * (1 + 1e-12)).bits == smallest


def test_nothing_fits():
    costs = layer_costs(SHAPE, (4, 5), 32, 32)
    distortions = [{4: 0.1, 5: 0.01}] * len(SHAPE.layers)
    assert best_points(costs, distortions, costs.cycles) == ()
    front = best_points(costs, distortions, 2 * costs.cycles)
    assert {p.plan for p in front} == {(4, 4, 4, 4)}
    assert within_size(front, costs.smallest - 1) is None
    assert within_distortion(front, 0.0) == front[-1]


def test_the_front_of_a_whole_vgg16_is_quick(rng):
    costs = layer_costs(parse_network("vgg16"), WIDTHS, 224, 224)
    distortions = random_distortions(rng, 13, WIDTHS)
    front = best_points(costs, distortions, int(1.5 * costs.cycles))
    assert len(front) > 100
    assert all(a.distortion > b.distortion for a, b in pairwise(front))


def test_neighbours_are_all_that_differ_in_so_many_layers():
    costs = layer_costs(SHAPE, (1, 2, 3), 32, 32)
    plan = (3, 1, 2, 2)
    found = list(neighbours(plan, costs, 2))
    assert len(found) == len(set(found)) == 4 * 2 + 6 * 4
    assert all(1 <= sum(a != b for a, b in zip(plan, p, strict=True)) <= 2 for p in found)
    assert len(list(neighbours(plan, costs, 1))) == 8


@pytest.mark.parametrize(("plan", "text"), [((3, 3, 1, 1), "3*2,1*2"), ((2,) * 4, "2*4"),
                                            ((1, 2, 1, 1), "1*1,2*1,1*2")])
def test_plans_read_back(plan, text):
    assert plan_text(plan) == text
    assert parse_mask_plan(text, SHAPE) == plan


@pytest.mark.parametrize("widths", [(), (0, 1), (6,), (3, 3)])
def test_impossible_widths(widths):
    with pytest.raises(InputError, match=r"mask widths .*; allowed: 1\.\.5, each once"):
        layer_costs(SHAPE, widths, 32, 32)
