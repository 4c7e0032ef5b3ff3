"""Bench of the descriptor unit at its full size: VGG-16's last map, 14 regions, a whitening of 512 x 512."""

import cocotb
import numpy as np

from kestrel.hw.spec.descriptor import DESCRIPTOR_CHANNELS_MAX, DESCRIPTOR_OUTPUT_BYTES, DESCRIPTOR_SCALE_BITS
from kestrel.sw.retrieval.pooling.grid import roi_grid
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerNip, IntegerWhitening
from kestrel.verif.blocks.descriptor.unit.bench import CONFIG, Unit
from kestrel.verif.blocks.support.simulator import rng
from kestrel.verif.cases.descriptor_case import Frame, random_place


@cocotb.test()
async def full_size(dut):
    source = rng("full")
    random = np.random.default_rng(source.getrandbits(32))
    unit = Unit(dut, source)
    await unit.reset()
    size = DESCRIPTOR_CHANNELS_MAX
    whitening = IntegerWhitening(
        random.integers(-127, 128, (size, size), dtype=np.int8),
        random.integers(-(1 << 24), 1 << 24, size),
        random.integers(1 << 10, 1 << DESCRIPTOR_SCALE_BITS, size),
    )
    thresholds = random.integers(-3000, 3000, size)
    constants = DescriptorConstants(
        size, 7, 7, roi_grid(7, 7, (1, 2, 3)), -12000, 180_000, thresholds, whitening
    )
    features = random.gamma(0.5, 20, (size, 7, 7)).clip(0, 255).astype(np.uint8)
    command = {
        "first_crop": 1, "last_crop": 1, "first_rotation": 1, "last_rotation": 1,
        "output": DESCRIPTOR_OUTPUT_BYTES,
    }  # fmt: skip
    sent = IntegerNip(constants).frame(features)
    assert len(set(sent)) > 50, "codes that say something"
    frame = Frame(features, random_place(source, CONFIG, size, 7, 7), command, sent)
    await unit.descriptor([(frame,)], constants)
