"""What the sequencer hands to the other blocks: the layer, the visit and the tile."""

from amaranth.hdl import Mux, Value
from amaranth.lib import data

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import Field
from kestrel.hw.spec.table import VISIT_FIELDS, layer_fields
from kestrel.hw.spec.widths import bits_for

_ADDRESS_FIELDS = frozenset(
    (
        "read_base",
        "read_end",
        "read_stride",
        "write_base",
        "write_end",
        "write_stride",
        "read_slot",
        "write_slot",
    )
)


def feature_address_bits(config: EngineConfig) -> int:
    """Bits of an address within a bank; a region may end at the memory's very end."""
    return bits_for(max(config.feature_words))


def _layout(fields: tuple[Field, ...], config: EngineConfig) -> data.StructLayout:
    widths = {}
    for field in fields:
        width = field.width
        if field.name in _ADDRESS_FIELDS:
            width = feature_address_bits(config)
        elif field.name == "weight_base":
            width = bits_for(config.weight_words - 1)
        elif field.name in ("width", "out_width"):
            width = bits_for(config.max_width)
        widths[field.name] = width
    return data.StructLayout(widths)


def layer_layout(config: EngineConfig) -> data.StructLayout:
    """A layer record, its addresses as wide as this configuration's memories need."""
    return _layout(layer_fields(config), config)


def visit_layout(config: EngineConfig) -> data.StructLayout:
    """A visit record, likewise."""
    return _layout(VISIT_FIELDS, config)


def tile_layout(config: EngineConfig) -> data.StructLayout:
    """One pass: which tile of the layer's weights, and where its input group lies."""
    return data.StructLayout(
        {
            "group_offset": feature_address_bits(config),  # words from the slot to the input group
            "slice": bits_for(config.in_slices - 1),  # input group within the word
            "digit": 2,
            "fresh": 1,
            "emit": 1,
            "last_in": 1,
            "last_out": 1,
        }
    )


def advanced(slot: Value, layer: data.View, region: str) -> Value:
    """Address of the slot after ``slot`` in the circular region ``read`` or ``write``."""
    following = slot + layer[f"{region}_stride"]
    return Mux(following == layer[f"{region}_end"], layer[f"{region}_base"], following)
