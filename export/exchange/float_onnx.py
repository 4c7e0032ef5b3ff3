"""A float network as an ONNX model: Conv, Relu, MaxPool, with whatever was folded into its weights."""

import json
from typing import TYPE_CHECKING

import numpy as np

from kestrel.export.exchange.model_file import INPUT, ModelBuilder
from kestrel.sw.common.kinds import FLOAT_DOMAIN
from kestrel.sw.model.weights import FloatNetwork

if TYPE_CHECKING:
    from onnx import ModelProto


def float_model(network: FloatNetwork, preprocessing: str) -> "ModelProto":
    """The model of a network: input ``image``, float32 [N, C, H, W], the real input of ``preprocessing``
    (which the metadata name); output: the last layer's, by its name. Raises InputError where the package
    onnx is missing."""
    builder = ModelBuilder(network.shape.name, network.shape.layers[0].in_channels, np.float32, FLOAT_DOMAIN)
    x = INPUT
    for layer, weight, bias in zip(network.shape.layers, network.weights, network.biases, strict=True):
        parameters = [builder.constant(f"{layer.name}_weight", weight),
                      builder.constant(f"{layer.name}_bias", bias)]
        x = builder.node("Conv", [x, *parameters], f"{layer.name}_conv", kernel_shape=[3, 3], pads=[1] * 4)
        x = builder.node("Relu", [x], f"{layer.name}_relu" if layer.pool else layer.name)
        if layer.pool:
            x = builder.node("MaxPool", [x], layer.name, kernel_shape=[2, 2], strides=[2, 2])
    about = {"name": network.shape.name, "preprocessing": preprocessing}
    return builder.finish({x: network.shape.layers[-1].out_channels}, {"kestrel": json.dumps(about)})
