"""The descriptor unit (NIP): widths, ROM and error causes (``docs/arithmetic.md``, section 10)."""

from dataclasses import dataclass

from kestrel.hw.spec.engine_config import (
    DESCRIPTOR_CHANNELS_MAX,
    DESCRIPTOR_MAPS_MAX,
    DESCRIPTOR_WORDS_MAX,
    DESCRIPTOR_WORDS_MIN,
    WHITENING_ROWS,
    EngineConfig,
)
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.records import Field

DESCRIPTOR_REGIONS_MAX = 256
"""The most regions of one map."""

DESCRIPTOR_SUMMED_MAX = 1 << 15
"""The most regions of all crops of a rotation together."""

DESCRIPTOR_PIXELS_MAX = 1 << 16
"""The most pixels of a region."""

DESCRIPTOR_FRACTION = 16
"""Fraction bits of the elements of a normalised vector, which are at most 1 - 2**-16."""

DESCRIPTOR_SQUARES_BITS = 32
"""Width of the sum of squares of one channel in one region, which is at most 255**2 * 2**16."""

DESCRIPTOR_TOTAL_BITS = DESCRIPTOR_SQUARES_BITS + 9
"""Width of the sum of these over DESCRIPTOR_CHANNELS_MAX channels."""

DESCRIPTOR_RECIPROCAL_BITS = 17
"""Width of the reciprocal of a total."""

DESCRIPTOR_ROOT_LATENCY = DESCRIPTOR_SQUARES_BITS // 4
"""Cycles that the square root takes."""

DESCRIPTOR_MEAN_FRACTION = 19
"""Fraction bits of the average that is whitened; it is once to twice the true one."""

DESCRIPTOR_ROW_SHIFT = 3
"""Bits that a whitened row gives up before it is multiplied by its scale."""

DESCRIPTOR_MATRIX_BITS = 8
"""Width of a signed weight of the whitening matrix."""

DESCRIPTOR_ROW_CYCLES = 12
"""Cycles that a row of the matrix takes beyond its columns."""

DESCRIPTOR_SCALE_BITS = 16
"""Width of the scale of a row of the matrix."""
DESCRIPTOR_GAIN_SHIFT = 24
"""The code of an element is (element - low) * gain >> DESCRIPTOR_GAIN_SHIFT."""

DESCRIPTOR_WORD_BITS = 32
"""Width of every number in the descriptor ROM except for the matrix. In a wider word the bits above are
zero."""

DESCRIPTOR_MAGIC = 0x4B4E
DESCRIPTOR_VERSION = 1
DESCRIPTOR_HEADER_WORDS = 16

DESCRIPTOR_FIELDS = (
    Field("magic", 0, 0, 16),
    Field("version", 0, 16, 8),
    Field("whitening", 0, 24, 1),
    Field("pairs", 0, 25, 1),
    Field("more", 0, 26, 1),
    Field("channels", 1, 0, 16),
    Field("dimensions", 1, 16, 16),
    Field("height", 2, 0, 16),
    Field("width", 2, 16, 16),
    Field("regions", 3, 0, 16),
    Field("low", 4, 0, 32),
    Field("gain", 5, 0, 32),
    Field("regions_base", 6, 0, 32),
    Field("thresholds_base", 7, 0, 32),
    Field("whitening_base", 8, 0, 32),
    Field("words", 9, 0, 32),
)
"""Header of the descriptor ROM. channels, height and width are those of the map, dimensions those of the
descriptor. low is in units of 2**-DESCRIPTOR_FRACTION, in two's complement. With pairs two rows of the
matrix, added up, make a dimension. Bases are word addresses. words is the end of what belongs to the map:
with more, the header of the frame's next map, otherwise the words of the whole image."""

DESCRIPTOR_HEADER_USED = 1 + max(f.word for f in DESCRIPTOR_FIELDS)
"""Words of the header that the unit reads."""

REGION_WORDS = 2
REGION_FIELDS = (
    Field("top", 0, 0, 16),
    Field("left", 0, 16, 16),
    Field("height", 1, 0, 16),
    Field("width", 1, 16, 16),
)
"""The record of one region of the map, in pixels."""

DESCRIPTOR_OUTPUT_BYTES = 0
DESCRIPTOR_OUTPUT_BITS = 1
DESCRIPTOR_OUTPUT_SUMS = 2
"""What a descriptor is sent as: BYTES, a byte a dimension; BITS, a bit a dimension; SUMS, the sums over
regions and crops, 32 bits a channel, least significant byte first, neither whitened nor normalised."""

DESCRIPTOR_ERROR_BITS = 3
DESCRIPTOR_ERRORS: dict[int, str] = {
    0: "none",
    1: "descriptor ROM: wrong magic number or version, or too large for the unit",
    2: "descriptor ROM: made for another map",
    3: "descriptor: the last map is not whole in memory",
    4: "descriptor: a crop or rotation that continues nothing",
    5: "descriptor: too many regions in a sum",
}
DESCRIPTOR_ERROR_BASE = 4
"""Added to a cause on the core's ``error`` port, where the descriptor's causes follow the engine's."""

DESCRIPTOR_ERROR_ROM = 1
DESCRIPTOR_ERROR_MAP = 2
DESCRIPTOR_ERROR_PARTIAL = 3
DESCRIPTOR_ERROR_SEQUENCE = 4
DESCRIPTOR_ERROR_REGIONS = 5


@dataclass(frozen=True)
class DescriptorConfig:
    """What is fixed about the descriptor unit when its Verilog is generated: the most ``channels`` of a
    map, a power of two; ``rom_words``, the words of the descriptor ROM; whether the unit has a
    ``whitening``; ``matrix_rows``, how many rows of the matrix it multiplies by at once (WHITENING_ROWS),
    which is also the number of weights in a word of the ROM; and ``maps``, the most maps of a frame.

    Raises InputError, naming the field and what is allowed.
    """

    channels: int = DESCRIPTOR_CHANNELS_MAX
    rom_words: int = 69632
    whitening: bool = True
    matrix_rows: int = min(WHITENING_ROWS)
    maps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.maps <= DESCRIPTOR_MAPS_MAX:
            raise InputError(
                f"descriptor unit: maps = {self.maps}; allowed: 1..{DESCRIPTOR_MAPS_MAX}"
            )
        if self.channels & (self.channels - 1) or not 2 <= self.channels <= DESCRIPTOR_CHANNELS_MAX:
            raise InputError(
                f"descriptor unit: channels = {self.channels}; "
                f"allowed: a power of two, 2..{DESCRIPTOR_CHANNELS_MAX}"
            )
        if not DESCRIPTOR_WORDS_MIN <= self.rom_words <= DESCRIPTOR_WORDS_MAX:
            raise InputError(
                f"descriptor unit: rom_words = {self.rom_words}; "
                f"allowed: {DESCRIPTOR_WORDS_MIN}..{DESCRIPTOR_WORDS_MAX}"
            )
        if self.matrix_rows not in WHITENING_ROWS:
            raise InputError(
                f"descriptor unit: matrix_rows = {self.matrix_rows}; "
                f"allowed: {', '.join(map(str, WHITENING_ROWS))}"
            )

    @property
    def word_bits(self) -> int:
        """Width of a word of the descriptor ROM."""
        return DESCRIPTOR_MATRIX_BITS * self.matrix_rows


def descriptor_unit(config: EngineConfig) -> DescriptorConfig:
    """The descriptor unit beside an engine, as its configuration says."""
    rows = config.whitening_rows
    words = config.descriptor_words or DESCRIPTOR_CHANNELS_MAX**2 // rows + 4096
    return DescriptorConfig(
        config.descriptor_channels, words, config.descriptor_whitening, rows, config.descriptor_maps
    )
