"""The integer network as plain ONNX integer operators: any runtime computes the reference's integers.

A layer's weights w = alpha * M reach 255 * 15, ONNX's integer convolution takes eight bits. So each is
written as w = 64 h + l, both of the sign of w, and two convolutions are added: 64 conv(x, h) + conv(x, l).
Because the signs agree, no partial sum leaves the range of the whole, which the network's own check keeps
within 32 bits. Weights are stored as bytes around a zero point of 128: some runtimes' kernels for signed
weights add pairs of products in 16 bits and saturate, those for unsigned ones do not.

A shortcut's products are further ones of the same sum: those of a projection a convolution of 1x1 kernels,
whose weights of up to 16 * 255 are split in the same way, those of an identity a product by channel.

An image in blocks is formed inside the model, which takes the image as it is.

Requantisation, clamp((acc + offset) >> shift, 0, greatest): the clamp comes first, to 0..(greatest << shift)
+ the bits that the shift drops, whereupon division, which rounds towards zero, is the shift.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kestrel.export.exchange.image_blocks import FRAME, blocks_of_framed
from kestrel.export.exchange.model_file import INPUT, ModelBuilder
from kestrel.sw.common.kinds import INTEGER_DOMAIN
from kestrel.sw.model.bounds import check_accumulators, rounding_offset, shortcut_weights
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.network import IMAGE, IMAGE_CHANNELS, source_of
from kestrel.sw.model.validation import validate

if TYPE_CHECKING:
    from onnx import ModelProto

RADIX = 64
ZERO_POINT = 128


def integer_model(network: CompressedNetwork, *, every_layer: bool = False) -> "ModelProto":
    """The model of a network: input ``image``, uint8 [N, C, H, W] below 2**A, outputs by the layers' names,
    uint8, after the pooling where there is one: the last layer's, or with ``every_layer`` each one's. An
    image that the network reads in blocks comes as [N, 3, H, W].

    Scales, which give the integers a meaning, are in the metadata under ``kestrel``. Raises InputError for a
    network that is not valid or whose accumulators could overflow, and where the package onnx is missing.
    """
    validate(network)
    check_accumulators(network)
    channels = IMAGE_CHANNELS if network.blocks else network.layers[0].shape.in_channels
    builder = ModelBuilder(network.name, channels, np.uint8, INTEGER_DOMAIN)
    read = INPUT
    if network.blocks:
        framed = _framed(builder, "blocks_pad", INPUT, network.pad[:IMAGE_CHANNELS], FRAME)
        read = blocks_of_framed(builder, framed)
    padding = network.layers[0].shape.kernel // 2
    if padding and network.pad.any():
        read, padding = _framed(builder, "pad", read, network.pad, (1, 1, 1, 1)), 0
    maps = {IMAGE: read}
    shapes = [layer.shape for layer in network.layers]
    for number, layer in enumerate(network.layers):
        around = layer.shape.kernel // 2 if number else padding
        x = maps[source_of(shapes, number)]
        maps[number] = _layer(builder, layer, x, around, maps, network.activation_bits)
    layers = network.layers if every_layer else network.layers[-1:]
    about = {
        "name": network.name, "activation_bits": network.activation_bits,
        "preprocessing": network.preprocessing,
        "scales": {layer.shape.name: layer.scale for layer in network.layers},
    }  # fmt: skip
    return builder.finish({layer.shape.name: layer.shape.out_channels for layer in layers},
                          {"kestrel": json.dumps(about)})


def _framed(builder: ModelBuilder, name: str, x: str, pad: np.ndarray, frame: tuple[int, ...]) -> str:
    """The map with ``pad`` by channel around it; ``frame``: rows and columns at the top, on the left, at the
    bottom and on the right. Pad knows one value for all channels, so what is padded, with zeros, is the
    difference to them."""
    value = builder.constant(name, pad.astype(np.int32).reshape(1, -1, 1, 1))
    top, left, bottom, right = frame
    sides = builder.constant(f"{name}_frame", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    x = builder.node("Cast", [x], f"{name}_image", to=_tensor_type(np.int32))
    x = builder.node("Sub", [x, value], f"{name}_difference")
    x = builder.node("Pad", [x, sides], f"{name}_framed", mode="constant")
    x = builder.node("Add", [x, value], f"{name}_sum")
    return builder.node("Cast", [x], f"{name}_done", to=_tensor_type(np.uint8))


def _layer(builder: ModelBuilder, layer: CompressedLayer, x: str, padding: int, maps: Mapping[int, str],
           activation_bits: int) -> str:
    shape, name = layer.shape, layer.shape.name
    weight = layer.alpha[:, :, None, None].astype(np.int32) * layer.mask
    total = _convolution(builder, name, x, weight, padding, shape.stride)
    if shape.shortcut is not None:
        other, extra = maps[shape.shortcut.source], shortcut_weights(layer).astype(np.int32)
        if shape.shortcut.projection:
            added = _convolution(builder, f"{name}_shortcut", other, extra[:, :, None, None], 0,
                                 shape.shortcut.stride)
        else:
            factor = builder.constant(f"{name}_shortcut_factor", extra.reshape(1, -1, 1, 1))
            wide = builder.node("Cast", [other], f"{name}_shortcut_wide", to=_tensor_type(np.int32))
            added = builder.node("Mul", [wide, factor], f"{name}_shortcut")
        total = builder.node("Add", [total, added], f"{name}_both")
    offset = rounding_offset(layer).astype(np.int32).reshape(1, -1, 1, 1)
    total = builder.node("Add", [total, builder.constant(f"{name}_offset", offset)], f"{name}_biased")
    top = (1 << (activation_bits + layer.shift)) - 1
    limits = [builder.constant(f"{name}_{what}", np.array(value, dtype=np.int32))
              for what, value in (("lowest", 0), ("highest", top))]
    total = builder.node("Clip", [total, *limits], f"{name}_clamped")
    step = builder.constant(f"{name}_step", np.array(1 << layer.shift, dtype=np.int32))
    total = builder.node("Div", [total, step], f"{name}_shifted")
    y = builder.node("Cast", [total], f"{name}_map" if shape.pool else name, to=_tensor_type(np.uint8))
    return builder.pool(y, name, shape.pool_size) if shape.pool else y


def _convolution(builder: ModelBuilder, name: str, x: str, weight: np.ndarray, padding: int,
                 stride: int) -> str:
    """int32 sums with any int32 ``weight`` of a magnitude below 64 * 128, in two convolutions where one byte
    is not enough."""
    high = np.sign(weight) * (np.abs(weight) // RADIX)
    low = _bytes(builder, f"{name}_low", x, weight - RADIX * high, padding, stride)
    if not high.any():
        return low
    radix = builder.constant(f"{name}_radix", np.array(RADIX, dtype=np.int32))
    most = _bytes(builder, f"{name}_high", x, high, padding, stride)
    most = builder.node("Mul", [most, radix], f"{name}_scaled")
    return builder.node("Add", [most, low], f"{name}_acc")


def _bytes(builder: ModelBuilder, name: str, x: str, weight: np.ndarray, padding: int, stride: int) -> str:
    """int32; weight: integers within a byte around zero."""
    stored = builder.constant(f"{name}_weight", (weight + ZERO_POINT).astype(np.uint8))
    zero_points = [builder.constant(f"{name}_{what}", np.array(value, dtype=np.uint8))
                   for what, value in (("image_zero", 0), ("weight_zero", ZERO_POINT))]
    return builder.node("ConvInteger", [x, stored, *zero_points], name, kernel_shape=weight.shape[2:],
                        pads=[padding] * 4, strides=[stride] * 2)


def _tensor_type(dtype: type[np.generic]) -> int:
    from onnx import helper  # noqa: PLC0415 (optional; the builder has found it)

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
