"""Accesses that the descriptor unit adds to a frame, in closed form from the contents of its ROM; equal to
those that the probes count in the Verilog. The passes are those of ``kestrel.hw.descriptor.passes``."""

from dataclasses import dataclass

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_HEADER_USED,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_SQUARES_BITS,
    REGION_WORDS,
    descriptor_unit,
)
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.sw.estimate.accesses import Accesses
from kestrel.sw.planning.geometry import group_count
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants

ROW_WORDS = 2
"""Words of the ROM that a row of the whitening has behind its weights: offset and scale."""


@dataclass(frozen=True)
class MapDescribed:
    """What the unit does with a map: its constants; whether the crop is the last one of its rotation, and the
    rotation the descriptor's last one; what is sent; images of the batch, one below the other."""

    constants: DescriptorConstants
    last_crop: bool = True
    last_rotation: bool = True
    output: int = DESCRIPTOR_OUTPUT_BYTES
    images: int = 1

    @property
    def whitens(self) -> bool:
        return self.constants.whitening is not None and self.output != DESCRIPTOR_OUTPUT_SUMS

    @property
    def dimensions(self) -> int:
        """Elements of the vector after the whitening."""
        return self.constants.dimensions if self.whitens else self.constants.channels


def descriptor_accesses(described: MapDescribed, config: EngineConfig, part: int) -> dict[str, Accesses]:
    """Accesses of the unit's memories and of the feature memory's ``part`` that holds the map, by the names
    of ``kestrel.sw.estimate.memories.chip_memories``; the vectors ``sums`` and ``best`` together.

    The unit walks through a region once for each word of its pixels and reads all three banks. Every pass
    over a vector reads ``squares``, whether it needs them or not.
    """
    constants = described.constants
    channels, dimensions = constants.channels, described.dimensions
    sums_only = described.output == DESCRIPTOR_OUTPUT_SUMS
    regions = described.images * len(constants.regions)
    pixels = described.images * sum(region.height * region.width for region in constants.regions)
    rom = DESCRIPTOR_HEADER_USED + REGION_WORDS * regions
    # Sums of squares are written, then read by the pass that adds their roots to ``sums``.
    squares_read, squares_written = regions * channels, regions * channels
    vectors_read, vectors_written = regions * channels, regions * channels
    if described.last_crop and described.whitens:
        assert constants.whitening is not None
        rows = len(constants.whitening.matrix)
        columns = group_count(rows, config.whitening_rows) * channels
        rom += columns + ROW_WORDS * rows
        vectors_read += columns
        # The rows, their squares (SQUARE_ROWS), and the normalised rows compared with ``best`` (TURN).
        squares_read, squares_written = squares_read + 2 * dimensions, squares_written + 2 * dimensions
        vectors_read, vectors_written = vectors_read + dimensions, vectors_written + dimensions
    elif described.last_crop:  # COPY: ``sums`` compared with ``best``
        squares_read += dimensions
        vectors_read, vectors_written = vectors_read + 2 * dimensions, vectors_written + dimensions
    if described.last_crop and described.last_rotation:
        if not sums_only:  # SQUARE_BEST, UNIT
            squares_read, squares_written = squares_read + 2 * dimensions, squares_written + dimensions
            vectors_read, vectors_written = vectors_read + dimensions, vectors_written + dimensions
        vectors_read += dimensions
        rom += dimensions * (described.output == DESCRIPTOR_OUTPUT_BITS)
    number = DESCRIPTOR_SQUARES_BITS + 1
    words = group_count(channels, config.word_lanes)
    return {
        f"features, part {part}": Accesses(config.word_bits, BANKS * words * pixels, 0, 0),
        "descriptor squares": Accesses(number, squares_read, squares_written, number * squares_written),
        "descriptor sums": Accesses(number, vectors_read, vectors_written, number * vectors_written),
        "descriptor ROM": Accesses(descriptor_unit(config).word_bits, rom, 0, 0),
    }
