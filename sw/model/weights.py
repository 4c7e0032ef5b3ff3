"""The float weights of a network, from files or from a seeded random generator."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import KIND_KEY, WEIGHTS
from kestrel.sw.model.blocks import STEM_SIZE, blocks_kernel
from kestrel.sw.model.files.batch_norm import DEFAULT_EPSILON, BatchNorm, fold_batch_norm
from kestrel.sw.model.files.entries import StoredArrays, as_float32, read_array, times
from kestrel.sw.model.files.onnx_graph import GraphStack, read_stack
from kestrel.sw.model.files.openers import ALLOWED, is_onnx, open_arrays
from kestrel.sw.model.graph import check_plain
from kestrel.sw.model.key_names import ConvKeys, Matched, match_keys
from kestrel.sw.model.network import (
    IMAGE_CHANNELS,
    ConvShape,
    NetworkShape,
    families_of_pools,
    parse_network,
)
from kestrel.sw.model.residual_networks import COUNTED_RESNET
from kestrel.sw.model.residual_weights import count_resnet, read_residual, unused_keys

RANDOM_PREFIX = "random:"
SEED_MAX = (1 << 32) - 1

RANDOM_BIAS = 1.0
"""The standard deviation of a random network's biases, in pixel steps: small compared with its activations
(tens to hundreds of steps), but large enough that every bias is visible in the integers."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights came from.

    ``kind`` is the kind of file, or "random" without a file. ``prefix`` stood before the known names of its
    keys. ``batch_norm`` names the layers into which a batch norm was folded. ``unused`` are the keys or nodes
    of the file that were not needed. ``remarks`` are what a user should know, one line each.
    """

    kind: str = ""
    prefix: str = ""
    batch_norm: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FloatNetwork:
    """Weights, float32 [C_out, C_in, k, k] with k = 3 or 1, and biases, float32 [C_out], one of each for
    every layer.

    ``untrained`` names the layers whose weights are random numbers and were not learned. ``shortcuts`` has
    for every layer None, the weights of its projection, float32 [C_out, C_shortcut], or the factors of its
    identity, float32 [C_out]; it is empty if no layer has a shortcut.
    """

    shape: NetworkShape
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    untrained: frozenset[str] = frozenset()
    origin: WeightsOrigin = field(default=WeightsOrigin(), compare=False)
    shortcuts: tuple[np.ndarray | None, ...] = ()

    def shortcut(self, number: int) -> np.ndarray | None:
        """The layer's entry in ``shortcuts``."""
        return self.shortcuts[number] if self.shortcuts else None


def load_weights(
    source: str, shape: NetworkShape, pixel_step: float = 1.0, fill_seed: int | None = None
) -> FloatNetwork:
    """Loads the weights of ``shape`` from the file ``source``, or draws them for ``random:SEED``.

    Files may be safetensors (one file, or an index of shards), PyTorch state dictionaries, npz, Keras HDF5 or
    ONNX; the content decides which, not the name. ``kestrel.sw.model.key_names`` describes the keys. Batch
    norm is folded into weights and biases in float64. Anything else that a file holds is named in ``origin``.

    ``pixel_step`` is the real input of one pixel step, to which random biases are scaled. With ``fill_seed``,
    layers that are completely missing from the file take seeded random weights; without it they are an error.
    A file that holds only half of a layer, or no layer at all, is always an error.
    Raises InputError with one line that names the file, the value and what is allowed.
    """
    if source.startswith(RANDOM_PREFIX):
        return random_network(shape, parse_seed(source), pixel_step)
    path = _existing(source)
    if is_onnx(path):
        check_plain(shape, "weights from ONNX")
        return _from_graph(source, shape, read_stack(path), pixel_step, fill_seed)
    with open_arrays(path) as stored:
        if not shape.features:
            return _from_residual(stored, shape, fill_seed)
        return _from_arrays(stored, shape, pixel_step, fill_seed)


def _existing(source: str) -> Path:
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: {'is not a file' if path.exists() else 'no such file'}; "
                         f"allowed: {ALLOWED}")
    return path


def find_network(text: str, source: str) -> NetworkShape:
    """The shape that ``text`` names, as ``parse_network``; that of ``resnet`` by the blocks in the file
    ``source``. Raises InputError."""
    family = re.split("[/:]", text)[0]
    if family != COUNTED_RESNET or source.startswith(RANDOM_PREFIX):
        return parse_network(text)
    path = _existing(source)
    if is_onnx(path):
        raise InputError(f"{source}: weights of {text} from ONNX; allowed: files of named arrays")
    with open_arrays(path) as stored:
        return parse_network(count_resnet(text, stored))


def parse_seed(source: str, what: str = "weights") -> int:
    """The number in ``random:SEED``; ``what`` says in messages what it is for. Raises InputError."""
    if not source.startswith(RANDOM_PREFIX):
        raise InputError(f"{what} {source!r}; allowed: {RANDOM_PREFIX}SEED")
    digits = source.removeprefix(RANDOM_PREFIX)
    if re.fullmatch("[0-9]{1,10}", digits) is None or int(digits) > SEED_MAX:
        raise InputError(f"{what} {source!r}: seed {digits!r}; allowed: a whole number 0..{SEED_MAX}")
    return int(digits)


def random_network(shape: NetworkShape, seed: int, pixel_step: float = 1.0) -> FloatNetwork:
    """A network of normally distributed weights of variance 2 / fan-in, which keeps the size of the
    activations from layer to layer (He et al. 2015, equation 10). A seed gives the same on every machine.

    Behind an identity the variance is a quarter of that, so that sums grow slowly, and a projection has half
    of it, as its map has been through a ReLU and does not pass one before the sum.
    """
    generator = np.random.default_rng(seed)
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    shortcuts: list[np.ndarray | None] = []
    for number, layer in enumerate(shape.layers):
        if layer.shares is not None:
            weights.append(weights[layer.shares])
            biases.append(biases[layer.shares])
            shortcuts.append(shortcuts[layer.shares])
            continue
        weight, bias = _random_layer(layer, generator, pixel_step)
        if shape.blocks and number == 0:
            weight = _random_stem(layer, generator)
        shortcut = None
        if layer.shortcut is not None:
            weight = weight / 2
            shortcut = np.ones(layer.out_channels, np.float32)
        if layer.shortcut is not None and layer.shortcut.projection:
            given = shape.layers[layer.shortcut.source].out_channels
            shortcut = generator.standard_normal((layer.out_channels, given)) / np.sqrt(given)
        weights.append(weight)
        biases.append(bias)
        shortcuts.append(None if shortcut is None else shortcut.astype(np.float32))
    return FloatNetwork(shape, tuple(weights), tuple(biases), frozenset(s.name for s in shape.layers),
                        WeightsOrigin("random"), tuple(shortcuts) if _has_shortcuts(shape) else ())


def _has_shortcuts(shape: NetworkShape) -> bool:
    """Whether any layer of ``shape`` has a shortcut."""
    return any(layer.shortcut is not None for layer in shape.layers)


def _random_stem(layer: ConvShape, generator: np.random.Generator) -> np.ndarray:
    """Weights on an image in blocks that are a 7x7 convolution's."""
    size = (layer.out_channels, IMAGE_CHANNELS, STEM_SIZE, STEM_SIZE)
    deviation = np.sqrt(2.0 / (IMAGE_CHANNELS * STEM_SIZE**2))
    return blocks_kernel(generator.standard_normal(size) * deviation).astype(np.float32)


def _random_layer(
    layer: ConvShape, generator: np.random.Generator, pixel_step: float
) -> tuple[np.ndarray, np.ndarray]:
    size = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    weight = generator.standard_normal(size) * np.sqrt(2.0 / (layer.kernel**2 * layer.in_channels))
    bias = generator.standard_normal(layer.out_channels) * (RANDOM_BIAS * pixel_step)
    return weight.astype(np.float32), bias.astype(np.float32)


def save_weights(network: FloatNetwork, path: Path) -> None:
    """Writes the float weights as safetensors with torchvision's key names. Raises InputError, also for a
    network that is no stack of plain layers."""
    check_plain(network.shape, "files of float weights")
    tensors = {}
    for index, weight, bias in zip(network.shape.features, network.weights, network.biases, strict=True):
        tensors[f"features.{index}.weight"] = np.ascontiguousarray(weight)
        tensors[f"features.{index}.bias"] = np.ascontiguousarray(bias)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={KIND_KEY: WEIGHTS}))


# --------------------------------------------------------------------------------------------------------
# Files of named arrays
# --------------------------------------------------------------------------------------------------------


def _from_arrays(
    stored: StoredArrays, shape: NetworkShape, pixel_step: float, fill_seed: int | None
) -> FloatNetwork:
    matched = match_keys(stored, shape)
    present = [keys is not None for keys in matched.layers.values()]
    missing = _missing_layers(stored.source, shape, present, fill=fill_seed is not None)
    without_bias = _without_bias(stored.source, matched)
    filler = _Filler(shape, fill_seed, pixel_step)
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
        *_unused_remark("keys", unused),
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


def _from_residual(stored: StoredArrays, shape: NetworkShape, fill_seed: int | None) -> FloatNetwork:
    if fill_seed is not None:
        raise InputError(f"{stored.source}: filling up {shape.name}; allowed: VGG networks, or whole weights")
    found = read_residual(stored, shape)
    unused = tuple(unused_keys(stored, found.used))
    remarks = (
        *([f"keys begin with {found.prefix!r}"] if found.prefix else []),
        *_unused_remark("keys", unused),
    )
    origin = WeightsOrigin(stored.kind, found.prefix, (), unused, remarks)
    shortcuts = tuple(found.shortcuts) if _has_shortcuts(shape) else ()
    return FloatNetwork(shape, tuple(found.weights), tuple(found.biases), frozenset(), origin, shortcuts)


# --------------------------------------------------------------------------------------------------------
# ONNX
# --------------------------------------------------------------------------------------------------------


def _from_graph(
    source: str, shape: NetworkShape, stack: GraphStack, pixel_step: float, fill_seed: int | None
) -> FloatNetwork:
    """Takes the first convolutions of a graph, as many as ``shape`` has. The poolings of the graph must be
    those of ``shape``. Raises InputError."""
    convs = stack.convs[: len(shape.layers)]
    if len(convs) < len(shape.layers) and (stack.stop or not convs):
        raise InputError(
            f"{source}: {stack.stop or 'the graph has no convolution'}; allowed: {len(shape.layers)} "
            f"convolutions as {shape.name} has, {len(convs)} were found before"
        )
    present = [n < len(convs) for n in range(len(shape.layers))]
    missing = _missing_layers(source, shape, present, fill=fill_seed is not None)
    others = families_of_pools([conv.pool for conv in stack.convs])
    filler = _Filler(shape, fill_seed, pixel_step)
    weights, biases = [], []
    for position, layer in enumerate(shape.layers):
        if position >= len(convs):
            weight, bias = filler.layer(position)
        else:
            conv = convs[position]
            dimensions = (layer.out_channels, layer.in_channels, 3, 3)
            if conv.weight.shape != dimensions:
                raise InputError(f"{source}: {conv.name} ({layer.name}) has weights "
                                 f"{times(conv.weight.shape)}; allowed: {times(dimensions)}")
            cut_off = layer is shape.layers[-1] and not layer.pool
            if conv.pool != layer.pool and not cut_off:
                raise InputError(f"{source}: {conv.name} ({layer.name}) is {'' if conv.pool else 'not '}"
                                 f"followed by a pooling; allowed: the layers of {shape.name}"
                                 f"{_found_families(others)}")
            weight = as_float32(conv.weight, f"{source}: {conv.name}")
            bias = as_float32(conv.bias, f"{source}: {conv.name}")
        weights.append(weight)
        biases.append(bias)
    unused = (*(conv.name for conv in stack.convs[len(convs):]), *stack.left_out)
    folded = tuple(layer.name for layer, conv in zip(shape.layers, convs, strict=False) if conv.batch_norm)
    other = bool(others) and re.split("[/:]", shape.name)[0] not in others
    remarks = (
        *([f"batch norm folded into {len(folded)} layers"] if folded else []),
        *([f"up to {shape.layers[-1].name} as {shape.name}{_found_families(others)}"] if other else []),
        *_unused_remark("nodes", unused),
    )
    origin = WeightsOrigin("ONNX", "", folded, unused, remarks)
    return FloatNetwork(shape, tuple(weights), tuple(biases), missing, origin)


def _found_families(names: list[str]) -> str:
    return f" (the graph is that of {' or '.join(names)})" if names else ""


# --------------------------------------------------------------------------------------------------------
# Both
# --------------------------------------------------------------------------------------------------------


class _Filler:
    """Gives random layers in place of missing ones."""

    def __init__(self, shape: NetworkShape, seed: int | None, pixel_step: float) -> None:
        self._shape, self._seed, self._pixel_step = shape, seed, pixel_step

    def layer(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._seed is not None, "else a missing layer is an error"
        # Each layer has its own generator, so that its values do not depend on which others are missing.
        generator = np.random.default_rng((self._seed, self._shape.features[position]))
        return _random_layer(self._shape.layers[position], generator, self._pixel_step)


def _missing_layers(source: str, shape: NetworkShape, present: list[bool], *, fill: bool) -> frozenset[str]:
    """The names of the layers that are missing. Unless ``fill`` is set, raises InputError for the first of
    them and suggests the cut that the file allows. Always raises it if no layer is present at all."""
    missing = [layer.name for layer, there in zip(shape.layers, present, strict=True) if not there]
    if missing and not any(present):
        what = "to fill up from" if fill else f"in it (the first is {missing[0]})"
        raise InputError(f"{source}: no layer of {shape.name} {what}; allowed: a file of its weights")
    if missing and not fill:
        hint = "allowed: every layer, or --fill-missing random:SEED"
        position = present.index(False)
        if position:
            last = shape.layers[position - 1]
            cut = f"pool{last.name[4:].split('_')[0]}" if last.pool else last.name
            hint = (f"allowed: every layer, a cut such as --network {shape.name.split(':')[0]}:{cut}, "
                    "or --fill-missing random:SEED")
        raise InputError(f"{source}: layer {missing[0]} of {shape.name} is missing; {hint}")
    return frozenset(missing)


UNUSED_SHOWN = 4


def _unused_remark(what: str, unused: tuple[str, ...]) -> list[str]:
    """One line that names what was not used, or no line."""
    if not unused:
        return []
    more = f" and {len(unused) - UNUSED_SHOWN} more" if len(unused) > UNUSED_SHOWN else ""
    return [f"{what} not used ({len(unused)}): {', '.join(unused[:UNUSED_SHOWN])}{more}"]
