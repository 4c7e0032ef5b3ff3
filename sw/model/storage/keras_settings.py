"""The layer settings that a Keras file may store besides arrays: they must match the chip's computation."""

from collections.abc import Mapping

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import StoredArrays
from kestrel.sw.model.network import NetworkShape

_CONV_SETTINGS: dict[str, object] = {
    "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "dilation_rate": [1, 1], "groups": 1,
    "activation": "relu",
}  # fmt: skip
_POOL_SETTINGS: dict[str, object] = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
"""The values that the settings of Keras' two kinds of layer must have, if a file stores them."""


def check_settings(stored: StoredArrays, shape: NetworkShape) -> None:
    """Raises InputError unless the settings in the file, if it has any, are those of ``shape``: convolutions
    and poolings in the same order and nothing else between them."""
    pools: list[bool] = []
    for name, settings in (stored.settings or {}).items():
        kind = settings.get("class_name")
        done = len(pools) == len(shape.layers)
        if kind == "InputLayer":
            continue
        if kind == "Conv2D" and not done:
            _compare(stored, name, settings, _CONV_SETTINGS)
            pools.append(False)
        elif kind == "MaxPooling2D" and pools and not pools[-1]:
            if not done or shape.layers[-1].pool:
                _compare(stored, name, settings, _POOL_SETTINGS)
                pools[-1] = True
        elif done:
            break
        else:
            raise InputError(f"{stored.source}: layer {name} is a {kind}; allowed up to "
                             f"{shape.layers[-1].name}: Conv2D and MaxPooling2D")
    for layer, pool in zip(shape.layers, pools, strict=False):
        if pool != layer.pool:
            raise InputError(f"{stored.source}: {'a' if pool else 'no'} pooling behind {layer.name}; "
                             f"allowed: the layers of {shape.name}")


def _compare(stored: StoredArrays, name: str, settings: Mapping[str, object],
             allowed: Mapping[str, object]) -> None:
    for what, wanted in allowed.items():
        value = settings.get(what)
        value = list(value) if isinstance(value, tuple) else value
        if value is not None and value != wanted:
            raise InputError(f"{stored.source}: layer {name} has {what} {value}; allowed: {wanted}")
