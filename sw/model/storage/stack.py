"""The weights of VGG networks from files of named arrays."""

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.batch_norm import DEFAULT_EPSILON, BatchNorm, fold_batch_norm
from kestrel.sw.model.files.entries import StoredArrays, as_float32, read_array
from kestrel.sw.model.network import ConvShape, NetworkShape
from kestrel.sw.model.storage.key_names import ConvKeys, Matched, match_keys
from kestrel.sw.model.storage.missing import Filler, missing_layers, unused_remark
from kestrel.sw.model.weights import FloatNetwork, WeightsOrigin


def read_stack_weights(
    stored: StoredArrays, shape: NetworkShape, pixel_step: float, fill_seed: int | None
) -> FloatNetwork:
    """The weights of ``shape``, a VGG stack; parameters and errors as those of ``load_weights``."""
    matched = match_keys(stored, shape)
    present = [keys is not None for keys in matched.layers.values()]
    missing = missing_layers(stored.source, shape, present, fill=fill_seed is not None)
    without_bias = _without_bias(stored.source, matched)
    filler = Filler(shape, fill_seed, pixel_step)
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    folded: list[str] = []
    for position, (layer, keys) in enumerate(zip(shape.layers, matched.layers.values(), strict=True)):
        if keys is None:
            weight, bias = filler.layer(position)
        else:
            weight, bias = _read_layer(stored, layer, keys)
            folded += [layer.name] * (keys.norm is not None)
        weights.append(weight)
        biases.append(bias)
    used = matched.used(stored)
    unused = tuple(key for key in stored.entries if key not in used)
    remarks = [
        *([f"keys begin with {matched.prefix!r}"] if matched.prefix not in {"", "features."} else []),
        *([f"batch norm folded into {len(folded)} layers, with epsilon {DEFAULT_EPSILON:g}"]
          if folded else []),
        *([f"no biases for {', '.join(without_bias)}: taken as 0"] if without_bias else []),
        *matched.notes,
        *unused_remark("keys", unused),
    ]  # fmt: skip
    origin = WeightsOrigin(stored.kind, matched.prefix, tuple(folded), unused, tuple(remarks))
    return FloatNetwork(shape, tuple(weights), tuple(biases), missing, origin)


def _read_layer(stored: StoredArrays, layer: ConvShape, keys: ConvKeys) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer, both float32, with any batch norm folded in."""
    channels = (layer.out_channels,)
    dimensions = (layer.out_channels, layer.in_channels, 3, 3)
    if stored.channels_last:
        dimensions = (3, 3, layer.in_channels, layer.out_channels)
    weight = read_array(stored, keys.weight, layer.name, dimensions)
    if stored.channels_last:
        weight = weight.transpose(3, 2, 0, 1)
    bias = np.zeros(channels)
    if keys.bias is not None:
        bias = read_array(stored, keys.bias, layer.name, channels)
    if keys.norm is not None:
        def part(name: str, otherwise: float | None = None) -> np.ndarray:
            key = f"{keys.norm}{name}"
            if key not in stored.entries and otherwise is not None:
                return np.full(channels, otherwise)
            if key not in stored.entries:
                raise InputError(f"{stored.source}: batch norm of {layer.name} has no {key}; "
                                 "allowed: mean and variance both")
            return read_array(stored, key, layer.name, channels)

        norm = BatchNorm(part("weight", 1.0), part("bias", 0.0), part("running_mean"), part("running_var"))
        weight, bias = fold_batch_norm(weight, bias, norm, f"{stored.source}: {keys.norm}running_var")
    where = f"{stored.source}: {keys.weight} ({layer.name}), batch norm folded in,"
    return as_float32(weight, where), as_float32(bias, where)


def _without_bias(source: str, matched: Matched) -> list[str]:
    """The names of the layers that have neither bias nor batch norm. Raises InputError if other layers do
    have a bias, because these must then have lost theirs."""
    plain = {name: keys for name, keys in matched.layers.items() if keys is not None and keys.norm is None}
    without = [name for name, keys in plain.items() if keys.bias is None]
    if without and len(without) < len(plain):
        key = plain[without[0]].weight.replace("weight", "bias").replace("kernel", "bias")
        raise InputError(f"{source}: layer {without[0]} is not whole (no key {key}); "
                         "allowed: a bias for every layer, or for none")
    return without
