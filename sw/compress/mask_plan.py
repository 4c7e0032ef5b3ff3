"""Mask bits of every layer, as a user writes them: ``3*7,1*6``."""

import re

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.sw.model.network import NetworkShape


def parse_mask_plan(text: str, shape: NetworkShape) -> tuple[int, ...]:
    """Mask bits for each layer of ``shape`` from a list of ``BITS`` or ``BITS*COUNT``, or one number for all.

    ``3*7,1*6``: three bits for the first seven layers, one for the next six. A list has no entries for layers
    that share another's integers. One number leaves layers of 1x1 kernels at one bit, the only width that
    they have; a list must say so. Raises InputError.
    """
    allowed = f"{MASK_BITS[0]}..{MASK_BITS[-1]} bits, as 3*7,1*6 (bits*layers) or one number for every layer"
    owners = [layer for layer in shape.layers if layer.shares is None]
    count = len(owners)
    bits: list[int] = []
    parts = text.replace(" ", "").split(",")
    for part in parts:
        match = re.fullmatch(r"([0-9]{1,3})(?:\*([0-9]{1,4}))?", part)
        if match is None or int(match[1]) not in MASK_BITS or (match[2] and int(match[2]) == 0):
            raise InputError(f"mask bits {text!r}: {part!r} is not understood; allowed: {allowed}")
        bits += [int(match[1])] * int(match[2] or 1)
    if len(parts) == 1 and "*" not in text:
        bits = [bits[0] if layer.kernel == 3 else 1 for layer in owners]
    if len(bits) != count:
        raise InputError(f"mask bits {text!r} describe {len(bits)} layers, {shape.name} has {count}; "
                         f"allowed: {allowed}")
    for layer, width in zip(owners, bits, strict=True):
        if layer.kernel == 1 and width != 1:
            raise InputError(f"mask bits {text!r}: {width} for {layer.name}, whose kernels are 1x1; "
                             "allowed: 1")
    widths: list[int] = []
    own = iter(bits)
    for layer in shape.layers:
        widths.append(next(own) if layer.shares is None else widths[layer.shares])
    return tuple(widths)
