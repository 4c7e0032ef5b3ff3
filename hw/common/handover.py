"""What the sequencer hands to the other blocks: the layer, the visit and the tile."""

from amaranth.hdl import Mux, Value
from amaranth.lib import data

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.records import Field
from kestrel.hw.spec.table import layer_fields, visit_fields
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
        "shortcut_base",
        "shortcut_end",
        "shortcut_slots_stride",
        "shortcut_slot",
    )
)


def feature_address_bits(config: EngineConfig) -> int:
    """Bits of an address within a bank of the feature memory. The end of a region is such an address too,
    and may lie directly behind the memory's last word."""
    return bits_for(max(config.feature_words))


def _layout(fields: tuple[Field, ...], config: EngineConfig) -> data.StructLayout:
    widths = {}
    for field in fields:
        width = field.width
        if field.name in _ADDRESS_FIELDS:
            width = feature_address_bits(config)
        elif field.name == "weight_base":
            width = bits_for(config.weight_words - 1)
        elif field.name in ("width", "out_width", "shortcut_width"):
            width = bits_for(config.max_width)
        widths[field.name] = width
    return data.StructLayout(widths)


def layer_layout(config: EngineConfig) -> data.StructLayout:
    """A layer record (``layer_fields``), addresses and widths as wide as this configuration needs."""
    return _layout(layer_fields(config), config)


def visit_layout(config: EngineConfig) -> data.StructLayout:
    """A visit record (``visit_fields``), addresses as wide as this configuration needs."""
    return _layout(visit_fields(config), config)


def tile_layout(config: EngineConfig) -> data.StructLayout:
    """A tile of a layer's weights, for one pass: what it is, and where its input group lies."""
    return data.StructLayout(
        {
            "group_offset": feature_address_bits(config),  # words from the slot to the input group
            "slice": bits_for(config.in_slices - 1),  # input group within the word
            "digit": 2,
            "fresh": 1,
            "emit": 1,
            "last_in": 1,
            "last_out": 1,
            **(_shortcut_tile(config) if config.residual else {}),
        }
    )


def _shortcut_tile(config: EngineConfig) -> dict[str, int]:
    return {
        "shortcut": 1,  # the pass reads the shortcut's map
        "last_map_group": 1,  # of a shortcut: its input group is the map's last one
        # Of a diagonal tile: the lanes of its first kernel.
        "first_in": bits_for(config.input_lanes - 1),
        "first_out": bits_for(config.output_lanes - 1),
    }


def advanced(slot: Value, layer: data.View, region: str) -> Value:
    """The address of the slot after ``slot`` in a layer's circular region, ``read`` or ``write``."""
    following = slot + layer[f"{region}_stride"]
    return Mux(following == layer[f"{region}_end"], layer[f"{region}_base"], following)
