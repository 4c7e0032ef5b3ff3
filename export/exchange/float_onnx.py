"""A float network as an ONNX model: Conv, Add, Relu, MaxPool, with whatever was folded into its weights."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kestrel.export.exchange.image_blocks import FRAME, blocks_of_framed
from kestrel.export.exchange.model_file import INPUT, ModelBuilder
from kestrel.sw.common.kinds import FLOAT_DOMAIN
from kestrel.sw.model.blocks import STEM_SIZE, stem_kernel
from kestrel.sw.model.network import IMAGE, IMAGE_CHANNELS, source_of
from kestrel.sw.model.weights import FloatNetwork

if TYPE_CHECKING:
    from onnx import ModelProto


def float_model(network: FloatNetwork, preprocessing: str) -> "ModelProto":
    """The model of a network: input ``image``, float32 [N, C, H, W], the real input of ``preprocessing``
    (which the metadata name); output: the last layer's, by its name.

    A first layer on an image in blocks becomes the 7x7 convolution that it stands for. If there is none, as
    compression left no zeros where it had none, the model rearranges the image itself. Raises InputError
    where the package onnx is missing.
    """
    shape = network.shape
    channels = IMAGE_CHANNELS if shape.blocks else shape.layers[0].in_channels
    builder = ModelBuilder(shape.name, channels, np.float32, FLOAT_DOMAIN)
    stem = stem_kernel(network.weights[0]) if shape.blocks else None
    maps = {IMAGE: _blocks(builder) if shape.blocks and stem is None else INPUT}
    for number, layer in enumerate(shape.layers):
        weight, stride, x = network.weights[number], layer.stride, maps[source_of(shape.layers, number)]
        if number == 0 and stem is not None:
            weight, stride = stem, 2
        total = _convolution(builder, f"{layer.name}_conv", x, weight, network.biases[number], stride)
        if layer.shortcut is not None:
            added = _shortcut(builder, network, number, maps)
            total = builder.node("Add", [total, added], f"{layer.name}_sum")
        y = builder.node("Relu", [total], f"{layer.name}_relu" if layer.pool else layer.name)
        maps[number] = builder.pool(y, layer.name, layer.pool_size) if layer.pool else y
    about = {"name": shape.name, "preprocessing": preprocessing}
    last = len(shape.layers) - 1
    return builder.finish({maps[last]: shape.layers[last].out_channels}, {"kestrel": json.dumps(about)})


def _convolution(builder: ModelBuilder, name: str, x: str, weight: np.ndarray, bias: np.ndarray | None,
                 stride: int) -> str:
    """With as much zero padding as leaves the size to the stride alone."""
    prefix = name.removesuffix("_conv")
    parameters = [builder.constant(f"{prefix}_weight", weight)]
    if bias is not None:
        parameters.append(builder.constant(f"{prefix}_bias", bias))
    size = weight.shape[2]
    assert size in (1, 3, STEM_SIZE)
    return builder.node("Conv", [x, *parameters], name, kernel_shape=[size] * 2, pads=[size // 2] * 4,
                        strides=[stride] * 2)


def _shortcut(builder: ModelBuilder, network: FloatNetwork, number: int, maps: Mapping[int, str]) -> str:
    """What is added to a layer's convolution: a 1x1 convolution, or the map itself where all its factors
    are 1."""
    layer, weight = network.shape.layers[number], network.shortcut(number)
    shortcut = layer.shortcut
    assert shortcut is not None
    assert weight is not None, "a layer with a shortcut has its weights"
    name, other = f"{layer.name}_shortcut", maps[shortcut.source]
    if shortcut.projection:
        return _convolution(builder, f"{name}_conv", other, weight[:, :, None, None], None, shortcut.stride)
    if (weight == 1).all():
        return other
    factor = builder.constant(f"{name}_factor", weight.reshape(1, -1, 1, 1))
    return builder.node("Mul", [other, factor], name)


def _blocks(builder: ModelBuilder) -> str:
    """The image in blocks, with zeros, which stand for the mean, outside."""
    top, left, bottom, right = FRAME
    frame = builder.constant("blocks_frame", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return blocks_of_framed(builder, builder.node("Pad", [INPUT, frame], "blocks_framed", mode="constant"))
