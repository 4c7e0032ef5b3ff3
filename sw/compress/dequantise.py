"""Real weights of a compressed network: exactly what its integers stand for (docs/network-file.md)."""

import numpy as np

from kestrel.hw.spec.widths import BIAS_FRACTION
from kestrel.sw.compress.fold import image_scale, map_scale
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import shape_of_layers
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork


def real_parameters(network: CompressedNetwork) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each layer in real units, float64 [C_out, C_in, 3, 3] and [C_out].

    The first layer's are for the real input of the network's preprocessing. Raises InputError for a
    preprocessing that is not known.
    """
    inputs = image_scale(find_preprocessing(network.preprocessing), network.activation_bits)
    found = []
    for layer in network.layers:
        product = layer.alpha[:, :, None, None].astype(np.float64) * layer.mask * 2.0**-layer.shift
        weight = product * (layer.scale / inputs.scale)[:, None, None]
        at_zero = (product.sum(axis=(2, 3)) * inputs.zero).sum(axis=1)
        bias = (layer.bias / (1 << BIAS_FRACTION) + at_zero) * layer.scale
        found.append((weight, bias))
        inputs = map_scale(layer)
    return found


def dequantise(network: CompressedNetwork) -> FloatNetwork:
    """The float network of ``real_parameters``, rounded to float32: what the integers compute, but for the
    rounding and clamping of activations and the rounded pad value of the first layer."""
    parameters = real_parameters(network)
    shape = shape_of_layers(network.name, [layer.shape for layer in network.layers])
    return FloatNetwork(
        shape,
        tuple(weight.astype(np.float32) for weight, _ in parameters),
        tuple(bias.astype(np.float32) for _, bias in parameters),
        frozenset(layer.shape.name for layer in network.layers if not layer.trained),
    )
