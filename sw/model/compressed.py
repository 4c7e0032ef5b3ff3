"""The compressed network: all the integers that the chip computes with, and the scales that relate them to
real numbers.

In memory a network is a ``CompressedNetwork``; on disk it is a file, ``network.safetensors``. For each layer
l the file holds the tensors ``l.mask`` (int8), ``l.alpha`` (uint8) and ``l.bias`` (int16), for a layer with a
shortcut also ``l.shortcut_alpha`` (uint8) and, if that is a projection, ``l.shortcut_sign`` (int8); a layer
that shares the integers of another has none. It also holds the tensor ``pad`` (uint8) and, in its metadata
under the key ``kestrel``, a JSON object with everything else.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import (
    SCALAR_BITS,
    centre_kernel_bits,
    kernel_bits,
    scalar_table_bits,
    table_entries,
)
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import SAFETENSORS_KEY
from kestrel.sw.model.embedded import NETWORK_PATHS, network_path, unpacked
from kestrel.sw.model.network import IMAGE, ConvShape, Shortcut, source_of
from kestrel.sw.model.shapes import first_size, map_sizes
from kestrel.sw.model.validation import check, equal_arrays, validate

FORMAT_VERSION = 1
"""Of a stack of plain layers (``ConvShape.is_plain``)."""
GRAPH_VERSION = 2
"""Of every other network whose scalars have 8 bits each."""
TABLES_VERSION = 3
"""Of networks, plain or not, in which some layer's scalars have fewer bits. They are described as in
GRAPH_VERSION."""
METADATA_KEY = SAFETENSORS_KEY


@dataclass(frozen=True)
class CompressedLayer:
    """The integers of one layer.

    mask: int8 [C_out, C_in, 3, 3], the values (not codes) that ``mask_bits`` allow; with a 1x1 kernel
    [C_out, C_in, 1, 1], +-1, and one mask bit;
    alpha: uint8 [C_out, C_in]; bias: int16 [C_out], 12-bit range, BIAS_FRACTION fraction bits;
    shift: SHIFT_MIN..SHIFT_MAX; scale: real value of one output unit (S_l).
    Of a shortcut: shortcut_alpha, uint8 [C_out, C_shortcut] of a projection, [C_out] of an identity;
    shortcut_sign, int8 [C_out, C_shortcut], +-1, of a projection only; shortcut_shift, 0 to
    SHORTCUT_SHIFT_MAX, by which its products are shifted left.
    scalar_bits: one of SCALAR_WIDTHS; with fewer than 8, alpha has at most 2**scalar_bits different values,
    and so has shortcut_alpha: those of the layer's tables (``scalar_table``).
    """

    shape: ConvShape
    mask_bits: int
    mask: np.ndarray
    alpha: np.ndarray
    bias: np.ndarray
    shift: int
    scale: float
    trained: bool = True
    shortcut_alpha: np.ndarray | None = None
    shortcut_sign: np.ndarray | None = None
    shortcut_shift: int = 0
    scalar_bits: int = SCALAR_BITS

    @property
    def weight_bits(self) -> int:
        """Stored bits of masks and scalars, tables included; 0 for a layer that shares another one's."""
        if self.shape.shares is not None:
            return 0
        q = self.scalar_bits
        kernel = centre_kernel_bits(q) if self.shape.kernel == 1 else kernel_bits(self.mask_bits, q)
        bits = self.alpha.size * kernel + scalar_table_bits(q)
        if self.shortcut_alpha is not None:
            bits += self.shortcut_alpha.size * centre_kernel_bits(q) + scalar_table_bits(q)
        return bits

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by the part that names them in the file."""
        arrays = {"mask": self.mask, "alpha": self.alpha, "bias": self.bias}
        if self.shortcut_alpha is not None:
            arrays["shortcut_alpha"] = self.shortcut_alpha
        if self.shortcut_sign is not None:
            arrays["shortcut_sign"] = self.shortcut_sign
        return arrays


@dataclass(frozen=True)
class CompressedNetwork:
    """Compressed layers in the order in which they run, and what the first of them expects.

    preprocessing: ``caffe``, ``torchvision`` or ``none``; pad: uint8 [C_in of the first layer], the value
    (in units of the first layer's input) that stands outside the image; blocks: the first layer reads the
    image in 2x2 blocks (``NetworkShape.blocks``).
    """

    name: str
    activation_bits: int
    preprocessing: str
    pad: np.ndarray
    layers: tuple[CompressedLayer, ...]
    blocks: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is a stack of plain layers."""
        return not self.blocks and all(layer.shape.is_plain for layer in self.layers)

    @property
    def has_tables(self) -> bool:
        """Whether some layer's scalars come from a table: it needs an engine with ``scalar_tables``."""
        return any(layer.scalar_bits != SCALAR_BITS for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        return sum(layer.weight_bits for layer in self.layers)

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of every layer's output for an image of ``height`` x ``width`` pixels."""
        first = first_size(height, width, blocks=self.blocks)
        return map_sizes([layer.shape for layer in self.layers], *first)


def scalar_table(scalars: np.ndarray, scalar_bits: int) -> np.ndarray:
    """The table of scalars with fewer than 8 bits, uint8 [2**scalar_bits]: the values that occur, ascending,
    and zeros behind them. The network file does not hold it, because the scalars say it all."""
    values = np.unique(scalars)
    return np.pad(values, (0, table_entries(scalar_bits) - len(values)))


def same(a: CompressedNetwork, b: CompressedNetwork) -> bool:
    """Whether two networks are equal in everything, including the types of their arrays."""
    if describe_network(a) != describe_network(b) or not equal_arrays({"pad": a.pad}, {"pad": b.pad}):
        return False
    return all(equal_arrays(x.arrays(), y.arrays()) for x, y in zip(a.layers, b.layers, strict=True))


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
        if layer.shape.shares is None:
            tensors |= {f"{n}.{part}": np.ascontiguousarray(array) for part, array in layer.arrays().items()}
    return save(tensors, metadata={METADATA_KEY: json.dumps(describe_network(network))})


def load_network(path: str | Path) -> CompressedNetwork:
    """Reads a network file, or one of the package's own by its name: ``embedded``, ``resnet18-retrieval``,
    ``vgg16-retrieval``, ``compact-retrieval``. Raises InputError, with one line that names the file, for
    anything that is not exactly a valid network."""
    path = network_path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         f"allowed: a network file written by compress, {', '.join(NETWORK_PATHS)}")
    try:
        with unpacked(path) as content, safe_open(str(content), framework="np") as file:
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
        network = build_network(json.loads(metadata), tensors)
        validate(network)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:  # raised by json
        raise InputError(f"{path}: metadata is not JSON ({error}); "
                         "allowed: a network file written by compress") from error
    return network


def describe_network(network: CompressedNetwork) -> dict[str, Any]:
    """Everything of a network except its arrays, as it is stored in the file's JSON."""
    tables = network.has_tables
    plain = network.is_plain and not tables
    shapes = [layer.shape for layer in network.layers]
    return {
        "version": TABLES_VERSION if tables else FORMAT_VERSION if plain else GRAPH_VERSION,
        "name": network.name,
        "activation_bits": network.activation_bits,
        "preprocessing": network.preprocessing,
        **({} if plain else {"blocks": network.blocks}),
        "layers": [
            {
                "name": layer.shape.name,
                "in_channels": layer.shape.in_channels,
                "out_channels": layer.shape.out_channels,
                "pool": layer.shape.pool,
                **({} if plain else _graph_entry(layer, source_of(shapes, number))),
                "mask_bits": layer.mask_bits,
                **({"scalar_bits": layer.scalar_bits} if tables else {}),
                "shift": layer.shift,
                "scale": layer.scale,
                "trained": layer.trained,
            }
            for number, layer in enumerate(network.layers)
        ],
    }


def _graph_entry(layer: CompressedLayer, source: int) -> dict[str, Any]:
    """What GRAPH_VERSION says of a layer besides."""
    shortcut = layer.shape.shortcut
    return {
        "pool_size": layer.shape.pool_size, "stride": layer.shape.stride, "kernel": layer.shape.kernel,
        "source": source, "shares": layer.shape.shares,
        "shortcut": shortcut and {"source": shortcut.source, "projection": shortcut.projection,
                                  "stride": shortcut.stride, "shift": layer.shortcut_shift},
    }  # fmt: skip


def build_network(description: object, tensors: dict[str, np.ndarray]) -> CompressedNetwork:
    """The network of a description (``describe_network``) and its tensors by name, as a file has them. Types
    are checked, values are not (``validate``). Raises InputError."""
    version = _get(description, "version", int)
    versions = (FORMAT_VERSION, GRAPH_VERSION, TABLES_VERSION)
    if version not in versions:
        raise InputError(f"format version {version}; allowed: {', '.join(map(str, versions))}")
    graph, tables = version != FORMAT_VERSION, version == TABLES_VERSION
    entries = _get(description, "layers", list)
    shapes = [_shape(entry, number, graph=graph) for number, entry in enumerate(entries)]
    owners = [_owner(shapes, number) for number in range(len(shapes))]
    wanted = {"pad"} | {f"{n}.{part}" for n in set(owners) for part in _parts(shapes[n])}
    if wanted != tensors.keys():
        odd = min(wanted ^ tensors.keys())
        parts = "pad and mask, alpha, bias" + ", and those of the shortcut," * graph
        raise InputError(f"tensor {odd!r} {'missing' if odd in wanted else 'not expected'}; "
                         f"allowed: {parts} of {len(set(owners))} layers")
    layers: list[CompressedLayer] = []
    for entry, shape, owner in zip(entries, shapes, owners, strict=True):
        arrays = {part: tensors[f"{owner}.{part}"] for part in _parts(shapes[owner])}
        layers.append(CompressedLayer(
            shape=shape,
            mask_bits=_get(entry, "mask_bits", int),
            shift=_get(entry, "shift", int),
            scale=_get(entry, "scale", float),
            trained=_get(entry, "trained", bool),
            shortcut_shift=_get(entry["shortcut"], "shift", int) if shape.shortcut else 0,
            scalar_bits=_get(entry, "scalar_bits", int) if tables else SCALAR_BITS,
            **arrays,
        ))
    return CompressedNetwork(_get(description, "name", str), _get(description, "activation_bits", int),
                             _get(description, "preprocessing", str), tensors["pad"], tuple(layers),
                             graph and _get(description, "blocks", bool))


def _owner(shapes: Sequence[ConvShape], number: int) -> int:
    """The layer whose arrays a layer has: itself, or the one that it shares with. Raises InputError if that
    is none before it."""
    shares = shapes[number].shares
    if shares is None:
        return number
    check(f"layer {shapes[number].name}: shares", shares, 0 <= shares < number and
           shapes[shares].shares is None, "the number of an earlier layer that has integers of its own")
    return shares


def _parts(shape: ConvShape) -> tuple[str, ...]:
    """The arrays that the file holds of a layer."""
    parts = ("mask", "alpha", "bias")
    if shape.shortcut is not None:
        parts += ("shortcut_alpha", "shortcut_sign")[: 1 + shape.shortcut.projection]
    return parts


def _shape(entry: object, number: int, *, graph: bool) -> ConvShape:
    plain = ConvShape(_get(entry, "name", str), _get(entry, "in_channels", int),
                      _get(entry, "out_channels", int), _get(entry, "pool", bool))
    if not graph:
        return plain
    shortcut = None
    if (part := _get(entry, "shortcut", dict, None)) is not None:
        shortcut = Shortcut(_get(part, "source", int), _get(part, "projection", bool),
                            _get(part, "stride", int))
    source = _get(entry, "source", int)
    return replace(
        plain, pool_size=_get(entry, "pool_size", int), stride=_get(entry, "stride", int),
        kernel=_get(entry, "kernel", int), source=None if source == max(number - 1, IMAGE) else source,
        shortcut=shortcut, shares=_get(entry, "shares", int, None),
    )  # fmt: skip


def _get(entry: object, key: str, *kinds: type | None) -> Any:
    """The value under ``key``, which must be there and of one of ``kinds``, None among them for null."""
    allowed = [type(None) if kind is None else kind for kind in kinds]
    if not isinstance(entry, dict) or key not in entry or type(entry[key]) not in allowed:
        found = entry.get(key) if isinstance(entry, dict) else entry
        names = " or ".join("null" if kind is None else kind.__name__ for kind in kinds)
        raise InputError(f"metadata {key!r} = {found!r:.60}; allowed: {names}")
    return entry[key]
