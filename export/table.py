"""The schedule table: a plan as the 32-bit words that the sequencer reads."""

import struct

from export.words import Words
from hw.spec import (
    HEADER_FIELDS,
    KIND_CONV,
    KIND_END,
    KIND_OUTPUT,
    LAYER_FIELDS,
    PASSES,
    RECORD_WORDS,
    TABLE_MAGIC,
    TABLE_VERSION,
    TABLE_WORD_BITS,
    VISIT_FIELDS,
    VISIT_WORDS,
    InputError,
    pack_record,
)
from sw.plan import BANKS, Plan, Record, Region, Visit, group_count, last_lanes


def encode_table(plan: Plan) -> Words:
    """The schedule table of a plan: header, a record a layer, the visits, an end mark.

    Raises InputError if it is longer than the configuration's table memory.
    """
    config = plan.config
    visits_base = (1 + len(plan.records)) * RECORD_WORDS
    header = {
        "magic": TABLE_MAGIC,
        "version": TABLE_VERSION,
        "activation_bits": plan.activation_bits,
        "input_lanes": config.input_lanes,
        "output_lanes": config.output_lanes,
        "load_kernels": config.load_kernels,
        "visits_base": visits_base,
    }
    words = pack_record(HEADER_FIELDS, RECORD_WORDS, header)
    for record in plan.records:
        words += pack_record(LAYER_FIELDS, RECORD_WORDS, _record_fields(plan, record))
    previous: Visit | None = None
    for visit in plan.visits:
        words += pack_record(VISIT_FIELDS, VISIT_WORDS, _visit_fields(plan, visit, previous))
        previous = visit
    words += pack_record(VISIT_FIELDS, VISIT_WORDS, dict.fromkeys((f.name for f in VISIT_FIELDS), KIND_END))
    if len(words) > config.table_words:
        raise InputError(
            f"the schedule table needs {len(words)} words; configuration {config.name!r} has "
            f"table_words = {config.table_words}"
        )
    return Words(TABLE_WORD_BITS, struct.pack(f"<{len(words)}I", *words))


def _record_fields(plan: Plan, record: Record) -> dict[str, int]:
    config = plan.config
    fields = dict.fromkeys((f.name for f in LAYER_FIELDS), 0)
    fields |= {"height": record.height, "width": record.width, "out_width": record.out_width}
    fields |= _region_fields("read", record.read) | _region_fields("write", record.write)
    # The output record reads the part that the last layer wrote; a layer writes the part it does not read.
    if record.read is not None:
        fields["read_part"] = record.read.part
    layer = record.layer
    if layer is None:
        fields["in_groups"] = group_count(record.channels, config.word_lanes)
        fields["last_in_lanes"] = last_lanes(record.channels, config.word_lanes)
        return fields
    shape = layer.shape
    return fields | {
        "in_groups": group_count(shape.in_channels, config.input_lanes),
        "out_groups": group_count(shape.out_channels, config.output_lanes),
        "last_in_lanes": last_lanes(shape.in_channels, config.input_lanes),
        "last_out_lanes": last_lanes(shape.out_channels, config.output_lanes),
        "mask_bits": layer.mask_bits,
        "passes": PASSES[layer.mask_bits],
        "shift": layer.shift,
        "pool": int(shape.pool),
        "has_pad": int(layer.has_pad),
        "weight_base": record.weight_base,
    }


def _region_fields(name: str, region: Region | None) -> dict[str, int]:
    if region is None:
        return {}
    return {f"{name}_base": region.base, f"{name}_end": region.end, f"{name}_stride": region.stride}


def _visit_fields(plan: Plan, visit: Visit, previous: Visit | None) -> dict[str, int]:
    record = plan.records[visit.record]
    fields = {
        "kind": record.kind,
        "new_layer": int(previous is None or previous.record != visit.record),
        "layer": visit.record,
        "first_row": visit.first_row,
        "rows": visit.rows,
        "read_bank": 0,
        "read_slot": 0,
        "write_bank": 0,
        "write_slot": 0,
    }
    if record.read is not None:
        row = visit.first_row if record.kind == KIND_OUTPUT else visit.first_row - 1
        fields |= {"read_bank": row % BANKS, "read_slot": record.read.slot(row)}
    if record.write is not None:
        pooled = record.kind == KIND_CONV and record.layer is not None and record.layer.shape.pool
        row = visit.first_row // 2 if pooled else visit.first_row
        fields |= {"write_bank": row % BANKS, "write_slot": record.write.slot(row)}
    return fields
