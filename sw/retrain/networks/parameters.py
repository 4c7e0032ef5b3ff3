"""Real weights and biases of a compressed network, from which training can start."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.compress import dequantise
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.weights import FloatNetwork

LEAST_LATENT = 0.1
"""The smallest size of a one-bit weight whose sign is not the float weight's, relative to the mean size."""


@dataclass(frozen=True)
class RealLayer:
    """A layer's real parameters: weight [C_out, C_in, k, k], bias [C_out] and, with a shortcut, its weights,
    [C_out, C_shortcut] of a projection or [C_out] of an identity."""

    weight: torch.Tensor
    bias: torch.Tensor
    shortcut: torch.Tensor | None = None


def network_shape(network: CompressedNetwork) -> NetworkShape:
    """The shape that the network's name stands for. Raises InputError if its layers differ from it."""
    shape = parse_network(network.name)
    layers = tuple(layer.shape for layer in network.layers)
    if (shape.layers, shape.blocks) != (layers, network.blocks):
        raise InputError(
            f"network {network.name}: its layers are not those of that name; "
            "allowed: a network made by compress"
        )
    return shape


def float_parameters(network: CompressedNetwork, weights: FloatNetwork) -> list[RealLayer]:
    """The float weights of each layer. Raises InputError if they do not fit the network."""
    count = len(network.layers)
    if len(weights.weights) != count:
        raise InputError(
            f"weights of {len(weights.weights)} layers; allowed: {count}, those of {network.name}"
        )
    found: list[RealLayer] = []
    for n, layer in enumerate(network.layers):
        weight, shortcut = weights.weights[n], weights.shortcut(n)
        _check_size(f"weights of {layer.shape.name}", weight, layer.mask)
        _check_size(f"shortcut of {layer.shape.name}", shortcut, layer.shortcut_alpha)
        found.append(_layer(weight, weights.biases[n], shortcut))
    return found


def _check_size(what: str, found: np.ndarray | None, wanted: np.ndarray | None) -> None:
    sizes = [None if array is None else list(array.shape) for array in (found, wanted)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{what}: {sizes[0] or 'none'}; allowed: {sizes[1] or 'none'}, the network's")


def _layer(weight: np.ndarray, bias: np.ndarray, shortcut: np.ndarray | None) -> RealLayer:
    return RealLayer(torch.from_numpy(weight), torch.from_numpy(bias),
                     None if shortcut is None else torch.from_numpy(shortcut))


def real_parameters(network: CompressedNetwork) -> list[RealLayer]:
    """The parameters of each layer in real units, exactly as its integers represent them, float64."""
    pairs = zip(dequantise.real_parameters(network), dequantise.real_shortcuts(network), strict=True)
    return [_layer(weight, bias, shortcut) for (weight, bias), shortcut in pairs]


def latent_parameters(
    network: CompressedNetwork, rule: str, weights: FloatNetwork | None = None
) -> list[RealLayer]:
    """The parameters of each layer from which ``rule`` makes the network's own kernels.

    For least squares these are ``real_parameters``; for ``vendor`` see ``vendor_weights``. A one-bit kernel
    stores only its signs and the mean of its sizes. With float ``weights``, taps that are small there or have
    the other sign are therefore made small, because they are the ones that may change sign; the mean of every
    kernel is kept. A 1x1 kernel is its real value by every rule.
    """
    found = []
    floats: Sequence[RealLayer | None] = [None] * len(network.layers)
    if weights is not None:
        floats = float_parameters(network, weights)
    for layer, real, other in zip(network.layers, real_parameters(network), floats, strict=True):
        weight = real.weight
        if layer.shape.kernel > 1 and layer.mask_bits == 1 and other is not None:
            weight = _sized_as(weight, other.weight.double())
        elif layer.shape.kernel > 1 and rule == "vendor":
            weight = vendor_weights(weight.reshape(-1, TAPS), layer.mask_bits).reshape(weight.shape)
        found.append(RealLayer(weight, real.bias, real.shortcut))
    return found


def _sized_as(weight: torch.Tensor, floats: torch.Tensor) -> torch.Tensor:
    alpha = weight.abs().mean(dim=(2, 3), keepdim=True)
    size = (floats * weight.sign()).clamp(min=0)
    size /= size.mean(dim=(2, 3), keepdim=True).clamp(min=1e-30)
    size = size.clamp(min=LEAST_LATENT)
    size /= size.mean(dim=(2, 3), keepdim=True)
    return weight.sign() * size * alpha


def vendor_weights(kernels: torch.Tensor, mask_bits: int) -> torch.Tensor:
    """Weights [K, 9] from which the vendor's rule makes ``kernels`` [K, 9], each a scalar times a mask.

    With two and three bits, that rule's scalar is the mean size (a quarter of it), and every tap of at least
    three quarters of the mean gets the largest level. Taps of the largest level can therefore be as large as
    the mean requires, and the others lie in the middle of their steps. With one bit, a kernel itself is such
    a set of weights. With four and five bits it is one if it has a tap of the largest level; otherwise the
    rule gives the nearest kernel that it can.
    """
    if mask_bits not in (2, 3):
        return kernels
    largest = kernels.abs().amax(dim=1, keepdim=True)
    # Relative to the largest tap, which gets the largest level: the levels below it are 1/4 and 1/2, or none.
    size = kernels.abs() / torch.where(largest > 0, largest, 1.0)
    top = size > 0.75
    below = torch.where(size > 0.375, 2.5 / 4, torch.where(size > 0.125, 1.5 / 4, 0.0)) * ~top
    # The mean size according to the rule is the weight of the largest level.
    share = (TAPS - below.sum(dim=1, keepdim=True)) / top.sum(dim=1, keepdim=True)
    return kernels.sign() * largest * torch.where(top, share, below)
