"""Bits of the masks and of the scalars of every layer, as a user writes them: ``3*7,1*6``."""

import re
from collections.abc import Sequence

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import SCALAR_WIDTHS
from kestrel.sw.model.network import NetworkShape


def parse_mask_plan(text: str, shape: NetworkShape) -> tuple[int, ...]:
    """Mask bits for each layer of ``shape`` from a list of ``BITS`` or ``BITS*COUNT``, or one number for all.

    ``3*7,1*6``: three bits for the first seven layers, one for the next six. A list has no entries for layers
    that share another's integers. One number leaves layers of 1x1 kernels at one bit, the only width that
    they have; a list must say so. Raises InputError.
    """
    allowed = f"{MASK_BITS[0]}..{MASK_BITS[-1]} bits, as 3*7,1*6 (bits*layers) or one number for every layer"
    owners = [layer for layer in shape.layers if layer.shares is None]
    bits = _listed("mask bits", text, len(owners), shape.name, MASK_BITS, allowed)
    if text.strip().isdecimal():
        bits = [width if layer.kernel == 3 else 1 for layer, width in zip(owners, bits, strict=True)]
    for layer, width in zip(owners, bits, strict=True):
        if layer.kernel == 1 and width != 1:
            raise InputError(f"mask bits {text!r}: {width} for {layer.name}, whose kernels are 1x1; "
                             "allowed: 1")
    return _for_every_layer(bits, shape)


def parse_scalar_plan(text: str, shape: NetworkShape) -> tuple[int, ...]:
    """Scalar bits for each layer of ``shape`` from a list of ``BITS`` or ``BITS*COUNT``, or one number for
    all.

    ``8*3,4*rest``: eight bits for the first three layers, four for the others. A list has no entries for
    layers that share another's integers. Raises InputError.
    """
    widths = ", ".join(map(str, SCALAR_WIDTHS))
    allowed = f"{widths} bits, as 8*3,4*rest (bits*layers) or one number for every layer"
    count = sum(layer.shares is None for layer in shape.layers)
    return _for_every_layer(_listed("scalar bits", text, count, shape.name, SCALAR_WIDTHS, allowed), shape)


def _listed(what: str, text: str, count: int, name: str, widths: Sequence[int], allowed: str) -> list[int]:
    """The numbers of a list, ``count`` of them. ``rest``, at its end, counts the layers that are left."""
    bits: list[int] = []
    parts = text.replace(" ", "").split(",")
    for number, part in enumerate(parts):
        match = re.fullmatch(r"([0-9]{1,3})(?:\*([0-9]{1,4}|rest))?", part)
        last = number == len(parts) - 1
        if (match is None or int(match[1]) not in widths or (match[2] == "rest" and not last)
                or (match[2] and match[2] != "rest" and int(match[2]) == 0)):
            raise InputError(f"{what} {text!r}: {part!r} is not understood; allowed: {allowed}")
        for_all = len(parts) == 1 and match[2] is None
        times = max(0, count - len(bits)) if for_all or match[2] == "rest" else int(match[2] or 1)
        bits += [int(match[1])] * times
    if len(bits) != count:
        raise InputError(f"{what} {text!r} describe {len(bits)} layers, {name} has {count}; "
                         f"allowed: {allowed}")
    return bits


def _for_every_layer(bits: Sequence[int], shape: NetworkShape) -> tuple[int, ...]:
    """The numbers of layers with integers of their own, and for each other layer that of the one it
    shares."""
    widths: list[int] = []
    own = iter(bits)
    for layer in shape.layers:
        widths.append(next(own) if layer.shares is None else widths[layer.shares])
    return tuple(widths)
