"""The integer format of Kestrel: the single description that every package reads.

Plain Python: no Amaranth, no torch, no NumPy. The reference (``sw``), the ROM images (``export``), the
generated Verilog (``hw``) and the test benches (``verif``) take every width, code and field layout from here.

Contents: activation and bias widths, mask codes and their digits, the weight stream, the schedule table
(header, layer records, visit records), error causes, and the engine's configuration record.
The arithmetic itself is written down in ``docs/arithmetic.md``.
"""

from dataclasses import dataclass, fields, replace
from math import ceil, log2

from hw.masks import (  # noqa: F401  mask codes are part of the format; see there
    DIGIT_BITS,
    DIGIT_MAGNITUDES,
    MASK_BITS,
    MASK_MAGNITUDES,
    PASSES,
    PASSES_MAX,
    decode_digit,
    decode_mask,
    encode_digit,
    encode_mask,
    mask_digits,
    mask_values,
)


class InputError(ValueError):
    """What a user gave cannot be used. The message is one line that names the file or option, the value and
    what is allowed; the command line prints it and exits with code 2."""


# --------------------------------------------------------------------------------------------------------
# Widths
# --------------------------------------------------------------------------------------------------------

TAPS = 9
"""Taps of a kernel, 3x3, numbered row by row from the top left."""

PIXEL_BITS = 8
ACTIVATION_BITS_MIN = 4
ACTIVATION_BITS_MAX = 8

SCALAR_BITS = 8
"""The unsigned scalar alpha of a kernel."""

SCALAR_MAX = (1 << SCALAR_BITS) - 1

BIAS_BITS = 12
BIAS_MIN = -(1 << (BIAS_BITS - 1))
BIAS_MAX = (1 << (BIAS_BITS - 1)) - 1

BIAS_FRACTION = 3
"""Fraction bits F of a bias below the output's unit: a bias counts in steps of 2**-F output units."""

SHIFT_BITS = 4
SHIFT_MIN = BIAS_FRACTION
SHIFT_MAX = (1 << SHIFT_BITS) - 1

ACCUMULATOR_BITS = 32
ACCUMULATOR_MIN = -(1 << (ACCUMULATOR_BITS - 1))
ACCUMULATOR_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1

# --------------------------------------------------------------------------------------------------------
# Weight stream
#
# A layer is a sequence of tiles: for each output group (P_o channels), for each input group (P_i channels).
# A tile is, least significant bit first and without gaps:
#   pad values   n_in x 8 bits         only in a layer with has_pad
#   kernels      n_out x n_in, output channel outermost: alpha (8 bits), then nine mask codes of b bits
#   biases       n_out x 12 bits       only in the last input group's tile
# and is then filled with zeros to a whole ROM word. n_in and n_out count the channels that exist.
# --------------------------------------------------------------------------------------------------------

PAD_BITS = PIXEL_BITS


def kernel_bits(mask_bits: int) -> int:
    """Stored bits of one 3x3 kernel: its scalar and nine mask codes."""
    return SCALAR_BITS + TAPS * mask_bits


def tile_bits(n_in: int, n_out: int, mask_bits: int, has_pad: bool, has_bias: bool) -> int:
    """Bits of a tile before it is filled to a whole word."""
    return n_in * PAD_BITS * has_pad + n_in * n_out * kernel_bits(mask_bits) + n_out * BIAS_BITS * has_bias


ROM_BITS_PER_KERNEL = 64
"""ROM word bits for each kernel loaded per cycle; not less than the widest kernel (8 + 9 * 5 = 53)."""

# --------------------------------------------------------------------------------------------------------
# Schedule table: 32-bit words. Header (record 0), layer records, visit records.
# --------------------------------------------------------------------------------------------------------

TABLE_WORD_BITS = 32
TABLE_MAGIC = 0x4B53
TABLE_VERSION = 1
TABLE_VERSION_ROW_GROUPS = 2
"""Version of a table with a layer that runs in row groups; only an engine with ``row_groups`` takes it."""

RECORD_WORDS = 16
"""Words of the header and of each layer record; record r starts at word r * RECORD_WORDS."""

VISIT_WORDS = 4

KIND_END = 0
KIND_INPUT = 1
KIND_CONV = 2
KIND_OUTPUT = 3


@dataclass(frozen=True)
class Field:
    """A bit field of a record: ``width`` bits from bit ``lsb`` of word ``word``."""

    name: str
    word: int
    lsb: int
    width: int

    @property
    def max(self) -> int:
        return (1 << self.width) - 1


HEADER_FIELDS = (
    Field("magic", 0, 0, 16),
    Field("version", 0, 16, 8),
    Field("activation_bits", 0, 24, 4),
    Field("input_lanes", 1, 0, 8),
    Field("output_lanes", 1, 8, 8),
    Field("load_kernels", 1, 16, 8),
    Field("mask_bits", 1, 24, 3),
    Field("visits_base", 2, 0, 24),
)
"""activation_bits and mask_bits are the network's, mask_bits those of its widest masks: an engine made for as
many or more runs it. Lanes and kernels are the engine's."""

IDENTITY_FIELDS = (
    Field("image_height", 8, 0, 16),
    Field("image_width", 8, 16, 16),
    Field("table_words", 9, 0, 32),
    Field("table_crc", 10, 0, 32),
    Field("weights_words", 11, 0, 32),
    Field("weights_crc", 12, 0, 32),
    Field("descriptor_words", 13, 0, 32),
    Field("descriptor_crc", 14, 0, 32),
)
"""The rest of the header: what the chip holds its ROMs to, and the image's size. Not read by the engine. The
table's own CRC-32 is over the whole table with this word taken as 0, so that it covers those of the other
ROMs: it tells networks apart."""

IDENTITY_WORDS = 7

LAYER_FIELDS = (
    Field("height", 0, 0, 16),
    Field("width", 0, 16, 16),
    Field("in_groups", 1, 0, 16),
    Field("out_groups", 1, 16, 16),
    Field("last_in_lanes", 2, 0, 8),
    Field("last_out_lanes", 2, 8, 8),
    Field("mask_bits", 2, 16, 3),
    Field("passes", 2, 19, 2),
    Field("shift", 2, 21, SHIFT_BITS),
    Field("pool", 2, 25, 1),
    Field("has_pad", 2, 26, 1),
    Field("read_part", 2, 27, 1),
    Field("row_groups", 2, 28, 2),
    Field("weight_base", 3, 0, 32),
    Field("read_base", 4, 0, 32),
    Field("read_end", 5, 0, 32),
    Field("read_stride", 6, 0, 32),
    Field("write_base", 7, 0, 32),
    Field("write_end", 8, 0, 32),
    Field("write_stride", 9, 0, 32),
    Field("out_width", 10, 0, 16),
)
"""One record a layer. Groups count P_i (in) and P_o (out) channels; last_*_lanes the channels of the last
group; in the input and output records groups count memory words. *_base, *_end and *_stride address the
region's row slots in words of a bank: a slot holds one row, and rows 3k, 3k + 1, 3k + 2 share a slot address
in banks 0, 1, 2. Input and output have records of their own: input uses height, width, in_groups and
last_in_lanes (of the image) and the write fields; output uses height, width, in_groups and last_in_lanes (of
the last map), the read fields and read_part.

row_groups is 0 but in a layer that runs in row groups (see ROW_GROUPS) and in its input record. There it is
the number of rows, 1 to 3, of the map's last triple; the layer's height and its visits' first_row and rows
count triples, last_in_lanes the lanes up to the last group's last channel."""

VISIT_FIELDS = (
    Field("kind", 0, 0, 2),
    Field("new_layer", 0, 2, 1),
    Field("read_bank", 0, 4, 2),
    Field("write_bank", 0, 6, 2),
    Field("layer", 0, 8, 8),
    Field("first_row", 1, 0, 16),
    Field("rows", 1, 16, 16),
    Field("read_slot", 2, 0, 32),
    Field("write_slot", 3, 0, 32),
)
"""One record a visit, the engine's unit of scheduling: ``rows`` consecutive rows of one layer, all its
output channels. read_bank and read_slot say where row first_row - 1 lies (for an output visit: first_row; in
row groups: the first triple), write_bank and write_slot where the first row written goes (an image for row
groups: where the row before it would go). The first of consecutive visits to one layer has
new_layer set; only then is the layer record read and are write_* used: later ones go on where it ended."""

LAYERS_MAX = 254

ROW_GROUPS = 3
"""Groups of input lanes of a layer that runs in *row groups*: group g computes row 3T + g of triple T.

Only the first layer can, and only if its input channels fit a group (``EngineConfig.group_lanes``), its
masks take one pass and it does not pool. The image then lies in *virtual rows*: virtual row v has in lane
group g the image's row v + g - 1. So virtual rows 3T, 3T + 1, 3T + 2, one in each bank, hold for every group
the three rows around its own. The weight stream has pad values and kernels once for each group, and kernels
of alpha = 0 for lanes between that have no channel."""


def pack_record(layout: tuple[Field, ...], words: int, values: dict[str, int]) -> list[int]:
    """Words of a record. Raises ValueError for a value that does not fit its field or a missing name."""
    record = [0] * words
    for field in layout:
        value = values[field.name]
        if not 0 <= value <= field.max:
            raise ValueError(f"{field.name} = {value} does not fit {field.width} bits (0..{field.max})")
        record[field.word] |= value << field.lsb
    return record


def unpack_record(layout: tuple[Field, ...], record: list[int]) -> dict[str, int]:
    """Field values of a record's words."""
    return {f.name: (record[f.word] >> f.lsb) & f.max for f in layout}


# --------------------------------------------------------------------------------------------------------
# Error causes, as read on the engine's ``error`` port (0: none)
# --------------------------------------------------------------------------------------------------------

ERROR_BITS = 4
ERRORS: dict[int, str] = {
    0: "none",
    1: "frame too short: TLAST before the last pixel",
    2: "frame too long: no TLAST with the last pixel",
    3: "schedule table: wrong magic number or version",
    4: "schedule table: made for another engine configuration",
}
ERROR_FRAME_SHORT = 1
ERROR_FRAME_LONG = 2
ERROR_TABLE_MAGIC = 3
ERROR_TABLE_CONFIG = 4

# --------------------------------------------------------------------------------------------------------
# Counters, as read through the engine's ``counter_*`` ports
# --------------------------------------------------------------------------------------------------------

COUNTER_BITS = 32
COUNTER_ADDRESS_BITS = 9
COUNTER_BASE = 256
"""Address of the first of COUNTERS; below it are the cycles of each record of the schedule table."""

COUNTERS = ("busy", "array", "input", "input_stall", "output", "output_stall", "weight_stall", "control")
"""busy: all cycles of the frame, the sum of the others. array: a pass streams. input, output: a beat moves,
the output's pipeline fills, or the visit ends. input_stall: no beat is offered; output_stall: the beat is
not taken. weight_stall: a pass waits for its weights. control: start, table records, drained pipeline."""

TRACE_ADDRESS_BITS = 32
"""Of each bank's address on the trace ports, where there are three: the same whatever the memories."""

# --------------------------------------------------------------------------------------------------------
# Engine configuration
# --------------------------------------------------------------------------------------------------------


MASK_BITS_MAX = (1, 2, 3, 5)
"""What ``mask_bits_max`` may be: an engine for 4 bits would not be smaller than one for 5."""


@dataclass(frozen=True)
class EngineConfig:
    """Everything that is fixed when the Verilog is generated.

    ``input_lanes`` x ``output_lanes`` kernel units; one lane count must divide the other. ``activation_bits``
    is the datapath's width: networks with as many or fewer activation bits run. ``load_kernels`` kernels are
    decoded per cycle. ``partial_depth`` pixels is the longest strip, ``max_width`` the widest row.
    ``feature_words`` are the words of one bank (of three) of each part; a word holds ``word_lanes``
    activations. ``weight_words`` are ROM words of ``rom_word_bits``; ``table_words`` 32-bit words.
    ``stream_bytes`` is the width of the image stream. ``row_groups`` adds what it takes to run a first layer
    of few channels three rows at once (ROW_GROUPS); it needs three input lanes at least. ``mask_bits_max``:
    masks of as many or fewer bits run; fewer than 5 make one pass of every layer, fewer than 3 smaller kernel
    units.

    Raises InputError, naming the field and what is allowed, for an impossible configuration.
    """

    name: str
    input_lanes: int
    output_lanes: int
    activation_bits: int
    load_kernels: int
    partial_depth: int
    max_width: int
    feature_words: tuple[int, int]
    weight_words: int
    table_words: int
    stream_bytes: int
    row_groups: bool = False
    mask_bits_max: int = max(MASK_BITS)

    def __post_init__(self) -> None:
        def check(name: str, value: object, low: int, high: int) -> None:
            if type(value) is not int or not low <= value <= high:
                raise InputError(f"configuration {self.name!r}: {name} = {value!r}; allowed: {low}..{high}")

        check("input_lanes", self.input_lanes, 1, 128)
        check("output_lanes", self.output_lanes, 1, 128)
        check("activation_bits", self.activation_bits, ACTIVATION_BITS_MIN, ACTIVATION_BITS_MAX)
        check("load_kernels", self.load_kernels, 1, self.input_lanes)
        check("partial_depth", self.partial_depth, 4, 65536)
        check("max_width", self.max_width, 3, self.partial_depth)
        if type(self.feature_words) is not tuple or len(self.feature_words) != 2:
            raise InputError(
                f"configuration {self.name!r}: feature_words = {self.feature_words!r}; "
                "allowed: two word counts"
            )
        for part, words in enumerate(self.feature_words):
            check(f"feature_words[{part}]", words, 2, 1 << 24)
        check("weight_words", self.weight_words, 4, 1 << 26)
        check("table_words", self.table_words, 2 * RECORD_WORDS, 1 << 20)
        check("stream_bytes", self.stream_bytes, 1, self.word_lanes)
        if type(self.mask_bits_max) is not int or self.mask_bits_max not in MASK_BITS_MAX:
            raise InputError(
                f"configuration {self.name!r}: mask_bits_max = {self.mask_bits_max!r}; "
                f"allowed: {', '.join(map(str, MASK_BITS_MAX))}"
            )
        small, large = sorted((self.input_lanes, self.output_lanes))
        if large % small:
            raise InputError(
                f"configuration {self.name!r}: {self.input_lanes} x {self.output_lanes} lanes; "
                "allowed: one lane count a multiple of the other"
            )
        if type(self.row_groups) is not bool:
            raise InputError(
                f"configuration {self.name!r}: row_groups = {self.row_groups!r}; allowed: true, false"
            )
        if self.row_groups and self.input_lanes < ROW_GROUPS:
            raise InputError(
                f"configuration {self.name!r}: row_groups with input_lanes = {self.input_lanes}; "
                f"allowed: with {ROW_GROUPS} or more"
            )
        if self.input_lanes % self.load_kernels:
            raise InputError(
                f"configuration {self.name!r}: load_kernels = {self.load_kernels}; "
                f"allowed: a divisor of input_lanes = {self.input_lanes}"
            )

    @property
    def word_lanes(self) -> int:
        """Activations in a word of the feature memory."""
        return max(self.input_lanes, self.output_lanes)

    @property
    def word_bits(self) -> int:
        return self.word_lanes * self.activation_bits

    @property
    def in_slices(self) -> int:
        """Input groups in a word."""
        return self.word_lanes // self.input_lanes

    @property
    def out_slices(self) -> int:
        """Output groups in a word."""
        return self.word_lanes // self.output_lanes

    @property
    def group_lanes(self) -> int:
        """Input lanes of a row group: the largest power of two of which there are three; 0 if there are not
        three lanes."""
        return 1 << (self.input_lanes // ROW_GROUPS).bit_length() >> 1

    @property
    def rom_word_bits(self) -> int:
        return ROM_BITS_PER_KERNEL * self.load_kernels

    @property
    def mask_widths(self) -> tuple[int, ...]:
        """The mask bits that run."""
        return tuple(bits for bits in MASK_BITS if bits <= self.mask_bits_max)

    @property
    def digit_bits(self) -> int:
        """Bits of a digit in the weight registers; a digit is coded as a mask of as many bits."""
        return min(self.mask_bits_max, DIGIT_BITS)

    @property
    def passes_max(self) -> int:
        return PASSES[self.mask_bits_max]

    @property
    def macs_per_cycle(self) -> int:
        """The array's peak: TAPS multiply-accumulates a kernel unit."""
        return TAPS * self.input_lanes * self.output_lanes

    def with_options(self, **options: object) -> "EngineConfig":
        """A copy with some fields replaced. Raises InputError for a name that is not a field."""
        known = {f.name for f in fields(self)}
        for name in options:
            if name not in known:
                raise InputError(
                    f"configuration {self.name!r}: unknown field {name!r}; "
                    f"allowed: {', '.join(sorted(known))}"
                )
        return replace(self, **options)


def layer_fields(config: EngineConfig) -> tuple[Field, ...]:
    """Fields of a layer record that an engine knows."""
    return tuple(f for f in LAYER_FIELDS if config.row_groups or f.name != "row_groups")


# --------------------------------------------------------------------------------------------------------
# Widths inside the array that follow from the above
# --------------------------------------------------------------------------------------------------------


def bits_for(maximum: int) -> int:
    """Bits of an unsigned number from 0 to ``maximum``."""
    return max(1, int(maximum).bit_length())


def tap_sum_bits(config: EngineConfig) -> int:
    """Signed width of the sum of nine digits times activations: at most 9 * 4 * (2**A - 1)."""
    greatest = MASK_MAGNITUDES[config.digit_bits][-1]
    return bits_for(TAPS * greatest * ((1 << config.activation_bits) - 1)) + 1


def product_bits(config: EngineConfig) -> int:
    """Signed width of alpha times the tap sum."""
    return SCALAR_BITS + tap_sum_bits(config)


def lane_sum_bits(config: EngineConfig) -> int:
    """Signed width of an output lane's sum over all input lanes."""
    return product_bits(config) + tree_levels(config.input_lanes)


def group_sum_bits(config: EngineConfig) -> int:
    """Signed width of an output lane's sum over the input lanes of a row group."""
    return product_bits(config) + tree_levels(config.group_lanes)


def tree_levels(lanes: int) -> int:
    """Levels of two-input adders that sum ``lanes`` numbers."""
    return ceil(log2(lanes)) if lanes > 1 else 0


# --------------------------------------------------------------------------------------------------------
# Latencies. The Verilog is built from them and ``sw.cycles`` counts with them.
# --------------------------------------------------------------------------------------------------------

WINDOW_LATENCY = 4
"""Cycles from a column's address to its window."""

UNIT_LATENCY = 2
"""Cycles from a window to a kernel unit's product."""

LEVELS_PER_STAGE = 2
"""Levels of two-input adders between registers in a lane's tree."""

AFTER_ARRAY = 4
"""Cycles from the array's sums to the write: accumulate 1, requantise 2, pool 1."""

FILL_CYCLES = 4
"""Cycles from a tile's load start to its first beat."""

HEADER_WORDS_USED = 1 + max(f.word for f in HEADER_FIELDS)
LAYER_WORDS_USED = 1 + max(f.word for f in LAYER_FIELDS)

VISIT_FETCH = VISIT_WORDS + 2
"""Cycles from the hand-over of a visit's last pass to the load start of the next visit's first tile."""

LAYER_FETCH = LAYER_WORDS_USED + 2
"""Cycles that a new layer adds to it."""

START_CYCLES = HEADER_WORDS_USED + 2 + VISIT_FETCH + LAYER_FETCH + 2
"""Cycles from start to the first hand-over."""

INPUT_LATENCY = 1
"""Cycles from a visit's last beat to its end."""

OUTPUT_LATENCY = 3
"""Cycles from an output word's address to its beat, and one from the last beat to the visit's end."""


def lane_latency(input_lanes: int) -> int:
    """Cycles from a window to an output lane's sum."""
    return UNIT_LATENCY + -(-tree_levels(input_lanes) // LEVELS_PER_STAGE)


def group_latency(config: EngineConfig) -> int:
    """Cycles from a window to the registers before an output lane's sums over row groups."""
    return UNIT_LATENCY + tree_levels(config.group_lanes) // LEVELS_PER_STAGE


def drain_cycles(config: EngineConfig) -> int:
    """From the cycle in which a pass presents its last address to the cycle of its last write."""
    return WINDOW_LATENCY + lane_latency(config.input_lanes) + AFTER_ARRAY


def bias_hold_cycles(input_lanes: int) -> int:
    """From the hand-over of a pass that emits to the first cycle in which a bias of a later tile may be cut.

    The pass's first pixel swaps the biases at the end of cycle 5 + lane_latency after the hand-over; a bias
    beat writes at the end of the second cycle after it was cut.
    """
    return lane_latency(input_lanes) + 3


# --------------------------------------------------------------------------------------------------------
# Descriptor unit (NIP): widths, descriptor ROM, command, error causes. ``docs/arithmetic.md``, section 10
# --------------------------------------------------------------------------------------------------------

NIP_CHANNELS_MAX = 512
"""Channels of the map and dimensions of the descriptor."""

NIP_REGIONS_MAX = 256
"""Regions of one map."""

NIP_SUMMED_MAX = 1 << 15
"""Regions of all crops of a rotation together."""

NIP_PIXELS_MAX = 1 << 16
"""Pixels of a region."""

NIP_FRACTION = 16
"""Fraction bits of a normalised vector's elements, which are at most 1 - 2**-16."""

NIP_SQUARES_BITS = 32
"""Sum of squares of one channel in one region: at most 255**2 * 2**16."""

NIP_TOTAL_BITS = NIP_SQUARES_BITS + 9
"""Sum of these over NIP_CHANNELS_MAX channels."""

NIP_RECIPROCAL_BITS = 17

NIP_ROOT_LATENCY = NIP_SQUARES_BITS // 4
"""Cycles of the square root."""

NIP_MEAN_FRACTION = 19
"""Fraction bits of the average that is whitened, which is between once and twice the true one."""

NIP_ROW_SHIFT = 3
"""Bits that a whitened row gives up before it is multiplied by its scale."""

NIP_MATRIX_BITS = 8
NIP_MATRIX_ROWS = 4
"""Rows of the whitening matrix in a ROM word, and multipliers."""

NIP_ROW_CYCLES = 12
"""Cycles of a row of the matrix beyond its columns."""

NIP_SCALE_BITS = 16
NIP_GAIN_SHIFT = 24
"""code = (element - low) * gain >> NIP_GAIN_SHIFT"""

DESCRIPTOR_WORD_BITS = 32
DESCRIPTOR_MAGIC = 0x4B4E
DESCRIPTOR_VERSION = 1
DESCRIPTOR_HEADER_WORDS = 16

DESCRIPTOR_FIELDS = (
    Field("magic", 0, 0, 16),
    Field("version", 0, 16, 8),
    Field("whitening", 0, 24, 1),
    Field("pairs", 0, 25, 1),
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
"""Header of the descriptor ROM. channels, height, width: of the map; dimensions: of the descriptor; low: in
units of 2**-NIP_FRACTION, two's complement; pairs: two rows of the matrix, added up, make a dimension;
bases are word addresses; words: of the whole image."""

DESCRIPTOR_HEADER_USED = 1 + max(f.word for f in DESCRIPTOR_FIELDS)

REGION_WORDS = 2
REGION_FIELDS = (
    Field("top", 0, 0, 16),
    Field("left", 0, 16, 16),
    Field("height", 1, 0, 16),
    Field("width", 1, 16, 16),
)
"""One region of the map, in pixels."""

NIP_OUTPUT_BYTES = 0
NIP_OUTPUT_BITS = 1
NIP_OUTPUT_SUMS = 2
"""What a descriptor is sent as: a byte a dimension; a bit a dimension; the sums over regions and crops, 32
bits a channel, least significant byte first, neither whitened nor normalised."""

NIP_ERROR_BITS = 3
NIP_ERRORS: dict[int, str] = {
    0: "none",
    1: "descriptor ROM: wrong magic number or version, or too large for the unit",
    2: "descriptor ROM: made for another map",
    3: "descriptor: the last map is not whole in memory",
    4: "descriptor: a crop or rotation that continues nothing",
    5: "descriptor: too many regions in a sum",
}
NIP_ERROR_BASE = 4
"""On the core's ``error`` port they follow the engine's causes."""

NIP_ERROR_ROM = 1
NIP_ERROR_MAP = 2
NIP_ERROR_PARTIAL = 3
NIP_ERROR_SEQUENCE = 4
NIP_ERROR_REGIONS = 5


@dataclass(frozen=True)
class NipConfig:
    """What is fixed of the descriptor unit when the Verilog is generated: its channels at most, a power of
    two, the words of the descriptor ROM, and whether it can whiten. Raises InputError."""

    channels: int = NIP_CHANNELS_MAX
    rom_words: int = 69632
    whitening: bool = True

    def __post_init__(self) -> None:
        if self.channels & (self.channels - 1) or not 2 <= self.channels <= NIP_CHANNELS_MAX:
            raise InputError(
                f"descriptor unit: channels = {self.channels}; allowed: a power of two, 2..{NIP_CHANNELS_MAX}"
            )
        if not 2 * DESCRIPTOR_HEADER_WORDS <= self.rom_words <= 1 << 20:
            raise InputError(
                f"descriptor unit: rom_words = {self.rom_words}; "
                f"allowed: {2 * DESCRIPTOR_HEADER_WORDS}..{1 << 20}"
            )


NIP = NipConfig()
"""The descriptor unit unless told otherwise: a whitening of 512 x 512 fits its ROM."""
