"""The arrays of a file by their keys, read one at a time, and the checks that every array must pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS

READ_ERRORS = (*ARCHIVE_ERRORS, SafetensorError)
"""Exceptions that reading an array from a damaged or unexpected file can raise."""


@dataclass(frozen=True)
class Entry:
    """What a file stores under one key. ``shape`` is the shape of the array, or None if it is not an array;
    ``read`` returns the tensor, the array or whatever else is stored."""

    shape: tuple[int, ...] | None
    read: Callable[[], object]


@dataclass(frozen=True)
class StoredArrays:
    """The contents of a file.

    ``source`` is the file's name, for messages; ``kind`` is the kind of file, for the report. ``entries``
    holds the entries by key, in the file's order. ``channels_last`` says that kernels are stored as
    [height, width, C_in, C_out], as Keras does. ``settings`` is what the file says about its layers besides
    their arrays, by layer name, or None if it says nothing.
    """

    source: str
    kind: str
    entries: Mapping[str, Entry]
    channels_last: bool = False
    settings: Mapping[str, Mapping[str, object]] | None = None


def state_arrays(state: Mapping[str, object]) -> StoredArrays:
    """The arrays and tensors of a state dictionary in memory. Keys that are no text are left out."""
    entries: dict[str, Entry] = {}
    for key, value in state.items():
        shape = tuple(value.shape) if isinstance(value, np.ndarray | torch.Tensor) else None
        if isinstance(key, str):
            entries[key] = Entry(shape, lambda value=value: value)
    return StoredArrays("state dictionary", "state dictionary", entries)


def read_array(stored: StoredArrays, key: str, layer: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array under ``key`` as float64, checked to be finite as float32. Raises InputError for anything but
    an array of floating-point numbers of ``shape``; ``layer`` names the layer that needs the array."""
    where = f"{stored.source}: {key} ({layer})"
    try:
        value = stored.entries[key].read()
    except READ_ERRORS as error:
        raise InputError(f"{stored.source}: {key} cannot be read ({one_line(error)}); "
                         "allowed: an array of floating-point numbers") from error
    if isinstance(value, torch.Tensor):
        dtype, floating = str(value.dtype).removeprefix("torch."), value.is_floating_point()
        array = value.detach().cpu().double().numpy() if floating else np.empty(tuple(value.shape))
    elif isinstance(value, np.ndarray):
        dtype, floating, array = str(value.dtype), value.dtype.kind == "f", value
    else:
        raise InputError(f"{where} is a {type(value).__name__}; allowed: a tensor")
    if not floating:
        raise InputError(f"{where} has type {dtype}; allowed: floating-point numbers")
    if array.shape != shape:
        raise InputError(f"{where} has shape {times(array.shape)}; allowed: {times(shape)}")
    as_float32(array, where)
    return array.astype(np.float64)


def as_float32(array: np.ndarray, where: str) -> np.ndarray:
    """``array`` as contiguous float32. Raises InputError if the result is not finite."""
    with np.errstate(over="ignore"):  # a value that overflows float32 becomes infinite and is refused below
        result = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(result).all():
        bad = result[~np.isfinite(result)][0]
        raise InputError(f"{where} contains {bad}; allowed: finite float32 numbers")
    return result


def one_line(error: BaseException) -> str:
    """The first line of another library's error message, without control characters, at most 120 long."""
    lines = str(error).strip().splitlines()
    text = "".join(c for c in (lines[0] if lines else type(error).__name__) if c.isprintable())
    return text[:120].strip()


def times(shape: tuple[int, ...]) -> str:
    """The shape as text, such as ``64 x 3 x 3 x 3``."""
    return " x ".join(map(str, shape)) or "()"
