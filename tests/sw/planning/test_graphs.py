"""Plans of residual networks: those of random graphs are proved and agree with table and ROM; wrong ones are
refused."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.export.schedule_table import encode_table
from kestrel.export.weight_decoder import decode_weights
from kestrel.export.weight_rom import encode_weights
from kestrel.export.weight_tiles import outlines
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV
from kestrel.sw.model.graph import check_graph
from kestrel.sw.model.network import ConvShape, Shortcut
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.plan import Plan, make_plan, plan_frame, plan_layers, with_schedule
from kestrel.sw.planning.proof import PlanError, check_plan
from kestrel.sw.planning.report import named_layers
from kestrel.sw.planning.visit_order import depth_first_schedules, schedule
from kestrel.verif.cases.random_graph import random_shapes
from kestrel.verif.cases.random_network import random_network

RESIDUAL = NAMED["nano"].with_options(
    residual=True, max_width=256, partial_depth=256, weight_words=1 << 20, table_words=1 << 16
)
LANES = [(1, 1), (2, 2), (4, 2), (2, 4), (3, 3), (6, 2)]


# --- random graphs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", LANES, ids=str)
def test_plans_of_random_graphs_are_proved(lanes, rng):
    """Layer by layer and depth first: every plan is proved, has a table, and knows where the ROM has the
    layers' weights; the ROM gives them back."""
    config = RESIDUAL.with_options(input_lanes=lanes[0], output_lanes=lanes[1])
    planned = deep = 0
    while planned < 8:
        blocks = rng.random() < 0.3
        shapes = random_shapes(rng, int(rng.integers(2, 10)), [1, 2, 3, 4, 5, 7], blocks=blocks)
        network = random_network(rng, shapes, [int(rng.integers(1, 6)) for _ in shapes], blocks=blocks)
        inner = sorted(int(n) for n in rng.choice(len(shapes) - 1, min(len(shapes) - 1, 2), replace=False))
        inner = inner if rng.random() < 0.5 else []
        try:
            plan = make_plan(
                network, config, int(rng.integers(4, 40)), int(rng.integers(4, 30)), inner=inner
            )
        except InputError:  # a map is pooled to nothing
            continue
        planned += 1
        size = plan.records[0].out_height, plan.records[0].out_width
        assert plan.inner == tuple(inner)
        found = depth_first_schedules(network.name, plan_layers(network), config, *size, blocks, 1, inner)
        deep += len(found) > 0
        others = [with_schedule(plan, found[int(n)]) for n in rng.integers(len(found), size=3)]
        for one in (plan, *others):
            check_plan(one)
            assert frame_cycles(one).total > 0
            assert len(encode_table(one)) > 0
        rom = encode_weights(network, config)
        assert plan.weight_words == len(rom.words)
        assert [layer.word for layer in rom.layers] == [
            r.weight_base for r in plan.records if r.kind == KIND_CONV
        ]
        for stored, layer in zip(
            decode_weights(rom.words, outlines(network), config), network.layers, strict=True
        ):
            for name in ("mask", "alpha", "bias", "shortcut_alpha", "shortcut_sign"):
                assert np.array_equal(getattr(stored, name), getattr(layer, name)), name
    assert deep


def test_depth_first_takes_less_memory_of_a_residual_network(plan, deep):
    assert sum(deep.feature_words) < 0.7 * sum(plan.feature_words)


# --- wrong plans ----------------------------------------------------------------------------------------

SHAPES = (
    ConvShape("conv0", 3, 4, pool=False),
    ConvShape("conv1", 4, 4, pool=False),
    ConvShape("conv2", 4, 4, pool=False, shortcut=Shortcut(0)),
    ConvShape("conv3", 4, 6, pool=False, stride=2),
    ConvShape("conv4", 6, 6, pool=False, shortcut=Shortcut(2, projection=True, stride=2)),
    ConvShape("conv5", 6, 6, pool=False),
    ConvShape("conv6", 6, 6, pool=False, shortcut=Shortcut(3)),
    ConvShape("conv7", 6, 4, pool=False, shortcut=Shortcut(6, projection=True)),
)
LAYERS = tuple(
    PlanLayer(
        shape, 1 if shape.kernel == 1 else 3, 12, has_pad=n == 0, reads_image=n == 0,
        shortcut_channels=SHAPES[shape.shortcut.source].out_channels if shape.shortcut else 0,
    )
    for n, shape in enumerate(SHAPES)
)  # fmt: skip
SIZE = 64, 16
CONFIG = RESIDUAL.with_options(max_width=16, partial_depth=1024)
SHORTCUTS = (3, 5, 7, 8)
"""The records with a shortcut."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Layer by layer: every layer in one visit."""
    check_graph(SHAPES)
    return plan_frame("n", LAYERS, 8, CONFIG, *SIZE)


@pytest.fixture(scope="module")
def deep(plan) -> Plan:
    """Depth first in strips of two rows, in circular regions."""
    return with_schedule(plan, schedule("n", LAYERS, CONFIG, *SIZE, cuts=(), rows=2))


def with_region(plan, number, **changes):
    """The plan with another region for map ``number``, for its writer and all its readers."""
    write = plan.records[number].write
    assert write is not None
    region = replace(write, **changes)
    records = [
        replace(
            r, write=region if n == number else r.write, read=region if r.source == number else r.read,
            shortcut_read=region if r.shortcut == number else r.shortcut_read,
        )
        for n, r in enumerate(plan.records)
    ]  # fmt: skip
    return replace(plan, records=tuple(records))


def with_record(plan, number, **changes):
    records = list(plan.records)
    records[number] = replace(records[number], **changes)
    return replace(plan, records=tuple(records))


def test_the_plans_themselves_are_good(plan, deep):
    check_plan(plan)
    check_plan(deep)
    parts = {plan.records[n].shortcut_read.part == plan.records[n].written_part for n in SHORTCUTS}
    assert parts == {True, False}
    assert any(r.write.slots * 3 < r.out_height for r in deep.records[:-1])


@pytest.mark.parametrize("number", range(9))
def test_a_region_one_slot_too_small(deep, number):
    """Maps of shortcuts are kept until their last reader is through with a row."""
    slots = deep.records[number].write.slots - 1
    assert slots
    with pytest.raises(PlanError, match=r"row \d+ of its (input|shortcut) has been overwritten or never"):
        check_plan(with_region(deep, number, slots=slots))


@pytest.mark.parametrize("number", SHORTCUTS)
@pytest.mark.parametrize("change", ["base", "part"])
def test_a_shortcut_that_is_sought_elsewhere(plan, number, change):
    region = plan.records[number].shortcut_read
    moved = {"base": {"base": region.base + region.stride}, "part": {"part": 1 - region.part}}[change]
    broken = with_record(plan, number, shortcut_read=replace(region, **moved))
    with pytest.raises(PlanError, match=r"of its shortcut|of which the plan uses"):
        check_plan(broken)


@pytest.mark.parametrize("number", SHORTCUTS)
def test_a_shortcut_of_another_map(plan, number):
    """The region is another map's, of the same form."""
    other = plan.records[number].shortcut_read
    wrong = next(
        m for m, r in enumerate(plan.records[:-1])
        if m != plan.records[number].shortcut and r.write.stride <= other.stride
    )  # fmt: skip
    broken = with_record(plan, number, shortcut_read=plan.records[wrong].write)
    with pytest.raises(PlanError, match="of its shortcut"):
        check_plan(broken)


def test_a_map_between_takes_the_place_of_a_shortcuts_map(plan):
    """conv6 adds the output of conv3; that of conv5 lies in the same part and comes in between."""
    assert plan.records[6].written_part == plan.records[4].written_part
    with pytest.raises(PlanError, match="conv6: row 0 of its shortcut has been overwritten"):
        check_plan(with_region(plan, 6, base=plan.records[4].write.base))


@pytest.mark.parametrize("number", [3, 5])
def test_the_output_takes_the_place_of_the_shortcuts_map(plan, number):
    """In the part that the layer writes, each output group would overwrite what the next one has to add."""
    record = plan.records[number]
    assert record.shortcut_read.part == record.written_part
    assert record.channels > CONFIG.output_lanes
    with pytest.raises(PlanError, match="of its shortcut is overwritten by its own output"):
        check_plan(with_region(plan, number, base=record.shortcut_read.base))


@pytest.mark.parametrize("number", range(1, 9))
def test_a_layer_that_writes_the_part_that_it_reads(plan, number):
    """There is one port."""
    part = plan.records[number].read.part
    base = max(plan.feature_words)
    with pytest.raises(PlanError, match=f"conv{number - 1}: reads and writes part {part}"):
        check_plan(with_region(plan, number, part=part, base=base))


def test_a_layer_before_the_map_of_its_shortcut(plan):
    """conv3 reads conv2's output, and so does conv4, as its shortcut: with conv2 after them both miss it."""
    visits = list(plan.visits)
    at = next(n for n, visit in enumerate(visits) if visit.record == 3)
    visits.append(visits.pop(at))
    with pytest.raises(PlanError, match="conv3: row 0 of its input"):
        check_plan(replace(plan, visits=tuple(visits)))


@pytest.mark.parametrize("record", range(10))
def test_a_visit_left_out(deep, record):
    for n in [n for n, visit in enumerate(deep.visits) if visit.record == record]:
        with pytest.raises(PlanError):
            check_plan(replace(deep, visits=deep.visits[:n] + deep.visits[n + 1 :]))


def test_another_layer_pools_between_the_strips_of_a_3x3_pooling():
    """There is one line memory, and the row that it keeps is lost."""
    shapes = (
        ConvShape("a", 3, 2, pool=True, pool_size=3), ConvShape("b", 2, 2, pool=True, pool_size=3),
    )  # fmt: skip
    layers = tuple(PlanLayer(shape, 3, 12, has_pad=False) for shape in shapes)
    good = plan_frame("n", layers, 8, CONFIG, *SIZE)
    check_plan(good)
    broken = with_schedule(good, schedule("n", layers, CONFIG, *SIZE, cuts=(), rows=2))
    with pytest.raises(PlanError, match="another layer pools between the strips of a 3x3 pooling"):
        check_plan(broken)


# --- shared layers --------------------------------------------------------------------------------------


def test_the_rom_of_a_shared_resnet():
    """Repeated pairs are stored once: at most 0.3 of what the same network takes without sharing."""
    config = NAMED["edge"].with_options(residual=True, weight_words=1 << 22)
    layers = named_layers("shared_resnet", "1")
    alone = [replace(layer, shape=replace(layer.shape, shares=None)) for layer in layers]
    words = [
        plan_frame("shared", which, 8, config, 224, 224, blocks=True).weight_words
        for which in (layers, alone)
    ]
    assert words[0] <= 0.3 * words[1], words
