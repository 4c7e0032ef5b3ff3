"""Amaranth's layouts as plain Python values: integers, lists for arrays, dicts for structures."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data


def encode(shape: Any, value: Any) -> int:
    """The bits of ``value``: an integer for a plain shape, a sequence for an array, and a mapping (or a
    named tuple, in which None stands for a field that the structure does not have) with every field for a
    structure. Raises ValueError when an integer or a sequence's length does not fit.
    """
    if isinstance(shape, data.ArrayLayout):
        if len(value) != shape.length:
            raise ValueError(f"{len(value)} elements for an array of {shape.length}")
        items: Mapping[Any, Any] = dict(enumerate(value))
    elif isinstance(shape, data.Layout):
        named = value if isinstance(value, Mapping) else value._asdict()
        items = {key: item for key, item in named.items() if item is not None}
        if extra := set(items) - {key for key, _ in shape}:
            raise ValueError(f"fields {sorted(extra)} are not in the structure")
    else:
        plain = Shape.cast(shape)
        low = -(1 << (plain.width - 1)) if plain.signed else 0
        if not low <= value < low + (1 << plain.width):
            raise ValueError(f"{value} does not fit {plain}")
        return value & ((1 << plain.width) - 1)
    return sum(encode(field.shape, items[key]) << field.offset for key, field in shape)


def decode(shape: Any, word: int) -> Any:
    """The inverse of ``encode``; a structure becomes a dict."""
    if isinstance(shape, data.ArrayLayout):
        return [decode(field.shape, word >> field.offset) for _, field in shape]
    if isinstance(shape, data.Layout):
        return {key: decode(field.shape, word >> field.offset) for key, field in shape}
    plain = Shape.cast(shape)
    value = word & ((1 << plain.width) - 1)
    return value - (1 << plain.width) if plain.signed and value >> (plain.width - 1) else value
