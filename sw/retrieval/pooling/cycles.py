"""Cycles of the descriptor unit in closed form, equal to those of the Verilog."""

from dataclasses import replace

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_HEADER_USED,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_RECIPROCAL_BITS,
    DESCRIPTOR_ROOT_LATENCY,
    DESCRIPTOR_ROW_CYCLES,
    DESCRIPTOR_TOTAL_BITS,
    REGION_WORDS,
)
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.planning.geometry import group_count, last_lanes
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants

RECIPROCAL = DESCRIPTOR_TOTAL_BITS - 1 + DESCRIPTOR_RECIPROCAL_BITS + 1
SQUARED = 5
ROOTED = SQUARED + DESCRIPTOR_ROOT_LATENCY
COPIED = 2
"""Cycles that a scan of a vector takes in addition to its elements, including the one in which it starts."""


def descriptor_cycles(
    constants: DescriptorConstants,
    config: EngineConfig,
    *,
    last_crop: bool = True,
    last_rotation: bool = True,
    output: int = DESCRIPTOR_OUTPUT_BYTES,
    images: int = 1,
) -> int:
    """Cycles from ``go`` to ``ending``, provided that the stream never waits. ``images``: of the batch."""
    return sum(nip_stages(constants, config, last_crop, last_rotation, output, images).values())


def nip_stages(
    constants: DescriptorConstants, config: EngineConfig, last_crop: bool, last_rotation: bool, output: int,
    images: int = 1,
) -> dict[str, int]:  # fmt: skip
    """The same cycles, split by stage of the computation."""
    channels = constants.channels
    whitens = constants.whitening is not None and output != DESCRIPTOR_OUTPUT_SUMS
    dimensions = constants.dimensions if whitens else channels
    # A batch's images lie one below the other, each with all the regions.
    regions = [
        replace(region, top=n * constants.height + region.top)
        for n in range(images)
        for region in constants.regions
    ]
    stages = {
        "header": DESCRIPTOR_HEADER_USED + 2 + images + 1,  # including the checks and the end
        "regions": (REGION_WORDS + 2) * len(regions)
        + sum(square_cycles(region, channels, config.word_lanes) for region in regions),
        "roots": len(regions) * (RECIPROCAL + channels + ROOTED),
    }
    normalise = 2 * dimensions + SQUARED + RECIPROCAL + ROOTED
    if last_crop and not whitens:
        stages["rotation"] = dimensions + COPIED
    elif last_crop:
        assert constants.whitening is not None
        rows = len(constants.whitening.matrix)
        stages["whitening"] = (
            group_count(rows, config.whitening_rows) * channels + rows * DESCRIPTOR_ROW_CYCLES
        )
        stages["rotation"] = normalise
    if last_crop and last_rotation:
        if output != DESCRIPTOR_OUTPUT_SUMS:
            stages["final"] = normalise
        stages["output"] = output_cycles(dimensions, output)
    return stages


def square_cycles(region: GridRegion, channels: int, lanes: int) -> int:
    """Cycles from the one after the unit's ``go`` to the one of its last sum."""
    groups = group_count(channels, lanes)
    reading = groups * region.height * region.width + (groups - 1) * max(lanes - 1, 1)
    return region.top + 1 + reading + 3 + last_lanes(channels, lanes)


def output_cycles(dimensions: int, output: int) -> int:
    if output == DESCRIPTOR_OUTPUT_BYTES:
        return 6 * dimensions
    if output == DESCRIPTOR_OUTPUT_BITS:
        return 2 * dimensions + group_count(dimensions, 8)
    return 6 * dimensions
