"""Real weights of a compressed network: exactly what its integers stand for (docs/network-file.md)."""

import numpy as np

from kestrel.hw.spec.widths import BIAS_FRACTION
from kestrel.sw.compress.fold import image_scale, map_scale
from kestrel.sw.model.bounds import shortcut_weights
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import IMAGE, NetworkShape, shape_of_layers, source_of
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork


def real_parameters(network: CompressedNetwork) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each layer in real units, float64 [C_out, C_in, k, k] and [C_out].

    The first layer's are for the real input of the network's preprocessing. Raises InputError for a
    preprocessing that is not known.
    """
    preprocessing = find_preprocessing(network.preprocessing)
    image = image_scale(preprocessing, network.activation_bits, blocks=network.blocks)
    shapes = [layer.shape for layer in network.layers]
    found = []
    for number, layer in enumerate(network.layers):
        source = source_of(shapes, number)
        inputs = image if source == IMAGE else map_scale(network.layers[source])
        product = layer.alpha[:, :, None, None].astype(np.float64) * layer.mask * 2.0**-layer.shift
        weight = product * (layer.scale / inputs.scale)[:, None, None]
        at_zero = (product.sum(axis=(2, 3)) * inputs.zero).sum(axis=1)
        bias = (layer.bias / (1 << BIAS_FRACTION) + at_zero) * layer.scale
        found.append((weight, bias))
    return found


def real_shortcuts(network: CompressedNetwork) -> list[np.ndarray | None]:
    """The real weights of each layer's shortcut: float64 [C_out, C_shortcut] of a projection, [C_out] of an
    identity, None without one."""
    found: list[np.ndarray | None] = []
    for layer in network.layers:
        if layer.shape.shortcut is None:
            found.append(None)
            continue
        given = network.layers[layer.shape.shortcut.source]
        found.append(shortcut_weights(layer) * 2.0**-layer.shift * layer.scale / given.scale)
    return found


def dequantise(network: CompressedNetwork) -> FloatNetwork:
    """The float network of ``real_parameters``, rounded to float32: what the integers compute, but for the
    rounding and clamping of activations and the rounded pad value of the first layer."""
    parameters = real_parameters(network)
    shapes = [layer.shape for layer in network.layers]
    shape = NetworkShape(network.name, tuple(shapes), (), network.blocks)
    if network.is_plain:
        shape = shape_of_layers(network.name, shapes)
    shortcuts = real_shortcuts(network)
    return FloatNetwork(
        shape,
        tuple(weight.astype(np.float32) for weight, _ in parameters),
        tuple(bias.astype(np.float32) for _, bias in parameters),
        frozenset(layer.shape.name for layer in network.layers if not layer.trained),
        shortcuts=tuple(None if s is None else s.astype(np.float32) for s in shortcuts)
        if any(s is not None for s in shortcuts) else (),
    )  # fmt: skip
