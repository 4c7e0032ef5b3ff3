"""The compressed network: all the integers that the chip computes with, and the scales that relate them to
real numbers.

In memory a network is a ``CompressedNetwork``; on disk it is a file, ``network.safetensors``. For each layer
l the file holds the tensors ``l.mask`` (int8), ``l.alpha`` (uint8) and ``l.bias`` (int16). It also holds the
tensor ``pad`` (uint8) and, in its metadata under the key ``kestrel``, a JSON object with everything else.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.table import LAYERS_MAX
from kestrel.hw.spec.widths import (
    ACTIVATION_BITS_MAX,
    ACTIVATION_BITS_MIN,
    BIAS_MAX,
    BIAS_MIN,
    SHIFT_MAX,
    SHIFT_MIN,
    kernel_bits,
)
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import SAFETENSORS_KEY
from kestrel.sw.model.embedded import EMBEDDED, NETWORK_PATH
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.preprocessing import PREPROCESSINGS

FORMAT_VERSION = 1
METADATA_KEY = SAFETENSORS_KEY


@dataclass(frozen=True)
class CompressedLayer:
    """The integers of one layer.

    ``mask`` is int8 [C_out, C_in, 3, 3] and holds the mask values (not their codes) that ``mask_bits`` allow.
    ``alpha`` is uint8 [C_out, C_in]. ``bias`` is int16 [C_out], within a 12-bit range and with BIAS_FRACTION
    fraction bits. ``shift`` lies in SHIFT_MIN..SHIFT_MAX. ``scale`` is the real value of one output unit
    (S_l).
    """

    shape: ConvShape
    mask_bits: int
    mask: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    shift: int
    scale: float
    trained: bool = True

    @property
    def weight_bits(self) -> int:
        """The number of bits in which the masks and scalars are stored."""
        return self.alpha.size * kernel_bits(self.mask_bits)


@dataclass(frozen=True)
class CompressedNetwork:
    """A stack of compressed layers, with the preprocessing and padding that the first of them expects.

    ``preprocessing`` is ``caffe``, ``torchvision`` or ``none``. ``pad`` is uint8 [C_in of the first layer]:
    the value outside the image, in units of the first layer's input.
    """

    name: str
    activation_bits: int
    preprocessing: str
    pad: np.ndarray
    layers: tuple[CompressedLayer, ...]

    @property
    def weight_bits(self) -> int:
        return sum(layer.weight_bits for layer in self.layers)


def same(a: CompressedNetwork, b: CompressedNetwork) -> bool:
    """Whether two networks are equal in everything, including the types of their arrays."""
    if _description(a) != _description(b) or not _equal(a.pad, b.pad):
        return False
    return all(
        _equal(x.mask, y.mask) and _equal(x.alpha, y.alpha) and _equal(x.bias, y.bias)
        for x, y in zip(a.layers, b.layers, strict=True)
    )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


# --------------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------------


def save_network(network: CompressedNetwork, path: str | Path) -> None:
    """Writes ``path``, either completely or not at all; the same network always gives the same bytes.
    Raises InputError if the network is not valid or the file cannot be written."""
    content = _content(network)
    with atomic_write(Path(path)) as temporary:
        # save_file is not used because the files it writes can be read only by their owner.
        temporary.write_bytes(content)


def content_digest(network: CompressedNetwork) -> str:
    """SHA-256 of the file that ``save_network`` writes. Raises InputError for a network that is not valid."""
    return hashlib.sha256(_content(network)).hexdigest()


def _content(network: CompressedNetwork) -> bytes:
    validate(network)
    tensors = {"pad": np.ascontiguousarray(network.pad)}
    for n, layer in enumerate(network.layers):
        tensors[f"{n}.mask"] = np.ascontiguousarray(layer.mask)
        tensors[f"{n}.alpha"] = np.ascontiguousarray(layer.alpha)
        tensors[f"{n}.bias"] = np.ascontiguousarray(layer.bias)
    return save(tensors, metadata={METADATA_KEY: json.dumps(_description(network))})


def load_network(path: str | Path) -> CompressedNetwork:
    """Reads a network file; ``embedded`` names the one that is part of the package. Raises InputError, with
    one line that names the file, for anything that is not exactly a valid network."""
    path = NETWORK_PATH if str(path) == EMBEDDED else Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         f"allowed: a network file written by compress, or {EMBEDDED}")
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            if metadata is None:
                raise InputError(f"{path}: not a compressed network (no {METADATA_KEY!r} metadata); "
                                 "allowed: a network file written by compress")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        reason = (str(error).splitlines() or ["?"])[0][:120]
        raise InputError(f"{path}: not a readable network file ({reason}); "
                         "allowed: a whole file written by compress") from error
    except TypeError as error:  # an element type that NumPy does not have
        raise InputError(f"{path}: not a compressed network ({error}); allowed: integer tensors") from error
    try:
        network = _build(json.loads(metadata), tensors)
        validate(network)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:  # raised by json
        raise InputError(f"{path}: metadata is not JSON ({error}); "
                         "allowed: a network file written by compress") from error
    return network


def _description(network: CompressedNetwork) -> dict[str, Any]:
    """Everything except the arrays, as it is stored in the file's JSON."""
    return {
        "version": FORMAT_VERSION,
        "name": network.name,
        "activation_bits": network.activation_bits,
        "preprocessing": network.preprocessing,
        "layers": [
            {
                "name": layer.shape.name,
                "in_channels": layer.shape.in_channels,
                "out_channels": layer.shape.out_channels,
                "pool": layer.shape.pool,
                "mask_bits": layer.mask_bits,
                "shift": layer.shift,
                "scale": layer.scale,
                "trained": layer.trained,
            }
            for layer in network.layers
        ],
    }


def _build(description: object, tensors: dict[str, np.ndarray]) -> CompressedNetwork:
    """Builds the network from a description and tensors, checking types but not values. Raises InputError."""
    version = _get(description, "version", int)
    if version != FORMAT_VERSION:
        raise InputError(f"format version {version}; allowed: {FORMAT_VERSION}")
    entries = _get(description, "layers", list)
    wanted = {"pad"} | {f"{n}.{part}" for n in range(len(entries)) for part in ("mask", "alpha", "bias")}
    if wanted != tensors.keys():
        odd = min(wanted ^ tensors.keys())
        raise InputError(f"tensor {odd!r} {'missing' if odd in wanted else 'not expected'}; "
                         f"allowed: pad and mask, alpha, bias of {len(entries)} layers")
    layers = [
        CompressedLayer(
            shape=ConvShape(_get(entry, "name", str), _get(entry, "in_channels", int),
                            _get(entry, "out_channels", int), _get(entry, "pool", bool)),
            mask_bits=_get(entry, "mask_bits", int),
            mask=tensors[f"{n}.mask"], alpha=tensors[f"{n}.alpha"], bias=tensors[f"{n}.bias"],
            shift=_get(entry, "shift", int),
            scale=_get(entry, "scale", float),
            trained=_get(entry, "trained", bool),
        )
        for n, entry in enumerate(entries)
    ]
    return CompressedNetwork(_get(description, "name", str), _get(description, "activation_bits", int),
                             _get(description, "preprocessing", str), tensors["pad"], tuple(layers))


def _get(entry: object, key: str, kind: type) -> Any:
    if not isinstance(entry, dict) or type(entry.get(key)) is not kind:
        found = entry.get(key) if isinstance(entry, dict) else entry
        raise InputError(f"metadata {key!r} = {found!r:.60}; allowed: {kind.__name__}")
    return entry[key]


# --------------------------------------------------------------------------------------------------------
# Validation
# --------------------------------------------------------------------------------------------------------

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,79}"
_LAYER_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,39}"


def validate(network: CompressedNetwork) -> None:
    """Raises InputError, naming layer, value and range, unless the format can hold every number and the
    layers fit each other. The accumulators are checked in ``kestrel.sw.model.bounds``."""
    _check("name", network.name, re.fullmatch(_NAME, network.name) is not None,
           "letters, digits and _.:/- (at most 80)")
    _check("activation_bits", network.activation_bits,
           ACTIVATION_BITS_MIN <= network.activation_bits <= ACTIVATION_BITS_MAX,
           f"{ACTIVATION_BITS_MIN}..{ACTIVATION_BITS_MAX}")
    _check("preprocessing", network.preprocessing, network.preprocessing in PREPROCESSINGS,
           ", ".join(PREPROCESSINGS))
    _check("number of layers", len(network.layers), 1 <= len(network.layers) <= LAYERS_MAX,
           f"1..{LAYERS_MAX}")
    names = [layer.shape.name for layer in network.layers]
    _check("layer names", ", ".join(names), len(set(names)) == len(names), "each name once")
    channels = network.layers[0].shape.in_channels
    _check_array("pad", network.pad, "uint8", (channels,), 0, (1 << network.activation_bits) - 1)
    for layer in network.layers:
        if layer.shape.in_channels != channels:
            raise InputError(f"layer {layer.shape.name}: in_channels = {layer.shape.in_channels}; "
                             f"allowed: {channels}, what the layer before gives")
        _validate_layer(layer)
        channels = layer.shape.out_channels


def _validate_layer(layer: CompressedLayer) -> None:
    shape = layer.shape
    _check("layer name", shape.name, re.fullmatch(_LAYER_NAME, shape.name) is not None,
           "letters, digits and _ (at most 40)")
    where = f"layer {shape.name}: "
    for what, count in (("in_channels", shape.in_channels), ("out_channels", shape.out_channels)):
        _check(f"{where}{what}", count, 1 <= count <= 1 << 16, f"1..{1 << 16}")
    _check_mask_bits(layer)
    _check(f"{where}shift", layer.shift, SHIFT_MIN <= layer.shift <= SHIFT_MAX, f"{SHIFT_MIN}..{SHIFT_MAX}")
    _check(f"{where}scale", layer.scale, math.isfinite(layer.scale) and layer.scale > 0, "finite and above 0")
    kernels = (shape.out_channels, shape.in_channels)
    values = mask_values(layer.mask_bits)
    _check_array(f"{where}mask", layer.mask, "int8", (*kernels, 3, 3), values[0], values[-1])
    check_masks(layer)
    _check_array(f"{where}alpha", layer.alpha, "uint8", kernels, 0, 255)
    _check_array(f"{where}bias", layer.bias, "int16", kernels[:1], BIAS_MIN, BIAS_MAX)


def check_masks(layer: CompressedLayer) -> None:
    """Raises InputError, naming the layer, unless its mask width exists and can code every mask value."""
    _check_mask_bits(layer)
    values = mask_values(layer.mask_bits)
    odd = layer.mask[~np.isin(layer.mask, values)]
    if odd.size:
        raise InputError(f"layer {layer.shape.name}: mask contains {odd[0]}; "
                         f"allowed with {layer.mask_bits} bits: {values}")


def _check_mask_bits(layer: CompressedLayer) -> None:
    _check(f"layer {layer.shape.name}: mask_bits", layer.mask_bits, layer.mask_bits in MASK_BITS,
           f"{MASK_BITS[0]}..{MASK_BITS[-1]}")


def _check(what: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise InputError(f"{what} = {value!r:.60}; allowed: {allowed}")


def _check_array(what: str, array: np.ndarray, dtype: str, shape: tuple[int, ...], low: int,
                 high: int) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise InputError(f"{what} is {array.dtype} {list(array.shape)}; allowed: {dtype} {list(shape)}")
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise InputError(f"{what} reaches {array.min()}..{array.max()}; allowed: {low}..{high}")
