"""The schedule table: a plan as the words that the engine's sequencer reads.

Layout in ``kestrel.hw.spec``: at word 0 the header, then at word (1 + n) * RECORD_WORDS the record of
``plan.records[n]``, then the visits, the last of which is of kind KIND_END. A visit names its record by the
number counted from the header on: 1 + n.
"""

from kestrel.export.formats.words import Words
from kestrel.hw.spec.engine_config import BANKS, ROW_GROUPS
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import PASSES
from kestrel.hw.spec.records import (
    RECORD_WORDS,
    TABLE_WORD_BITS,
    Field,
    pack_record,
    unpack_record,
)
from kestrel.hw.spec.table import (
    BATCH_LAYER_FIELDS,
    BATCH_VISIT_FIELDS,
    HEADER_FIELDS,
    IDENTITY_FIELDS,
    KIND_CONV,
    KIND_END,
    KIND_INPUT,
    KIND_OUTPUT,
    LAYER_FIELDS,
    RESIDUAL_LAYER_FIELDS,
    RESIDUAL_VISIT_FIELDS,
    SCALAR_TABLE_FIELDS,
    SHORTCUT_IDENTITY,
    SHORTCUT_PROJECTION,
    TABLE_MAGIC,
    VISIT_FIELDS,
    table_versions,
    visit_fields,
    visit_words,
)
from kestrel.sw.model.network import IMAGE_CHANNELS
from kestrel.sw.planning.geometry import Region, Visit, group_count, last_lanes, loaded_lanes
from kestrel.sw.planning.plan import Plan, Record
from kestrel.sw.planning.remedies import larger

FIRST_RECORD = 1
"""Number of the first record after the header."""


def encode_table(plan: Plan) -> Words:
    """The table of a plan. Raises InputError if it has more records than can be numbered or more words than
    the configuration's table."""
    config = plan.config
    records_max = next(f.max for f in VISIT_FIELDS if f.name == "layer")
    if len(plan.records) > records_max:
        raise InputError(
            f"the schedule has {len(plan.records)} layer records, input and output included; "
            f"allowed: {records_max}"
        )
    visits_base = (FIRST_RECORD + len(plan.records)) * RECORD_WORDS
    words = pack_record(
        HEADER_FIELDS,
        RECORD_WORDS,
        {
            "magic": TABLE_MAGIC,
            "version": _version(plan),
            "activation_bits": plan.activation_bits,
            "input_lanes": config.input_lanes,
            "output_lanes": config.output_lanes,
            "load_kernels": config.load_kernels,
            "mask_bits": plan.mask_bits,
            "visits_base": visits_base,
        },
    )
    layers = LAYER_FIELDS
    if config.residual:
        layers += RESIDUAL_LAYER_FIELDS
    if config.batch:
        layers += BATCH_LAYER_FIELDS
    if config.scalar_tables:
        layers += SCALAR_TABLE_FIELDS
    for number in range(len(plan.records)):
        words += pack_record(layers, RECORD_WORDS, _layer_values(number, plan))
    before: Visit | None = None
    visits = visit_fields(config)
    for visit in plan.visits:
        values = _visit_values(visit, plan, new_layer=before is None or before.record != visit.record)
        words += pack_record(visits, visit_words(config), values)
        before = visit
    words += pack_record(visits, visit_words(config), _zeros(visits) | {"kind": KIND_END})
    if len(words) > config.table_words:
        raise InputError(
            f"the schedule takes {len(words)} table words ({len(plan.records)} layer records, "
            f"{len(plan.visits)} visits); configuration {config.name!r} has table_words = "
            f"{config.table_words}; {larger(config, table_words=len(words))}"
        )
    return Words.from_ints(TABLE_WORD_BITS, words)


def seal_table(table: Words, plan: Plan, weights: Words, descriptor: Words | None = None) -> Words:
    """The table with the header's identity words: the size of the image (in a batch, of all images one below
    the other, as the host sends them), and for each ROM its words and CRC-32.

    The table's own CRC-32 is computed with its own word 0 and is the network's as a whole (``network_crc``).
    """
    values = {
        "image_height": plan.images * plan.height,
        "image_width": plan.width,
        "table_words": len(table),
        "table_crc": 0,
        "weights_words": len(weights),
        "weights_crc": weights.crc32,
        "descriptor_words": len(descriptor) if descriptor else 0,
        "descriptor_crc": descriptor.crc32 if descriptor else 0,
    }
    words = table.to_ints()
    identity = pack_record(IDENTITY_FIELDS, RECORD_WORDS, values)
    first = IDENTITY_FIELDS[0].word
    words[first:RECORD_WORDS] = identity[first:]
    own = next(f for f in IDENTITY_FIELDS if f.name == "table_crc")
    words[own.word] = Words.from_ints(TABLE_WORD_BITS, words).crc32
    return Words.from_ints(TABLE_WORD_BITS, words)


def network_crc(table: Words) -> int:
    """The CRC-32 that a sealed table holds of itself; 0 for a table that is not sealed."""
    return unpack_record(IDENTITY_FIELDS, table.to_ints()[:RECORD_WORDS])["table_crc"]


def _version(plan: Plan) -> int:
    versions = table_versions(plan.config)
    return versions[-1] if plan.row_groups else versions[0]


def _layer_values(number: int, plan: Plan) -> dict[str, int]:
    record = plan.records[number]
    fields = LAYER_FIELDS + RESIDUAL_LAYER_FIELDS + BATCH_LAYER_FIELDS + SCALAR_TABLE_FIELDS
    values = _zeros(fields) | {
        "height": record.height,
        "width": record.width,
        "out_width": record.out_width,
    }
    if record.read is not None:
        values |= _region_values("read", record.read)
        values["read_part"] = record.read.part
    if record.write is not None:
        values |= _region_values("write", record.write)
        # The part that is not read is written: this holds for the input too, which reads neither.
        values["read_part"] = 1 - record.write.part
    config = plan.config
    triples = group_count(plan.height, ROW_GROUPS)
    grouped = plan.row_groups and number <= 1
    if grouped:
        values["row_groups"] = plan.height - (triples - 1) * ROW_GROUPS
    if plan.blocks and record.kind == KIND_INPUT:
        return values | {
            "blocks": 1,
            "height": plan.height,
            "in_groups": group_count(record.channels, config.word_lanes),
            "last_in_lanes": IMAGE_CHANNELS,
            **{f"block_pad_{colour}": value for colour, value in enumerate(plan.block_pads)},
        }
    if record.layer is None:
        return values | {
            "in_groups": group_count(record.channels, config.word_lanes),
            "last_in_lanes": last_lanes(record.channels, config.word_lanes),
        }
    assert record.counted is not None
    layer, shape = record.layer, record.layer.shape
    return values | {
        "height": triples if grouped else record.counted.height,
        "in_groups": group_count(shape.in_channels, config.input_lanes),
        "out_groups": group_count(shape.out_channels, config.output_lanes),
        "last_in_lanes": loaded_lanes(layer, config),
        "last_out_lanes": last_lanes(shape.out_channels, config.output_lanes),
        "mask_bits": layer.mask_bits,
        "scalar_bits": layer.scalar_bits,
        "passes": PASSES[layer.mask_bits],
        "shift": layer.shift,
        "pool": int(shape.pool),
        "has_pad": int(layer.has_pad),
        "weight_base": record.weight_base,
        "stride": shape.stride - 1,
        "pool_3x3": int(shape.pool and shape.pool_size == 3),
        "centre": int(layer.centre),
        "read_gap": record.counted.gap if plan.images > 1 else 0,
        **_shortcut_values(record, plan),
    }


def _shortcut_values(record: Record, plan: Plan) -> dict[str, int]:
    """What a layer's record says of its shortcut."""
    assert record.layer is not None
    assert record.counted is not None
    config = plan.config
    shortcut, region = record.layer.shape.shortcut, record.shortcut_read
    if shortcut is None or region is None:
        return {}
    channels = record.layer.shortcut_channels
    tap = min(record.layer.shortcut_shift, config.shortcut_tap_max)
    return {
        "shortcut": SHORTCUT_PROJECTION if shortcut.projection else SHORTCUT_IDENTITY,
        "shortcut_part": region.part,
        "shortcut_stride": shortcut.stride - 1,
        "shortcut_tap": tap,
        "shortcut_digit": record.layer.shortcut_shift - tap,
        "shortcut_base": region.base,
        "shortcut_end": region.end,
        "shortcut_slots_stride": region.stride,
        "shortcut_width": region.width,
        "shortcut_groups": group_count(channels, config.input_lanes),
        "last_shortcut_lanes": last_lanes(channels, config.input_lanes),
        "shortcut_gap": record.counted.shortcut_gap if plan.images > 1 else 0,
    }


def _region_values(name: str, region: Region) -> dict[str, int]:
    return {f"{name}_base": region.base, f"{name}_end": region.end, f"{name}_stride": region.stride}


def _visit_values(visit: Visit, plan: Plan, new_layer: bool) -> dict[str, int]:
    record = plan.records[visit.record]
    assert record.kind in {KIND_INPUT, KIND_CONV, KIND_OUTPUT}
    counted = record.counted
    grouped = plan.row_groups and visit.record <= 1
    image_rows = record.rows // plan.images
    done_of_image = visit.first_row % image_rows
    values = _zeros(VISIT_FIELDS + RESIDUAL_VISIT_FIELDS + BATCH_VISIT_FIELDS) | {
        "kind": record.kind,
        "new_layer": int(new_layer),
        "layer": FIRST_RECORD + visit.record,
        "first_row": visit.first_row,
        "rows": visit.rows,
        "ends_frame": int(visit.first_row + visit.rows == record.rows),
        "image_rows_left": image_rows - done_of_image,
        "image_rows": image_rows,
    }
    if record.read is not None:
        row = visit.first_row if counted is None or grouped else counted.centre(visit.first_row) - 1
        values |= {"read_bank": row % BANKS, "read_slot": record.read.slot(row)}
    if record.shortcut_read is not None:
        assert counted is not None
        row = counted.shortcut_row(visit.first_row) - 1
        values |= {"shortcut_bank": row % BANKS, "shortcut_slot": record.shortcut_read.slot(row)}
    if record.write is not None:
        row = visit.first_row if counted is None else counted.written(visit.first_row)
        if grouped and record.kind == KIND_INPUT:
            row -= 1
        values |= {"write_bank": row % BANKS, "write_slot": record.write.slot(row)}
    if plan.blocks and record.kind == KIND_INPUT:
        values["first_row"] = done_of_image
    if counted is not None and not grouped:
        values["first_row"] = done_of_image * counted.layer.shape.stride
    if grouped and record.kind == KIND_CONV:
        assert visit.first_row % ROW_GROUPS == 0
        values["first_row"] = visit.first_row // ROW_GROUPS
        for name in ("rows", "image_rows_left", "image_rows"):
            values[name] = group_count(values[name], ROW_GROUPS)
    return values


def _zeros(layout: tuple[Field, ...]) -> dict[str, int]:
    return dict.fromkeys((field.name for field in layout), 0)
