"""The engine configuration, and the widths inside the array that follow from it."""

from dataclasses import dataclass, fields, replace

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import DIGIT_BITS, MASK_BITS, MASK_MAGNITUDES, PASSES
from kestrel.hw.spec.records import RECORD_WORDS
from kestrel.hw.spec.widths import (
    ACTIVATION_BITS_MAX,
    ACTIVATION_BITS_MIN,
    ROM_BITS_PER_KERNEL,
    SCALAR_BITS,
    TABLE_ENTRIES_MAX,
    TAPS,
    bits_for,
    kernel_bits,
    tree_levels,
)

BANKS = 3
"""Banks of each of the two parts of the feature memory: row r of a map lies in bank r mod 3, so that the
three rows of a window are read in one cycle."""

ROW_GROUPS = 3
"""Groups of input lanes of a layer that runs in *row groups*: group g computes row 3T + g of triple T.

Only the first layer can, and only if its input channels fit a group (``EngineConfig.group_lanes``), its
masks take one pass, it is 3x3 of stride 1, does not pool, and the image is not stored in blocks; and only
with scalars of 8 bits or masks that have a zero, because of the lanes between. The image
then lies in *virtual rows*: virtual row v has in lane group g the image's row v + g - 1. So virtual rows 3T,
3T + 1, 3T + 2, one in each bank, hold for every group the three rows around its own. The weight stream has
pad values and kernels once for each group, and kernels of alpha = 0 for lanes between that have no
channel."""

MASK_BITS_MAX = (1, 2, 3, 5)
"""The values that ``mask_bits_max`` may have. An engine for 4 bits would not be smaller than one for 5."""

WHITENING_ROWS = (4, 8, 16)
"""The values that ``whitening_rows`` may have: rows of the matrix in a word of the descriptor ROM. The
first 32 bits of a word hold everything else."""

PARTIAL_DEPTH_MIN = 4
MAX_WIDTH_MIN = 3
FEATURE_WORDS_MIN = 2
WEIGHT_WORDS_MIN = 4
TABLE_WORDS_MIN = 2 * RECORD_WORDS
"""The smallest memories that a configuration may have."""

WEIGHT_WORDS_MAX = 1 << 26
TABLE_WORDS_MAX = 1 << 20
"""The largest ROMs that it may have."""

DESCRIPTOR_CHANNELS_MAX = 512
"""The most channels of a map, and the most dimensions of its descriptor."""

DESCRIPTOR_MAPS_MAX = 4
"""The most maps of a frame that a descriptor is made of."""

DESCRIPTOR_WORDS_MIN = 2 * RECORD_WORDS
DESCRIPTOR_WORDS_MAX = 1 << 20
"""The smallest and the largest descriptor ROM."""


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
    units. ``whitening_rows``: rows of the whitening matrix that a descriptor unit multiplies by at once.
    ``descriptor_channels``, a power of two: the most channels of a map and dimensions of its descriptor, for
    such a unit. ``descriptor_words``: of its ROM; 0: room for a whitening of 512 x 512.
    ``descriptor_whitening``: it can whiten. ``descriptor_maps``: the most maps of a frame of which it makes a
    descriptor.
    ``residual`` adds what residual networks need: shortcuts, stride 2, 1x1 kernels, 3x3/2 pooling and an
    image in 2x2 blocks; it needs masks with a zero (``mask_bits_max`` of 2 or more). ``batch`` adds what it
    takes to run several images in one frame, so that one load of weights serves them all.
    ``scalar_tables`` adds scalars of fewer than 8 bits, which are looked up in a table of the layer; the
    weight ROM and the table of such an engine have a form of their own.

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
    whitening_rows: int = min(WHITENING_ROWS)
    descriptor_channels: int = DESCRIPTOR_CHANNELS_MAX
    descriptor_words: int = 0
    descriptor_whitening: bool = True
    descriptor_maps: int = 1
    residual: bool = False
    batch: bool = False
    scalar_tables: bool = False

    def __post_init__(self) -> None:
        def check(name: str, value: object, low: int, high: int) -> None:
            if type(value) is not int or not low <= value <= high:
                raise InputError(f"configuration {self.name!r}: {name} = {value!r}; allowed: {low}..{high}")

        check("input_lanes", self.input_lanes, 1, 128)
        check("output_lanes", self.output_lanes, 1, 128)
        check("activation_bits", self.activation_bits, ACTIVATION_BITS_MIN, ACTIVATION_BITS_MAX)
        check("load_kernels", self.load_kernels, 1, self.input_lanes)
        check("partial_depth", self.partial_depth, PARTIAL_DEPTH_MIN, 65536)
        check("max_width", self.max_width, MAX_WIDTH_MIN, self.partial_depth)
        if type(self.feature_words) is not tuple or len(self.feature_words) != 2:
            raise InputError(
                f"configuration {self.name!r}: feature_words = {self.feature_words!r}; "
                "allowed: two word counts"
            )
        for part, words in enumerate(self.feature_words):
            check(f"feature_words[{part}]", words, FEATURE_WORDS_MIN, 1 << 24)
        check("weight_words", self.weight_words, WEIGHT_WORDS_MIN, WEIGHT_WORDS_MAX)
        check("table_words", self.table_words, TABLE_WORDS_MIN, TABLE_WORDS_MAX)
        check("stream_bytes", self.stream_bytes, 1, self.word_lanes)
        for name, allowed in (("mask_bits_max", MASK_BITS_MAX), ("whitening_rows", WHITENING_ROWS)):
            value = getattr(self, name)
            if type(value) is not int or value not in allowed:
                raise InputError(
                    f"configuration {self.name!r}: {name} = {value!r}; "
                    f"allowed: {', '.join(map(str, allowed))}"
                )
        small, large = sorted((self.input_lanes, self.output_lanes))
        if large % small:
            raise InputError(
                f"configuration {self.name!r}: {self.input_lanes} x {self.output_lanes} lanes; "
                "allowed: one lane count a multiple of the other"
            )
        for name in ("row_groups", "descriptor_whitening", "residual", "batch", "scalar_tables"):
            value = getattr(self, name)
            if type(value) is not bool:
                raise InputError(f"configuration {self.name!r}: {name} = {value!r}; allowed: true, false")
        if self.residual and self.mask_bits_max < 2:  # nine taps of which eight are zero
            raise InputError(
                f"configuration {self.name!r}: residual with mask_bits_max = {self.mask_bits_max}; "
                "allowed: with 2 or more"
            )
        if self.row_groups and self.input_lanes < ROW_GROUPS:
            raise InputError(
                f"configuration {self.name!r}: row_groups with input_lanes = {self.input_lanes}; "
                f"allowed: with {ROW_GROUPS} or more"
            )
        channels, words = self.descriptor_channels, self.descriptor_words
        check("descriptor_channels", channels, 2, DESCRIPTOR_CHANNELS_MAX)
        check("descriptor_maps", self.descriptor_maps, 1, DESCRIPTOR_MAPS_MAX)
        if channels & (channels - 1):
            raise InputError(
                f"configuration {self.name!r}: descriptor_channels = {channels}; "
                f"allowed: a power of two, 2..{DESCRIPTOR_CHANNELS_MAX}"
            )
        if type(words) is not int or words != 0:
            check("descriptor_words", words, DESCRIPTOR_WORDS_MIN, DESCRIPTOR_WORDS_MAX)
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
        """Width of a word of the feature memory."""
        return self.word_lanes * self.activation_bits

    @property
    def in_slices(self) -> int:
        """Input groups in a word of the feature memory."""
        return self.word_lanes // self.input_lanes

    @property
    def out_slices(self) -> int:
        """Output groups in a word of the feature memory."""
        return self.word_lanes // self.output_lanes

    @property
    def group_lanes(self) -> int:
        """Input lanes of a row group: the largest power of two that fits the input lanes three times; 0
        with fewer than three lanes."""
        return 1 << (self.input_lanes // ROW_GROUPS).bit_length() >> 1

    @property
    def writes_banks(self) -> bool:
        """Whether a write into the feature memory may be one into several banks, each at an address of its
        own: images for row groups and images in blocks are written so."""
        return self.row_groups or self.residual

    @property
    def rom_word_bits(self) -> int:
        """Width of a word of the weight ROM."""
        return ROM_BITS_PER_KERNEL * self.load_kernels

    @property
    def mask_widths(self) -> tuple[int, ...]:
        """The bits of a mask code that this engine runs, ascending."""
        return tuple(bits for bits in MASK_BITS if bits <= self.mask_bits_max)

    @property
    def digit_bits(self) -> int:
        """Width of a digit in the weight registers, where it is coded as a mask of so many bits."""
        return min(self.mask_bits_max, DIGIT_BITS)

    @property
    def passes_max(self) -> int:
        """The most passes that a layer takes."""
        return PASSES[self.mask_bits_max]

    @property
    def shortcut_tap_max(self) -> int:
        """The largest shift of a shortcut's products by its tap, in the kernel unit."""
        return MASK_MAGNITUDES[self.digit_bits][-1].bit_length() - 1

    @property
    def shortcut_shift_max(self) -> int:
        """The largest shift of a shortcut's products: by its tap, and by a digit in the accumulator."""
        return self.shortcut_tap_max + self.passes_max - 1

    @property
    def macs_per_cycle(self) -> int:
        """The array's peak in multiply-accumulates a cycle, TAPS for each kernel unit."""
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


# --------------------------------------------------------------------------------------------------------
# Widths inside the array that follow from the above
# --------------------------------------------------------------------------------------------------------


def table_beat_entries(config: EngineConfig) -> int:
    """Entries of a table of scalars that the weight loader takes in a cycle, a power of two."""
    fit = kernel_bits(config.mask_bits_max) * config.load_kernels // SCALAR_BITS
    return min(TABLE_ENTRIES_MAX, 1 << fit.bit_length() >> 1)


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
