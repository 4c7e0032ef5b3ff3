"""The closed forms of memory accesses against the Verilog's, where options and the descriptor unit come in;
the plain engine is in test_activity. A build each, therefore nightly."""

from random import Random

import numpy as np
import pytest

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.registers import BY_NAME
from kestrel.sw.estimate.accesses import Accesses, memory_accesses
from kestrel.sw.estimate.descriptor_accesses import MapDescribed, descriptor_accesses
from kestrel.sw.planning.plan import make_plan
from kestrel.verif.cases.descriptor_case import random_constants
from kestrel.verif.cases.engine_case import residual_shapes
from kestrel.verif.cases.random_graph import random_shapes
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.physical.activity import build_probed, run_probed
from kestrel.verif.physical.memory_probes import (
    MemoryActivity,
    build_probed_chip,
    by_memory,
    read_memories,
    report_argument,
)
from kestrel.verif.simulate.chip_frame import ChipInput, run_chip_frames
from kestrel.verif.simulate.frame import write_descriptor, write_files

NANO = NAMED["nano"]
PARTS = ("first_crop", "last_crop", "first_rotation", "last_rotation")


class Probed:
    """An engine with probes, on which frames are run."""

    def __init__(self, config, folder):
        self.config, self.folder = config, folder
        self.build = build_probed(config, folder)

    def check(self, network, height, width, rng, images=1):
        plan = make_plan(network, self.config, height, width, images)
        channels = 3 if plan.blocks else network.layers[0].shape.in_channels
        pixels = rng.integers(0, 256, (channels, images * height, width)).astype(np.uint8)
        activity = run_probed(self.build, network, plan, pixels, self.folder)
        assert by_memory(activity.memories) == memory_accesses(plan)


@pytest.mark.regress
def test_row_groups_and_words_of_several_output_groups(tmp_path, seed):
    rng = np.random.default_rng(seed)
    probed = Probed(NANO.with_options(input_lanes=4, row_groups=True), tmp_path)
    probed.check(random_network(rng, stack((1, 5, 3)), (3, 2)), 10, 9, rng)  # three rows at once
    probed.check(random_network(rng, stack((3, 4, 6, 4), pools=(1,)), (3, 1, 4)), 13, 9, rng)


@pytest.mark.regress
def test_graphs_blocks_batches_and_tables(tmp_path, seed):
    rng = np.random.default_rng(seed)
    probed = Probed(
        NANO.with_options(output_lanes=4, residual=True, batch=True, scalar_tables=True), tmp_path
    )
    network = random_network(rng, residual_shapes(), (3, 1, 4, 2, 1, 2, 2), blocks=True)
    for height, width, images in ((23, 18, 1), (9, 5, 1), (3, 3, 1), (2, 2, 1), (24, 16, 3)):
        probed.check(network, height, width, rng, images)
    checked = 0
    for blocks in (False, True) * 5:
        shapes = random_shapes(rng, int(rng.integers(2, 6)), (1, 2, 3, 5, 9), blocks=blocks)
        bits = tuple(int(n) for n in rng.integers(1, 6, len(shapes)))
        network = random_network(rng, shapes, bits, blocks=blocks)
        height, width = (int(n) for n in rng.integers(1, 30, 2))
        try:
            probed.check(network, height, width, rng)
        except InputError:  # a map that is pooled to nothing
            continue
        checked += 1
    assert checked > 0


@pytest.mark.regress
def test_the_descriptor_unit(tmp_path, seed):
    """Crops and rotations, bytes, bits and sums, with and without a whitening."""
    unit = descriptor_unit(NANO)
    build = build_probed_chip(ChipConfig(NANO, unit), tmp_path)
    rng = np.random.default_rng(seed)
    counts = tmp_path / "counts.txt"
    for number in range(9):
        network = random_network(rng, stack((3, 4, 5), pools=(1,)), (3, 1))
        plan = make_plan(network, NANO, 16, 14)
        output = plan.records[-1]
        assert output.read is not None
        constants = random_constants(Random(seed + number), output.channels, output.height, output.width)
        pictures = rng.integers(0, 256, (2, 3, 16, 14)).astype(np.uint8)
        write_files(network, plan, pictures[0], tmp_path)
        write_descriptor(network, plan, encode_descriptor(constants, unit), tmp_path)
        parts = ((1, 0, 1, 1), (0, 1, 1, 1)) if number % 2 else ((1, 1, 1, 0), (1, 1, 0, 1))
        inputs = [ChipInput(picture, BY_NAME["part"].pack(**dict(zip(PARTS, part, strict=True))))
                  for picture, part in zip(pictures, parts, strict=True)]
        run_chip_frames(build, NANO, inputs, tmp_path, select=1 + number % 3, extra=report_argument(counts))
        expected: dict[str, Accesses] = {}
        for _, last_crop, _, last_rotation in parts:
            described = MapDescribed(constants, bool(last_crop), bool(last_rotation), number % 3)
            for found in (memory_accesses(plan, outputs=False),
                          descriptor_accesses(described, NANO, output.read.part)):
                for name, each in found.items():
                    expected[name] = expected[name] + each if name in expected else each
        assert by_memory(read_memories(counts.read_text().splitlines())) == expected
        assert all(each.reads for name, each in expected.items() if name != "cycle records")


def test_the_report_of_a_chip_is_read():
    lines = ["memory TOP.kestrel_top.core.pool.line.probe 16 9 3 2 32",
             "memory TOP.kestrel_top.descriptor_unit.vectors.best.probe 33 1 4 5 165",
             "registers TOP.kestrel_top.core.register_probe 5 1 10"]
    found = read_memories(lines)
    assert found == {"pool.line": MemoryActivity(16, 9, 3, 2, 32),
                     "descriptor_unit.vectors.best": MemoryActivity(33, 1, 4, 5, 165)}
    assert by_memory(found) == {"pool line": Accesses(16, 3, 2, 32),
                                "descriptor sums": Accesses(33, 4, 5, 165)}
    with pytest.raises(ValueError, match="memory cache has no name"):
        by_memory({"cache": MemoryActivity(8, 0, 0, 0, 0)})


def test_words_of_two_widths_are_not_added():
    with pytest.raises(ValueError, match="words of 8 bits added to words of 16"):
        sum([Accesses(8, 1, 1, 8)], Accesses(16, 1, 1, 16))
