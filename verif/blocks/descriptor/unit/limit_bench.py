"""Bench of the descriptor unit with a limit of LIMIT regions in a sum, so that a test can reach it."""

import cocotb

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.spec.descriptor import DESCRIPTOR_ERROR_REGIONS
from kestrel.verif.blocks.descriptor.unit.bench import CONFIG, UNIT, Unit
from kestrel.verif.blocks.support.simulator import fail, rng
from kestrel.verif.cases.descriptor_case import (
    Frame,
    descriptor_frames,
    random_constants,
    random_map,
    random_place,
)

LIMIT = 7


@cocotb.test()
async def too_many_regions(dut):
    """As many as allowed, and one crop more; then a descriptor from its start."""
    source = rng("limit")
    unit = Unit(dut, source)
    await unit.reset()
    for _ in range(6):
        size = 3, 2, 2
        constants = random_constants(source, *size)
        count = len(constants.regions)
        unit.rom = encode_descriptor(constants, UNIT).to_ints()
        crops = LIMIT // count
        for crop in range(crops + 1):
            command = {
                "first_crop": int(crop == 0), "last_crop": 0, "first_rotation": 1, "last_rotation": 0,
                "output": 0,
            }  # fmt: skip
            place = random_place(source, CONFIG, *size)
            outcome = await unit.frame(Frame(random_map(source, CONFIG, *size), place, command, b""))
            wanted = DESCRIPTOR_ERROR_REGIONS if crop == crops else 0
            if outcome is None or outcome.error != wanted:
                raise fail(f"crop {crop} of {count} regions: {outcome}, not error {wanted}")
        if count <= LIMIT // 4:
            await unit.descriptor(descriptor_frames(source, CONFIG, constants, 0), constants)
