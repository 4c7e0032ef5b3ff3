"""What ONNX nodes say about their windows: padding and pooling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kestrel.sw.model.files.onnx_layers import Stopped


def conv_pads(attributes: Mapping[str, Any], label: str, kernel: int, stride: int) -> list[int]:
    """The zeros around the map that a Conv reads, top, left, bottom, right. Raises Stopped."""
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic in {b"SAME_UPPER", b"SAME_LOWER"}:
        if stride != 1 and kernel != 1:  # for images of even size they pad on one side more than on the other
            raise Stopped(f"{label} has auto_pad {automatic.decode()} with a stride")
        return [kernel // 2] * 4
    if automatic not in {b"NOTSET", b"VALID"}:
        raise Stopped(f"{label} has auto_pad {automatic.decode()}")
    pads = [0] * 4 if automatic == b"VALID" else list(attributes.get("pads", [0] * 4))
    if len(pads) != 4:
        raise Stopped(f"{label} is not two-dimensional")
    return pads


def pool_size(attributes: Mapping[str, Any], label: str, before: Sequence[int]) -> int:
    """2 or 3, of a MaxPool. ``before``: the zeros that have been padded already, which change no maximum of a
    map that is nowhere negative. Raises Stopped."""
    if attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise Stopped(f"{label} has auto_pad {attributes['auto_pad'].decode()}")
    kernel = attributes.get("kernel_shape")
    size = 3 if kernel == [3, 3] else 2
    found = dict(attributes) | {"pads": np.add(before, attributes.get("pads", [0] * 4)).tolist()}
    for what, default, allowed in (
        ("kernel_shape", None, [size] * 2), ("strides", [1, 1], [2, 2]), ("pads", [0] * 4, [size // 3] * 4),
        ("dilations", [1, 1], [1, 1]), ("ceil_mode", 0, 0), ("storage_order", 0, 0),
    ):  # fmt: skip
        value = found.get(what, default)
        if value != allowed:
            more = "; 3, 3" if what == "kernel_shape" else ""
            raise Stopped(f"{label} has {what} {shown(value)} (allowed: {shown(allowed)}{more})")
    return size


def shown(value: object) -> str:
    """A number or a list of them, as messages have them."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
