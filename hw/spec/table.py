"""The schedule table, of 32-bit words: the header (record 0), layer records, and visit records."""

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import VISIT_WORDS, VISIT_WORDS_LONG, Field
from kestrel.hw.spec.widths import SHIFT_BITS

TABLE_MAGIC = 0x4B53
TABLE_VERSION = 1
TABLE_VERSION_ROW_GROUPS = 2
"""Version of a table with a layer that runs in row groups; only an engine with ``row_groups`` takes it."""
TABLE_VERSION_RESIDUAL = 3
"""Version of the tables of an engine with ``residual``, whose records are longer; it takes no other."""
TABLE_VERSION_BATCH = 4
TABLE_VERSION_RESIDUAL_BATCH = 5
"""The same with ``batch``, without and with ``residual``."""

TABLE_VERSION_SCALAR_TABLES = 16
"""Added to the version of the tables of an engine with ``scalar_tables``, which takes no other."""

KIND_END = 0
KIND_INPUT = 1
KIND_CONV = 2
KIND_OUTPUT = 3

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
"""activation_bits and mask_bits are the network's, mask_bits those of its widest masks; an engine made
for as many or more runs it. Lanes and kernels are the engine's."""

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
"""The rest of the header: with what the chip compares its ROMs, and the image's size. The engine does not
read it. The table's own CRC-32 is that of the whole table with this word taken as 0. It covers the CRCs
of the other ROMs, and so tells networks apart."""

IDENTITY_WORDS = 7
"""Words of the header that IDENTITY_FIELDS take."""

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

SCALAR_TABLE_FIELDS = (Field("scalar_bits", 10, 28, 4),)
"""What a layer record has besides in an engine with ``scalar_tables``: the bits q of a stored scalar, one of
SCALAR_WIDTHS."""

SHORTCUT_NONE = 0
SHORTCUT_IDENTITY = 1
SHORTCUT_PROJECTION = 2

RESIDUAL_LAYER_FIELDS = (
    Field("stride", 2, 30, 1),
    Field("pool_3x3", 2, 31, 1),
    Field("shortcut", 10, 16, 2),
    Field("shortcut_part", 10, 18, 1),
    Field("shortcut_stride", 10, 19, 1),
    Field("shortcut_tap", 10, 20, 2),
    Field("shortcut_digit", 10, 22, 2),
    Field("centre", 10, 24, 1),
    Field("blocks", 10, 25, 1),
    Field("shortcut_base", 11, 0, 32),
    Field("shortcut_end", 12, 0, 32),
    Field("shortcut_slots_stride", 13, 0, 32),
    Field("shortcut_width", 14, 0, 16),
    Field("shortcut_groups", 14, 16, 16),
    Field("last_shortcut_lanes", 15, 0, 8),
    Field("block_pad_0", 15, 8, 8),
    Field("block_pad_1", 15, 16, 8),
    Field("block_pad_2", 15, 24, 8),
)
"""What a layer record has besides in an engine with ``residual``.

stride and shortcut_stride: 1 for steps of 2 rows and columns, 0 for steps of 1. pool_3x3: with pool, windows
of 3x3 with padding 1 instead of 2x2. shortcut: SHORTCUT_NONE, _IDENTITY or _PROJECTION; shortcut_part, _base,
_end, _slots_stride and _width say where its map lies, shortcut_groups how many groups of P_i channels it has,
last_shortcut_lanes the channels of the last one. shortcut_tap (0 to 2) and shortcut_digit (0 to 2) shift its
products left. centre: the layer's own kernels are 1x1.

blocks: in the record of the input, the image is stored in 2x2 blocks (docs/arithmetic.md, section 1); height
and width are then the image's, out_width, in_groups and the write fields those of the map in blocks, and
last_in_lanes the channels of a pixel of the image. block_pad_0, _1 and _2 are the activations that stand for
the three colours outside the image. The visit's rows count rows of blocks."""

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

RESIDUAL_VISIT_FIELDS = (
    Field("shortcut_bank", 0, 16, 2),
    Field("shortcut_slot", 4, 0, 32),
)
"""What a visit record has besides in an engine with ``residual``: where the shortcut's row above that of the
visit's first output row lies, as read_bank and read_slot do for the layer's own map."""

BATCH_LAYER_FIELDS = (
    Field("read_gap", 10, 26, 1),
    Field("shortcut_gap", 10, 27, 1),
)
"""What a layer record has besides in an engine with ``batch``, the second one only with ``residual``: between
two images of its map, or of its shortcut's, a row is passed over that no window has in its middle. The height
of a layer, and of an image in blocks, is that of one image; that of other inputs and of the output is of all
images together, which the streams need not tell apart."""

BATCH_VISIT_FIELDS = (
    Field("ends_frame", 0, 18, 1),
    Field("image_rows_left", 5, 0, 16),
    Field("image_rows", 5, 16, 16),
)
"""What a visit record has besides in an engine with ``batch``: of the rows that its record works on,
image_rows to an image, image_rows_left are left of the visit's first image. first_row of a layer and of an
image in blocks is counted within that image. ends_frame, only with ``residual``: the visit ends with the
last image."""

HEADER_WORDS_USED = 1 + max(f.word for f in HEADER_FIELDS)
LAYERS_MAX = 254
"""The most layers of a network: with the records of input and output they are numbered in 8 bits."""


def layer_fields(config: EngineConfig) -> tuple[Field, ...]:
    """The fields of a layer record that an engine reads: row_groups only in one with row groups."""
    fields = tuple(f for f in LAYER_FIELDS if config.row_groups or f.name != "row_groups")
    if config.scalar_tables:
        fields += SCALAR_TABLE_FIELDS
    if config.residual:
        fields += RESIDUAL_LAYER_FIELDS
    return fields + _of_batch(BATCH_LAYER_FIELDS, config)


def visit_fields(config: EngineConfig) -> tuple[Field, ...]:
    """The fields of a visit record that an engine reads."""
    fields = VISIT_FIELDS + RESIDUAL_VISIT_FIELDS if config.residual else VISIT_FIELDS
    return fields + _of_batch(BATCH_VISIT_FIELDS, config)


def _of_batch(fields: tuple[Field, ...], config: EngineConfig) -> tuple[Field, ...]:
    """Those of a batch's fields that an engine reads."""
    only_residual = {"shortcut_gap", "ends_frame"}
    return tuple(f for f in fields if config.batch and (config.residual or f.name not in only_residual))


def table_versions(config: EngineConfig) -> tuple[int, ...]:
    """The versions of the tables that an engine takes; the last one is that of a table with row groups."""
    versions = (TABLE_VERSION, TABLE_VERSION_ROW_GROUPS) if config.row_groups else (TABLE_VERSION,)
    if config.batch:
        versions = (TABLE_VERSION_RESIDUAL_BATCH if config.residual else TABLE_VERSION_BATCH,)
    elif config.residual:
        versions = (TABLE_VERSION_RESIDUAL,)
    form = TABLE_VERSION_SCALAR_TABLES if config.scalar_tables else 0
    return tuple(form + version for version in versions)


def layer_words(config: EngineConfig) -> int:
    """Words of a layer record that an engine reads."""
    return 1 + max(f.word for f in layer_fields(config))


def visit_words(config: EngineConfig) -> int:
    """Words of a visit record, those that are not used included."""
    return VISIT_WORDS_LONG if config.residual or config.batch else VISIT_WORDS


def visit_words_used(config: EngineConfig) -> int:
    """Words of a visit record that an engine reads."""
    return 1 + max(f.word for f in visit_fields(config))
