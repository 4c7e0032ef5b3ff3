"""PyTorch files: state dictionaries, either on their own or inside a checkpoint.

Only tensors and plain containers are read from a file; any other pickled object is refused.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import Entry, StoredArrays, one_line

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Keys under which checkpoints hold their state dictionary, most likely first."""

REMEDY = "allowed: a state dictionary, saved by torch.save(model.state_dict(), FILE)"

_GLOBAL = re.compile(r"Unsupported (?:global|class): (?:GLOBAL )?([\w.]+)")


@contextmanager
def open_pytorch(path: Path) -> Iterator[StoredArrays]:
    """Opens the tensors that torch.save wrote, as a zip archive or in the old format. Raises InputError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load documents no exceptions and raises many kinds
        found = _GLOBAL.search(str(error))
        if found is not None:
            raise InputError(f"{path}: holds a pickled {found[1]}, which could run code and is not loaded; "
                             f"{REMEDY}") from error
        raise InputError(f"{path}: not a readable PyTorch file of weights only ({one_line(error)}); "
                         f"{REMEDY}") from error
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: holds a {type(state).__name__}; {REMEDY}")
    name, tensors = _state_dictionary(state)
    kind = f"PyTorch, {name!r} of a checkpoint" if name else "PyTorch"
    yield StoredArrays(str(path), kind, {str(key): _entry(value) for key, value in tensors.items()})


def _state_dictionary(state: Mapping[object, object]) -> tuple[str, Mapping[object, object]]:
    """The dictionary of tensors and the key under which it was found, "" if it is the file itself."""
    for name in CONTAINERS:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            deeper, tensors = _state_dictionary(inner)
            return f"{name}.{deeper}" if deeper else name, tensors
    return "", state


def _entry(value: object) -> Entry:
    return Entry(tuple(value.shape) if isinstance(value, torch.Tensor) else None, lambda: value)
