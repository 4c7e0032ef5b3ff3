"""The memory a network needs, counted by hand, and its use over time."""

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.sw.model.network import ConvShape
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.geometry import PlanLayer
from kestrel.sw.planning.memory import (
    MemorySize,
    longest_strip,
    memory_needs,
    memory_use,
    region_bytes,
    shadow_bits,
)
from kestrel.sw.planning.plan import plan_frame
from kestrel.sw.planning.report import named_layers

NANO, EDGE = NAMED["nano"], NAMED["edge"]


def layer(name, c_in, c_out, pool=False, mask_bits=3):
    return PlanLayer(ConvShape(name, c_in, c_out, pool), mask_bits, 12, has_pad=False)


def test_needs_of_a_small_network_by_hand():
    """3 -> 4 (pooled) -> 2 channels on 8 x 6, 2 x 2 lanes of 8 bits: a word is 2 bytes, a slot three rows."""
    plan = plan_frame("n", (layer("a", 3, 4, pool=True), layer("b", 4, 2)), 8, NANO, 8, 6)
    needs = memory_needs(plan)
    image = 3 * 2 * 6 * 2  # slots, words a pixel, pixels a row, bytes
    output = 2 * 1 * 3 * 2
    hidden = 2 * 2 * 3 * 2
    # The output may lie where the image was.
    assert needs.features == (
        MemorySize(3 * max(image, output), 3 * 2 * 32768), MemorySize(3 * hidden, 3 * 2 * 32768))
    assert needs.feature_bytes == 3 * (image + hidden)
    assert needs.feature_bytes_configured == 2 * 3 * 2 * 32768
    assert needs.partial_sums == MemorySize(8 * 6 * 2 * 4, 256 * 2 * 4)
    assert needs.pool_line == MemorySize(3 * 2, 64 * 2)
    # Tiles in whole 64-bit words: 4 and 2 kernels of 35 bits, two biases of 12 bits in a group's last tile.
    a = 2 * (3 + 2)  # 140 bits and 70 + 24 bits, for two output groups
    b = 3 + 3  # 140 bits and 140 + 24 bits
    assert needs.weight_bits == (a + b) * 64
    assert needs.weights.used == (a + b) * 8
    assert needs.table_words == 16 * (1 + 4) + 4 * (len(plan.visits) + 1)
    assert needs.shadow_bits == 4 * 35 + 2 * 12 + 2 * 8


def test_a_single_pass_needs_no_partial_sums():
    plan = plan_frame("n", (layer("a", 2, 5), layer("b", 5, 2)), 8, NANO, 4, 7)
    assert longest_strip(plan) == 4 * 7  # of b, whose 5 channels are three groups
    alone = plan_frame("n", (layer("a", 2, 5),), 8, NANO, 4, 7)
    assert longest_strip(alone) == 0
    assert memory_needs(alone).pool_line.used == 0
    two_digits = plan_frame("n", (layer("a", 2, 5, mask_bits=4),), 8, NANO, 4, 7)
    assert longest_strip(two_digits) == 4 * 7


def test_words_of_five_bit_activations_are_narrower():
    narrow = EDGE.with_options(activation_bits=5)
    plan = plan_frame("n", (layer("a", 3, 4),), 5, narrow, 8, 8)
    assert plan.records[0].write is not None
    assert region_bytes(plan.records[0].write, narrow) == 3 * 3 * 8 * 16 * 5 // 8


def test_shadow_registers_do_not_depend_on_the_network():
    assert shadow_bits(EDGE) == 256 * 35 + 16 * 12 + 16 * 8


@pytest.mark.parametrize(("network", "config", "height", "width"), [
    ("vgg16", EDGE, 224, 224), ("vgg11/8", NANO, 37, 45), ("vgg16/8:conv3_2", EDGE, 64, 96),
])
def test_what_is_in_use_always_fits_what_is_reserved(network, config, height, width):
    """And nothing is left at the end, and something all the time between."""
    plan = plan_frame(network, named_layers(network, "3"), 8, config, height, width)
    cycles = frame_cycles(plan)
    uses = memory_use(plan, cycles.visit_starts, cycles.total)
    assert [use.name for use in uses] == [record.name for record in plan.records[:-1]]
    for use, record in zip(uses, plan.records, strict=False):
        assert record.write is not None
        assert use.bytes[0] == use.bytes[-1] == 0
        assert use.bytes.min() == 0
        assert use.cycles[-1] == cycles.total
        assert (np.diff(use.cycles) >= 0).all()
        reserved = region_bytes(record.write, config)
        assert use.bytes.max() <= reserved
        # A slot fewer would not do.
        assert use.bytes.max() > reserved * (record.write.slots - 1) / record.write.slots
    for part in (0, 1):
        times = np.unique(np.concatenate([use.cycles for use in uses]))
        here = [use for use in uses if use.part == part]
        total = sum(use.bytes[np.searchsorted(use.cycles, times, side="right") - 1] for use in here)
        assert np.max(total) <= memory_needs(plan).features[part].used
