"""Real weights and biases to train from, of a compressed network."""

import numpy as np
import torch

from hw.spec import BIAS_FRACTION, InputError
from sw.compress.fold import image_scale
from sw.compressed import CompressedNetwork
from sw.network import NetworkShape, parse_network
from sw.preprocessing import find_preprocessing
from sw.weights import FloatNetwork

LEAST_LATENT = 0.1
"""Least size, in parts of the scalar, of a one-bit weight whose sign the float weight does not share."""


def network_shape(network: CompressedNetwork) -> NetworkShape:
    """The shape by the network's name. Raises InputError if its layers are not those."""
    shape = parse_network(network.name)
    if shape.layers != tuple(layer.shape for layer in network.layers):
        raise InputError(
            f"network {network.name}: its layers are not those of that name; "
            "allowed: a network made by compress"
        )
    return shape


def real_parameters(network: CompressedNetwork) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(weight, bias) of each layer in real units, exactly what its integers stand for, float64."""
    inputs = image_scale(find_preprocessing(network.preprocessing), network.activation_bits)
    scale, zero = inputs.scale, inputs.zero
    found = []
    for layer in network.layers:
        product = layer.alpha[:, :, None, None].astype(np.float64) * layer.mask * 2.0**-layer.shift
        weight = product * (layer.scale / scale)[:, None, None]
        at_zero = (product.sum(axis=(2, 3)) * zero).sum(axis=1)
        bias = (layer.bias / (1 << BIAS_FRACTION) + at_zero) * layer.scale
        found.append((torch.from_numpy(weight), torch.from_numpy(bias)))
        scale, zero = np.full(len(layer.bias), layer.scale), np.zeros(len(layer.bias))
    return found


def latent_parameters(
    network: CompressedNetwork, weights: FloatNetwork
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(weight, bias) as ``real_parameters``, but in one-bit layers with sizes from the float weights.

    A one-bit kernel tells only its signs and the mean of its sizes. Taps that are small in float, or of the
    other sign there, are those that may turn: they are made small, the mean of every kernel stays.
    """
    found = []
    stored = zip(network.layers, real_parameters(network), weights.weights, strict=True)
    for layer, (weight, bias), floats in stored:
        if layer.mask_bits > 1:
            found.append((weight, bias))
            continue
        alpha = weight.abs().mean(dim=(2, 3), keepdim=True)
        size = (torch.from_numpy(floats).double() * weight.sign()).clamp(min=0)
        size /= size.mean(dim=(2, 3), keepdim=True).clamp(min=1e-30)
        size = size.clamp(min=LEAST_LATENT)
        size /= size.mean(dim=(2, 3), keepdim=True)
        found.append((weight.sign() * size * alpha, bias))
    return found
