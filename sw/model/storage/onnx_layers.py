"""The weights of VGG networks from an ONNX model that was read as a stack of convolutions."""

import re

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import as_float32, times
from kestrel.sw.model.files.onnx_graph import GraphStack
from kestrel.sw.model.network import NetworkShape, families_of_pools
from kestrel.sw.model.storage.missing import Filler, missing_layers, unused_remark
from kestrel.sw.model.weights import FloatNetwork, WeightsOrigin


def read_graph_weights(
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
    missing = missing_layers(source, shape, present, fill=fill_seed is not None)
    others = families_of_pools([conv.pool for conv in stack.convs])
    filler = Filler(shape, fill_seed, pixel_step)
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
        *unused_remark("nodes", unused),
    )
    origin = WeightsOrigin("ONNX", "", folded, unused, remarks)
    return FloatNetwork(shape, tuple(weights), tuple(biases), missing, origin)


def _found_families(names: list[str]) -> str:
    return f" (the graph is that of {' or '.join(names)})" if names else ""
