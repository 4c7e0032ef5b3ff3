"""The energy of a descriptor on a chip: the frames of a picture's crops, and the descriptor unit in each."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_OUTPUT
from kestrel.sw.estimate.accesses import Accesses, memory_accesses
from kestrel.sw.estimate.descriptor_accesses import MapDescribed, descriptor_accesses
from kestrel.sw.estimate.energy import Beside, Energy, frame_energy
from kestrel.sw.estimate.logic import Logic, estimate_logic
from kestrel.sw.estimate.memories import chip_memories
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import Plan
from kestrel.sw.retrieval.describe.crops import crop_grid
from kestrel.sw.retrieval.pooling.cycles import descriptor_cycles
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerWhitening
from kestrel.sw.retrieval.pooling.nip import NipSettings, placed_regions

PICTURE = (480, 640)
"""Rows and columns of the picture whose crops are counted: some poolings cut more crops of a longer one."""

UNIT_BLOCK = "descriptor_unit"


@dataclass(frozen=True)
class Described:
    """A descriptor of a picture: its pooling, the crops of a 4:3 picture, the frames that they take, the
    cycles and the energy of all of them; and the cycles in which the descriptor unit is at work."""

    pooling: str
    crops: int
    frames: int
    cycles: int
    unit_cycles: int
    energy: Energy


def estimate_descriptor(
    plan: Plan, engine: Logic, clock_mhz: float, pooling: str, *, whitened: int | None = None
) -> Described:
    """A descriptor in bytes of a picture that is not rotated, with the regions of the levels 1 to 3 in each
    map that is output. ``engine``: its logic without a descriptor unit. ``whitened``: the dimensions of a
    whitening (None: there is none). Raises InputError for crops that the chip cannot sum, that do not fill
    the last batch, or for maps with more channels than the unit has."""
    config = plan.config
    crops = len(crop_grid(pooling, *PICTURE))
    if crops % plan.images:
        raise InputError(
            f"pooling {pooling!r}: {crops} crops of a 4:3 picture in batches of {plan.images}; "
            f"allowed: a divisor of {crops}"
        )
    frames = crops // plan.images
    outputs = [record for record in plan.records if record.kind == KIND_OUTPUT]
    constants = [
        _constants(record.channels, record.height // plan.images, record.width, whitened)
        for record in outputs
    ]
    unit = descriptor_unit(config)
    if len(outputs) > unit.maps:
        raise InputError(
            f"{len(outputs)} maps to describe; configuration {config.name!r} has "
            f"descriptor_maps = {unit.maps}"
        )
    for record in outputs:
        if record.channels > unit.channels:
            raise InputError(
                f"{record.channels} channels to describe; configuration {config.name!r} has "
                f"descriptor_channels = {unit.channels}"
            )
    if whitened is not None and not unit.whitening:
        raise InputError(f"a whitening; configuration {config.name!r} has descriptor_whitening = false")
    block = next(part.cells for part in estimate_logic(config, chip=True).parts if part.name == UNIT_BLOCK)
    energy = Energy({}, 0.0, 0.0)
    cycles = unit_cycles = 0
    for count, last in ((frames - 1, False), (1, True)):  # all frames but the last are alike
        maps = [MapDescribed(each, last_crop=last, images=plan.images) for each in constants]
        describing = [descriptor_cycles(each.constants, config, last_crop=last, images=plan.images)
                      for each in maps]
        counted = frame_cycles(plan, describing)
        accesses = memory_accesses(plan, outputs=False)
        for described, record in zip(maps, outputs, strict=True):
            assert record.read is not None
            _add(accesses, descriptor_accesses(described, config, record.read.part))
        energy += count * frame_energy(
            plan, counted, engine, clock_mhz, chip_memories(config), accesses=accesses,
            beside=Beside(block.area, block.flip_flops, sum(describing)),
        )  # fmt: skip
        cycles += count * counted.total
        unit_cycles += count * sum(describing)
    return Described(pooling, crops, frames, cycles, unit_cycles, energy)


def _add(accesses: dict[str, Accesses], more: dict[str, Accesses]) -> None:
    for name, each in more.items():
        accesses[name] = accesses[name] + each if name in accesses else each


def _constants(channels: int, height: int, width: int, whitened: int | None) -> DescriptorConstants:
    """Constants with the regions of a map and any values, which cycles and accesses do not depend on."""
    whitening = None
    if whitened is not None:
        rows = np.zeros(whitened, dtype=np.int64)
        whitening = IntegerWhitening(np.zeros((whitened, channels), dtype=np.int8), rows, rows)
    thresholds = np.zeros(channels if whitened is None else whitened, dtype=np.int64)
    regions = placed_regions(height, width, NipSettings())
    return DescriptorConstants(channels, height, width, regions, 0, 1, thresholds, whitening)
