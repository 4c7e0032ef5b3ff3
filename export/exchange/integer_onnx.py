"""The integer network as plain ONNX integer operators: any runtime computes the reference's integers.

A layer's weights w = alpha * M reach 255 * 15, ONNX's integer convolution takes eight bits. So each is
written as w = 64 h + l, both of the sign of w, and two convolutions are added: 64 conv(x, h) + conv(x, l).
Because the signs agree, no partial sum leaves the range of the whole, which the network's own check keeps
within 32 bits. Weights are stored as bytes around a zero point of 128: some runtimes' kernels for signed
weights add pairs of products in 16 bits and saturate, those for unsigned ones do not.

Requantisation, clamp((acc + offset) >> shift, 0, greatest): the clamp comes first, to 0..(greatest << shift)
+ the bits that the shift drops, whereupon division, which rounds towards zero, is the shift.
"""

import json
from typing import TYPE_CHECKING

import numpy as np

from kestrel.export.exchange.model_file import INPUT, ModelBuilder
from kestrel.sw.common.kinds import INTEGER_DOMAIN
from kestrel.sw.model.bounds import check_accumulators, rounding_offset
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.validation import validate

if TYPE_CHECKING:
    from onnx import ModelProto

RADIX = 64
ZERO_POINT = 128


def integer_model(network: CompressedNetwork, *, every_layer: bool = False) -> "ModelProto":
    """The model of a network: input ``image``, uint8 [N, C, H, W] below 2**A, outputs by the layers' names,
    uint8, after the pooling where there is one: the last layer's, or with ``every_layer`` each one's.

    Scales, which give the integers a meaning, are in the metadata under ``kestrel``. Raises InputError for a
    network that is not valid or whose accumulators could overflow, and where the package onnx is missing.
    """
    validate(network)
    check_accumulators(network)
    builder = ModelBuilder(network.name, network.layers[0].shape.in_channels, np.uint8, INTEGER_DOMAIN)
    x, padding = INPUT, 1
    if network.pad.any():
        x, padding = _padded(builder, network.pad), 0
    for layer in network.layers:
        x, padding = _layer(builder, layer, x, padding, network.activation_bits), 1
    layers = network.layers if every_layer else network.layers[-1:]
    about = {
        "name": network.name, "activation_bits": network.activation_bits,
        "preprocessing": network.preprocessing,
        "scales": {layer.shape.name: layer.scale for layer in network.layers},
    }  # fmt: skip
    return builder.finish({layer.shape.name: layer.shape.out_channels for layer in layers},
                          {"kestrel": json.dumps(about)})


def _padded(builder: ModelBuilder, pad: np.ndarray) -> str:
    """The image with its pad values around it. Pad knows one value for all channels, so what is padded, with
    zeros, is the difference to them."""
    value = builder.constant("pad", pad.astype(np.int32).reshape(1, -1, 1, 1))
    frame = builder.constant("pad_frame", np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64))
    x = builder.node("Cast", [INPUT], "pad_image", to=_tensor_type(np.int32))
    x = builder.node("Sub", [x, value], "pad_difference")
    x = builder.node("Pad", [x, frame], "pad_framed", mode="constant")
    x = builder.node("Add", [x, value], "pad_sum")
    return builder.node("Cast", [x], "pad_done", to=_tensor_type(np.uint8))


def _layer(builder: ModelBuilder, layer: CompressedLayer, x: str, padding: int, activation_bits: int) -> str:
    name = layer.shape.name
    weight = layer.alpha[:, :, None, None].astype(np.int32) * layer.mask
    high = np.sign(weight) * (np.abs(weight) // RADIX)
    total = _convolution(builder, f"{name}_low", x, weight - RADIX * high, padding)
    if high.any():
        radix = builder.constant(f"{name}_radix", np.array(RADIX, dtype=np.int32))
        most = _convolution(builder, f"{name}_high", x, high, padding)
        most = builder.node("Mul", [most, radix], f"{name}_scaled")
        total = builder.node("Add", [most, total], f"{name}_acc")
    offset = rounding_offset(layer).astype(np.int32).reshape(1, -1, 1, 1)
    total = builder.node("Add", [total, builder.constant(f"{name}_offset", offset)], f"{name}_biased")
    top = (1 << (activation_bits + layer.shift)) - 1
    limits = [builder.constant(f"{name}_{what}", np.array(value, dtype=np.int32))
              for what, value in (("lowest", 0), ("highest", top))]
    total = builder.node("Clip", [total, *limits], f"{name}_clamped")
    step = builder.constant(f"{name}_step", np.array(1 << layer.shift, dtype=np.int32))
    total = builder.node("Div", [total, step], f"{name}_shifted")
    done = f"{name}_map" if layer.shape.pool else name
    y = builder.node("Cast", [total], done, to=_tensor_type(np.uint8))
    if layer.shape.pool:
        y = builder.node("MaxPool", [y], name, kernel_shape=[2, 2], strides=[2, 2])
    return y


def _convolution(builder: ModelBuilder, name: str, x: str, weight: np.ndarray, padding: int) -> str:
    """int32; weight: integers within a byte around zero."""
    stored = builder.constant(f"{name}_weight", (weight + ZERO_POINT).astype(np.uint8))
    zero_points = [builder.constant(f"{name}_{what}", np.array(value, dtype=np.uint8))
                   for what, value in (("image_zero", 0), ("weight_zero", ZERO_POINT))]
    return builder.node("ConvInteger", [x, stored, *zero_points], name, kernel_shape=[3, 3],
                        pads=[padding] * 4)


def _tensor_type(dtype: type[np.generic]) -> int:
    from onnx import helper  # noqa: PLC0415 (optional; the builder has found it)

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
