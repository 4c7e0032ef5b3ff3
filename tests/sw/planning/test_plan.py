"""The plan's records, and its report in figures."""

from collections import Counter
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV, KIND_INPUT, KIND_OUTPUT
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.network import ConvShape, parse_network
from kestrel.sw.model.weights import random_network
from kestrel.sw.planning.geometry import PlanLayer, strip_rows, tile_kinds, tile_words, tiles
from kestrel.sw.planning.plan import make_plan, plan_frame, plan_layers
from kestrel.sw.planning.report import named_layers, report_plan
from kestrel.verif.cases.random_network import random_network as random_integers

NANO, EDGE = NAMED["nano"], NAMED["edge"]


@pytest.fixture(scope="module")
def network():
    shape = parse_network("vgg16/32:pool2")
    pictures = generated_pictures(16, 16)
    return compress(random_network(shape, 1), (3, 3, 1, 5), pictures, preprocessing="caffe")[0]


def test_records_follow_each_other(network):
    plan = make_plan(network, NANO, 21, 18)
    kinds = [record.kind for record in plan.records]
    assert kinds == [KIND_INPUT, *[KIND_CONV] * 4, KIND_OUTPUT]
    for before, record in pairwise(plan.records):
        assert record.read == before.write
        assert (record.height, record.width) == (before.out_height, before.out_width)
    assert [(r.height, r.width) for r in plan.records] == [
        (21, 18), (21, 18), (21, 18), (10, 9), (10, 9), (5, 4)]
    assert [r.write.part for r in plan.records if r.write is not None] == [0, 1, 0, 1, 0]


def test_weights_follow_each_other(network):
    plan = make_plan(network, NANO, 16, 16)
    base = 0
    for record in plan.records[1:-1]:
        assert record.layer is not None
        assert record.weight_base == base
        words = [tile_words(tile, record.layer, NANO) for tile in tiles(record.layer, NANO)]
        assert record.weight_words == sum(words)
        base += record.weight_words
    assert plan.weight_words == base


def test_a_name_of_a_graph_is_planned_as_its_file(rng):
    """With an image in blocks, and shortcuts whose maps have other channels than the layer's own."""
    name, config = "resnet18/32:layer2.0", NANO.with_options(residual=True)
    shape = parse_network(name)
    filed = make_plan(random_integers(rng, shape.layers, 3, blocks=True), config, 33, 30)
    named = plan_frame("n", named_layers(name, "3"), 8, config, 33, 30, blocks=True)
    assert (named.visits, named.weight_words) == (filed.visits, filed.weight_words)
    assert [r.write for r in named.records] == [r.write for r in filed.records]
    report = report_plan("n", named_layers(name, "3"), named)
    assert report.ratio == 1
    assert report.whole_maps.compute == report.cycles.compute


def test_a_name_is_planned_as_its_file(network):
    named = plan_frame("n", named_layers("vgg16/32:pool2", "3*2,1*1,5*1"), 8, NANO, 20, 20)
    filed = make_plan(network, NANO, 20, 20)
    assert (named.visits, named.weight_words) == (filed.visits, filed.weight_words)
    assert [r.write for r in named.records] == [r.write for r in filed.records]


def test_pad_values_are_stored_where_they_are_not_zero(network):
    assert [layer.has_pad for layer in plan_layers(network)] == [True, False, False, False]


def test_more_activation_bits_than_the_engine_has_are_refused(network):
    with pytest.raises(InputError, match=r"8 activation bits; allowed by configuration 'nano': at most 5"):
        make_plan(network, NANO.with_options(activation_bits=5), 16, 16)


def test_report_adds_up():
    layers = named_layers("vgg16", "3*7,1*6")
    plan = plan_frame("vgg16", layers, 8, EDGE, 224, 224)
    report = report_plan("vgg16", layers, plan)
    assert report.whole_maps.compute == 6_823_936 + 13 * 13
    assert report.ratio == pytest.approx(report.cycles.compute / (6_823_936 + 13 * 13))
    assert report.exposed == 0
    assert sum(layer.cycles for layer in report.layers) == report.cycles.compute
    assert sum(layer.weight_words for layer in report.layers) == plan.weight_words
    assert sum(layer.visits for layer in report.layers) < len(plan.visits)
    for layer in report.layers:
        assert layer.cycles == layer.streaming + layer.waiting
        assert layer.visits * layer.strip_rows >= layer.height - layer.height % 2
        assert layer.bytes == 3 * 16 * layer.slots * layer.stride
    conv1_1 = report.layers[0]
    assert conv1_1.utilisation == pytest.approx(3 / 16, rel=0.01)
    assert asdict(conv1_1)["name"] == "conv1_1"


@pytest.mark.parametrize(("height", "rows"), [
    (14, 14),  # in tens, 4 rows would be left
    (20, 10),
    (22, 11),
    (31, 16),  # 15 rows are left, the first rest that is long enough
    (10, 10),
])
def test_strips_leave_no_rest_that_would_show_a_weight_load(height, rows):
    """Loading a tile of 256 kernels and fetching the records takes 91 cycles here, ten rows of 10 pixels."""
    layer = PlanLayer(ConvShape("conv", 32, 32, False), 3, 0, False)
    assert strip_rows("n", layer, height, 10, EDGE, at_least=1) == rows


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 1), (2, 2), (2, 5), (5, 2), (6, 4), (7, 9)])
def test_kinds_of_tiles_are_counted(c_in, c_out):
    layer = PlanLayer(ConvShape("conv", c_in, c_out, False), 3, 0, False)
    assert tile_kinds(layer, NANO) == Counter(tiles(layer, NANO))
    assert sum(tile.n_in * tile.n_out for tile in tiles(layer, NANO)) == c_in * c_out


def test_long_rows_keep_the_strips_that_were_asked_for():
    layer = PlanLayer(ConvShape("conv", 32, 32, True), 3, 0, False)
    assert strip_rows("n", layer, 30, 224, EDGE, at_least=4) == 4
    assert strip_rows("n", layer, 30, 224, EDGE, at_least=3) == 4
    assert strip_rows("n", layer, 30, 224, EDGE, at_least=30) == 4


def test_random_stacks_are_planned_and_add_up(rng):
    for _ in range(10):
        channels = rng.integers(1, 40, size=4)
        layers = tuple(
            PlanLayer(ConvShape(f"conv{n}", int(a), int(b), bool(rng.integers(2))), 3, 0, n == 0)
            for n, (a, b) in enumerate(pairwise(channels))
        )
        height, width = (int(side) for side in rng.integers(8, 50, size=2))
        plan = plan_frame("n", layers, 8, EDGE, height, width)
        report = report_plan("n", layers, plan)
        rows = np.zeros(len(plan.records), dtype=int)
        for visit in plan.visits:
            rows[visit.record] += visit.rows
        assert list(rows) == [record.rows for record in plan.records]
        assert report.ratio >= 1
