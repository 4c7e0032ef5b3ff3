"""Plans of batches: several images in one frame, every map holding them one below the other."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape, Shortcut
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import LayerRows, PlanLayer, Visit
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.planning.proof import PlanError, check_plan
from kestrel.sw.planning.report import plan_named
from kestrel.verif.cases.random_network import random_network, stack

EDGE = NAMED["edge"].with_options(residual=True, batch=True)


def layer(**changes):
    shape = replace(ConvShape("a", 8, 8, pool=False), **changes)
    return PlanLayer(shape, 3, 6, has_pad=False, shortcut_channels=8 if shape.shortcut else 0)


def test_rows_of_a_layer_know_their_images():
    """Three images of five rows each; the 2x2 pooling drops the last one of each."""
    pooled = LayerRows(layer(pool=True), 5, images=3)
    assert (pooled.of_image, pooled.total, pooled.gap) == (4, 12, 1)
    assert [pooled.centre(row) for row in range(12)] == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13]
    assert [list(pooled.window(row)) for row in (3, 4, 7)] == [[2, 3, 4], [5, 6], [7, 8, 9]]
    assert [pooled.written(done) for done in range(13)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]


def test_steps_of_two_and_shortcuts():
    strided = LayerRows(layer(stride=2, shortcut=Shortcut(0, projection=True, stride=2)), 6, 5, images=2)
    assert (strided.of_image, strided.gap, strided.shortcut_gap) == (3, 1, 0)
    assert [strided.centre(row) for row in range(6)] == [0, 2, 4, 6, 8, 10]
    assert [strided.shortcut_row(row) for row in range(6)] == [0, 2, 4, 5, 7, 9]
    assert list(strided.window(3)) == [6, 7]


def test_a_pooling_of_3x3_keeps_an_odd_last_row_of_every_image():
    pooled = LayerRows(layer(pool=True, pool_size=3), 3, images=2)
    assert [pooled.written(done) for done in range(7)] == [0, 0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("network", "side"), [("resnet18", 112), ("resnet18:layer4.0", 97), ("vgg16/4", 45)]
)
@pytest.mark.parametrize("images", [2, 5])
def test_plans_are_proved_and_their_loads_hidden(network, side, images):
    config = EDGE.with_options(weight_words=1 << 20, table_words=1 << 16)
    _, one = plan_named(network, "3", config, side, side)
    _, plan = plan_named(network, "3", config, side, side, images)
    check_plan(plan)
    assert plan.images == images
    assert [r.out_height for r in plan.records] == [images * r.out_height for r in one.records]
    cycles, alone = frame_cycles(plan), frame_cycles(one)
    assert sum(r.macs for r in cycles.layers) == images * sum(r.macs for r in alone.layers)
    assert sum(r.exposed for r in cycles.layers) < images * sum(r.exposed for r in alone.layers)
    assert cycles.total < images * alone.total


def test_a_batch_of_one_is_the_frame_that_it_was():
    """But for the records of visits, of which an engine for batches reads a word more."""
    _, plan = plan_named("resnet18", "3", EDGE.with_options(weight_words=1 << 20), 112, 112, 1)
    _, without = plan_named(
        "resnet18", "3", EDGE.with_options(weight_words=1 << 20, batch=False), 112, 112
    )
    assert plan.visits == without.visits
    assert [r.write for r in plan.records] == [r.write for r in without.records]


def test_the_proof_finds_rows_of_the_image_before(rng):
    """The first rows of the second image, computed before its first rows have come."""
    network = random_network(rng, stack((3, 4)), 3)
    plan = make_plan(network, NAMED["nano"].with_options(batch=True), 4, 4, images=2)
    check_plan(plan)
    last = plan.visits[-1]
    good = (Visit(0, 0, 5), Visit(1, 0, 4), Visit(0, 5, 3), Visit(1, 4, 4), last)
    check_plan(replace(plan, visits=good))
    early = (Visit(0, 0, 5), Visit(1, 0, 5), Visit(0, 5, 3), Visit(1, 5, 3), last)
    with pytest.raises(PlanError, match="row 5 of its input"):
        check_plan(replace(plan, visits=early))


def test_what_no_engine_runs_at_once_is_refused(rng):
    network = random_network(rng, stack((3, 4)), 3)
    with pytest.raises(InputError, match=r"takes one image at a time; allowed: --set batch=true"):
        make_plan(network, NAMED["nano"], 8, 8, images=2)
    grouped = NAMED["asic"].with_options(batch=True)
    with pytest.raises(InputError, match=r"row groups.*allowed: --set row_groups=false"):
        make_plan(network, grouped, 8, 8, images=2)
    nano = NAMED["nano"].with_options(batch=True, residual=True)
    with pytest.raises(InputError, match=r"images of 8000 rows; allowed: 1 to 8 of them"):
        make_plan(network, nano, 8000, 8, images=9)
    shapes = [
        ConvShape("a", IMAGE_CHANNELS, 4, pool=False),
        ConvShape("b", 4, 4, pool=False, stride=2),
        ConvShape("c", 4, 4, pool=True, shortcut=Shortcut(0, projection=True, stride=2)),
    ]
    odd = random_network(np.random.default_rng(1), shapes, 3)
    with pytest.raises(InputError, match="c pools a map of odd height"):
        make_plan(odd, nano, 10, 8, images=2)
    check_plan(make_plan(odd, nano, 12, 8, images=2))


def test_too_small_a_memory_says_for_how_many():
    with pytest.raises(InputError, match="at 112 x 112, 9 at once, needs"):
        plan_named("resnet18", "3", EDGE.with_options(weight_words=1 << 20), 224, 224, 9)
