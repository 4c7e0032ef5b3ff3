"""The weights of a network from an ONNX model that was read as layers: they must be those of the network, by
whatever names."""

import re
from collections.abc import Sequence

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.blocks import STEM_SIZE, blocks_kernel
from kestrel.sw.model.files.entries import as_float32, times
from kestrel.sw.model.files.onnx_graph import Graph
from kestrel.sw.model.files.onnx_layers import GraphLayer
from kestrel.sw.model.network import (
    IMAGE,
    IMAGE_CHANNELS,
    ConvShape,
    NetworkShape,
    families_of_pools,
    source_of,
)
from kestrel.sw.model.residual_networks import COUNTED_RESNET, RESNET_CHANNELS, with_counts
from kestrel.sw.model.storage.missing import Filler, missing_layers, unused_remark
from kestrel.sw.model.weights import FloatNetwork, WeightsOrigin, has_shortcuts


def count_resnet_layers(source: str, text: str, graph: Graph) -> str:
    """``text``, which names COUNTED_RESNET, with the number of blocks that the graph has in each stage, pairs
    of layers of 1, 2, 4 and 8 times the channels of the first one. Stages behind a cut may be missing and
    count as one block. Raises InputError."""
    if not graph.layers:
        raise InputError(f"{source}: {graph.stop or 'the graph has no convolution'}; "
                         "allowed: a ResNet of basic blocks")
    base = len(graph.layers[0].bias)
    cut = re.search(r":layer([1-4])\.", text)
    counts: list[int] = []
    for stage, channels in enumerate(RESNET_CHANNELS, start=1):
        factor = channels // RESNET_CHANNELS[0]
        found = sum(len(layer.bias) == factor * base for layer in graph.layers[1:])
        if not found and stage <= (int(cut[1]) if cut else len(RESNET_CHANNELS)):
            why = f" ({graph.stop})" if graph.stop else ""
            raise InputError(f"{source}: behind a first layer of {base} channels none of {factor * base}, as "
                             f"layer{stage} of {text} has{why}; allowed: a ResNet of basic blocks")
        counts.append(max(1, found // 2))
    return with_counts(counts) + text.removeprefix(COUNTED_RESNET)


def read_graph_weights(
    source: str, shape: NetworkShape, graph: Graph, pixel_step: float, fill_seed: int | None
) -> FloatNetwork:
    """Takes the first layers of a graph, as many as ``shape`` has. Raises InputError, naming the node, for
    one that is not what ``shape`` has in its place."""
    layers = graph.layers[: len(shape.layers)]
    others = _families(graph) if shape.features else []
    for position in range(len(layers)):
        _check_layer(source, shape, position, layers, _found_families(others))
    if len(layers) < len(shape.layers) and (graph.stop or not layers or not shape.features):
        raise InputError(
            f"{source}: {graph.stop or f'the graph has {len(layers)} convolutions'}; allowed: "
            f"{len(shape.layers)} convolutions as {shape.name} has, {len(layers)} were found before"
        )
    present = [n < len(layers) for n in range(len(shape.layers))]
    missing = missing_layers(source, shape, present, fill=fill_seed is not None)
    filler = Filler(shape, fill_seed, pixel_step)
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    shortcuts: list[np.ndarray | None] = []
    for position in range(len(shape.layers)):
        if position >= len(layers):
            weight, bias = filler.layer(position)
            shortcut = None
        else:
            weight, bias, shortcut = _arrays(source, shape, position, layers[position])
        weights.append(weight)
        biases.append(bias)
        shortcuts.append(shortcut)
    _check_shared(source, shape, layers, (weights, biases, shortcuts))
    unused = (*(layer.name for layer in graph.layers[len(layers):]), *graph.left_out)
    folded = tuple(layer.name for layer, found in zip(shape.layers, layers, strict=False) if found.batch_norm)
    other = bool(others) and re.split("[/:]", shape.name)[0] not in others
    remarks = (
        *([f"batch norm folded into {len(folded)} layers"] if folded else []),
        *([f"up to {shape.layers[-1].name} as {shape.name}{_found_families(others)}"] if other else []),
        *unused_remark("nodes", unused),
    )
    origin = WeightsOrigin("ONNX", "", folded, unused, remarks)
    return FloatNetwork(shape, tuple(weights), tuple(biases), missing, origin,
                        tuple(shortcuts) if has_shortcuts(shape) else ())


def _check_layer(source: str, shape: NetworkShape, position: int, layers: Sequence[GraphLayer],
                 families: str) -> None:
    """Raises InputError unless the graph's layer does what that of ``shape`` does."""
    layer, found = shape.layers[position], layers[position]
    stem = shape.blocks and position == 0
    where = f"{source}: {found.name} ({layer.name})"
    size, stride = (STEM_SIZE, 2) if stem else (layer.kernel, layer.stride)
    channels = IMAGE_CHANNELS if stem else layer.in_channels
    for what, value, wanted in (
        ("kernel", found.weight.shape[2], size), ("strides", found.stride, stride),
    ):  # fmt: skip
        if value != wanted:
            raise InputError(f"{where} has {what} {value}, {value}; allowed: {wanted}, {wanted}, as "
                             f"{shape.name} has{families}")
    wanted = (layer.out_channels, channels, size, size)
    if found.weight.shape != wanted:
        raise InputError(f"{where} has weights {times(found.weight.shape)}; allowed: {times(wanted)}")
    reads = source_of(shape.layers, position)
    if found.source != reads:
        raise InputError(f"{where} reads {_name(layers, found.source)}; allowed: {_name(layers, reads)}, as "
                         f"{shape.name} has it")
    mine, theirs = _described(layers, found), _wanted(layers, layer)
    if mine != theirs:
        raise InputError(f"{where} has {mine}; allowed: {theirs}, as {shape.name} has it")
    cut_off = position == len(shape.layers) - 1 and not layer.pool
    if (found.pool > 0) != layer.pool and not cut_off:
        raise InputError(f"{where} is {'' if found.pool else 'not '}followed by a pooling; "
                         f"allowed: the layers of {shape.name}{families}")
    if layer.pool and found.pool != layer.pool_size:
        raise InputError(f"{where} is followed by a pooling of {found.pool}x{found.pool}; allowed: "
                         f"{layer.pool_size}x{layer.pool_size}, as {shape.name} has")


def _described(layers: Sequence[GraphLayer], found: GraphLayer) -> str:
    """The shortcut of a layer in words, so that equal ones have equal words."""
    if found.shortcut is None:
        return "no shortcut"
    name = _name(layers, found.shortcut.source)
    if found.shortcut.weight.ndim == 1:
        return f"the output of {name} as its shortcut"
    return f"a projection of the output of {name} with stride {found.shortcut.stride} as its shortcut"


def _wanted(layers: Sequence[GraphLayer], layer: ConvShape) -> str:
    """As ``_described``, of a layer of the network."""
    if layer.shortcut is None:
        return "no shortcut"
    name = _name(layers, layer.shortcut.source)
    if not layer.shortcut.projection:
        return f"the output of {name} as its shortcut"
    return f"a projection of the output of {name} with stride {layer.shortcut.stride} as its shortcut"


def _name(layers: Sequence[GraphLayer], number: int) -> str:
    return "the image" if number == IMAGE else layers[number].name


def _arrays(source: str, shape: NetworkShape, position: int,
            found: GraphLayer) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    where, weight = f"{source}: {found.name}", found.weight
    if shape.blocks and position == 0:
        weight = blocks_kernel(weight)
    shortcut = None if found.shortcut is None else as_float32(found.shortcut.weight, where)
    return as_float32(weight, where), as_float32(found.bias, where), shortcut


def _check_shared(source: str, shape: NetworkShape, layers: Sequence[GraphLayer],
                  parts: Sequence[Sequence[np.ndarray | None]]) -> None:
    """Raises InputError for layers that share integers but have weights of their own."""
    for number, layer in enumerate(shape.layers):
        if layer.shares is None:
            continue
        for part in parts:
            mine, theirs = part[number], part[layer.shares]
            if mine is not None and (theirs is None or not np.array_equal(mine, theirs)):
                raise InputError(f"{source}: {layers[number].name} ({layer.name}) differs from "
                                 f"{layers[layer.shares].name} ({shape.layers[layer.shares].name}); allowed "
                                 f"in {shape.name}: the same weights")


def _families(graph: Graph) -> list[str]:
    """The VGG networks that the graph may be, or begin as; none if it is no plain stack."""
    plain = all(
        (layer.weight.shape[2:], layer.stride, layer.source, layer.shortcut) == ((3, 3), 1, number - 1, None)
        for number, layer in enumerate(graph.layers)
    )
    return families_of_pools([layer.pool > 0 for layer in graph.layers]) if plain else []


def _found_families(names: list[str]) -> str:
    return f" (the graph is that of {' or '.join(names)})" if names else ""
