"""The cycle model on cases that are counted by hand; that the Verilog agrees is shown in ``tests/verif``."""

from dataclasses import replace

import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.timing import drain_cycles
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.cycles import frame_cycles, utilisation
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.plan import plan_frame, with_schedule
from kestrel.sw.planning.report import named_layers
from kestrel.sw.planning.visit_order import layer_by_layer, schedule

NANO = NAMED["nano"]  # 2 x 2 lanes, one kernel loaded a cycle, one byte a beat
START = 26
DRAIN = 11
"""Of nano: 4 window, 2 unit, 1 adder tree, 4 behind the array."""


def stack(*shapes, mask_bits=3, pads=False):
    """Layers (C_in, C_out) or, with pooling, (C_in, C_out, "pool")."""
    return tuple(
        PlanLayer(ConvShape(f"conv{n}", s[0], s[1], pool=len(s) == 3), mask_bits, 12, has_pad=pads and n == 0)
        for n, s in enumerate(shapes)
    )


def count(layers, height, width, config=NANO):
    return frame_cycles(plan_frame("n", layers, 8, config, height, width))


def cycles_of(frame):
    return {record.name: record.cycles for record in frame.records}


def test_constants_by_hand():
    assert drain_cycles(NANO) == DRAIN


def test_one_tile():
    """2 -> 2 channels on 4 x 4: the input's 32 bytes hide the load of 4 kernels and 2 biases."""
    frame = count(stack((2, 2)), 4, 4)
    assert cycles_of(frame) == {
        "input": 4 * 4 * 2 + 1 + DRAIN + 1,
        "conv0": 16 + DRAIN + 1,
        "output": 16 + 3,
    }
    assert frame.total == START + 45 + 28 + 19
    assert [r.streaming for r in frame.records] == [33, 16, 19]
    assert [r.exposed for r in frame.records] == [0, 0, 0]
    assert frame.visit_starts == (START, START + 45, START + 45 + 28)


def test_short_strip_waits_for_weights():
    """2 -> 4 channels on 2 x 2. The second output group's tile takes 4 cycles to fill and 4 + 2 beats, and
    the first pass only 4 pixels: 6 cycles show. After the second pass the output's records are fetched."""
    frame = count(stack((2, 4)), 2, 2)
    layer = frame.layers[0]
    assert layer.cycles == 10 + 20 + 1
    assert (layer.streaming, layer.exposed, layer.waiting) == (8, 6, 23)


def test_long_strip_hides_the_same_weights():
    layer = count(stack((2, 4)), 4, 4).layers[0]
    assert layer.cycles == 16 + 16 + DRAIN + 1
    assert layer.exposed == 0


def test_first_load_may_outlast_a_small_image():
    """2 -> 2 on 1 x 1: table (6 + 13), fill (4), kernels (4), biases (2) against 2 beats, the visit's end and
    the drain."""
    frame = count(stack((2, 2)), 1, 1)
    assert cycles_of(frame)["input"] == 19 + 4 + 4 + 2 + 1
    assert frame.records[0].exposed == 29 - (3 + DRAIN)


def test_pad_values_are_beats_too():
    frame = count(stack((2, 2), pads=True), 1, 1)
    assert cycles_of(frame)["input"] == 30 + 2


@pytest.mark.parametrize(("mask_bits", "passes"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3)])
@pytest.mark.parametrize(("c_in", "c_out", "tiles"), [(1, 1, 1), (2, 3, 2), (3, 2, 2), (5, 7, 12)])
def test_closed_form(mask_bits, passes, c_in, c_out, tiles):
    """passes * tiles * pixels and one drained pipeline, wherever strips are long enough."""
    layer = count(stack((c_in, c_out), mask_bits=mask_bits), 9, 7).layers[0]
    assert layer.cycles == passes * tiles * 9 * 7 + DRAIN + 1
    assert layer.macs == 9 * c_in * c_out * 9 * 7


def test_an_odd_last_row_that_pooling_drops_is_not_computed():
    layer = count(stack((2, 2, "pool")), 5, 7).layers[0]
    assert layer.streaming == 4 * 7
    assert layer.macs == 9 * 2 * 2 * 4 * 7


@pytest.mark.parametrize(("height", "steps"), [(1, 1), (2, 1), (3, 1), (4, 2), (9, 3), (10, 4), (11, 4)])
def test_row_groups_take_a_pass_for_three_rows(height, steps):
    """Three channels on 16 lanes: groups of four; 64 output channels are four passes."""
    config = NAMED["edge"].with_options(row_groups=True)
    first = replace(stack((3, 64))[0], reads_image=True)
    frame = count((first,), height, 300, config)
    drain = drain_cycles(config)
    assert frame.layers[0].cycles == 4 * steps * 300 + drain + 1
    assert frame.layers[0].macs == 9 * 3 * 64 * height * 300


def test_row_groups_need_the_image_few_channels_one_pass_stride_1_and_no_pooling():
    config = NAMED["edge"].with_options(row_groups=True)
    first = replace(stack((4, 16))[0], reads_image=True)
    assert first.in_row_groups(config)
    assert not first.in_row_groups(NAMED["edge"])
    for other in (
        replace(first, reads_image=False), replace(first, mask_bits=4),
        replace(first, shape=ConvShape("c", 5, 16, pool=False)),
        replace(first, shape=ConvShape("c", 4, 16, pool=True)),
        replace(first, shape=ConvShape("c", 4, 16, pool=False, stride=2)),
        replace(first, shape=ConvShape("c", 4, 16, pool=False, kernel=1)),
    ):  # fmt: skip
        assert not other.in_row_groups(config)


def test_vgg16_in_row_groups():
    """A third of conv1_1, one row of three incomplete: 224 = 74 * 3 + 2."""
    config = NAMED["edge"].with_options(row_groups=True)
    layers = named_layers("vgg16", "3*7,1*6")
    frame = frame_cycles(with_schedule(
        plan_frame("vgg16", layers, 8, config, 224, 224), layer_by_layer("n", layers, config, 224, 224)
    ))  # fmt: skip
    assert frame.compute == 6_823_936 - 4 * 224 * 224 + 4 * 75 * 224 + 13 * 13


def test_depth_first_pays_a_drained_pipeline_for_each_change_of_layer():
    layers = stack((2, 2), (2, 2), (2, 2))
    plan = plan_frame("n", layers, 8, NANO, 16, 16)
    found = schedule("n", layers, NANO, 16, 16, cuts=(), rows=4)
    alternating = frame_cycles(replace(plan, visits=found.visits))
    whole = frame_cycles(plan)
    # To another layer or the output; also the image comes in pieces, but its changes count as the input's.
    changes = sum(a.record != b.record and a.record > 0
                  for a, b in zip(found.visits, found.visits[1:], strict=False))
    assert changes > 3
    assert alternating.compute == 3 * 256 + changes * (DRAIN + 1)
    assert whole.compute == 3 * 256 + 3 * (DRAIN + 1)
    assert alternating.compute - whole.compute == sum(r.waiting for r in alternating.layers) - 3 * (DRAIN + 1)


def test_visit_starts_and_records_cover_the_frame():
    layers = stack((3, 4), (4, 5, "pool"), (5, 3))
    plan = plan_frame("n", layers, 8, NANO, 12, 10)
    frame = frame_cycles(plan)
    assert len(frame.visit_starts) == len(plan.visits)
    assert list(frame.visit_starts) == sorted(set(frame.visit_starts))
    assert frame.total == START + sum(r.cycles for r in frame.records)


def test_utilisation_is_the_share_of_the_peak():
    assert utilisation(NANO.macs_per_cycle * 50, 100, NANO) == 0.5
    assert NANO.macs_per_cycle == 36


def test_layer_by_layer_visits_follow_the_layers():
    found = layer_by_layer("n", stack((2, 2), (2, 2)), NANO, 8, 8)
    records = [visit.record for visit in found.visits]
    assert records == sorted(records)
