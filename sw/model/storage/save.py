"""Float weights written as a file, with the key names by which they are read again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import KIND_KEY, WEIGHTS
from kestrel.sw.model.blocks import stem_kernel
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.residual_networks import RESIDUAL_FAMILIES
from kestrel.sw.model.storage.residual import identity_key, projection_key, reparam_key, resnet_key
from kestrel.sw.model.weights import FloatNetwork


def save_weights(network: FloatNetwork, path: Path) -> None:
    """Writes the float weights as safetensors: VGG's and ResNet's with torchvision's key names, RepVGG's with
    those of its authors for merged branches.

    A ResNet has biases in place of batch norm; that of a projection is 0, its layer's has it. A stem whose
    kernels on blocks are not those of a 7x7 convolution is stored on its 27 channels, and factors of
    identities only if they are not 1. Raises InputError, also for a network that has no name.
    """
    if network.shape.features:
        tensors = dict(_stack(network))
    elif _is_named(network.shape):
        tensors = dict(_repvgg(network) if network.shape.name.startswith("repvgg") else _resnet(network))
    else:
        raise InputError(f"network {network.shape.name}: layers that no key names are known for; allowed in "
                         f"files of float weights: VGG, {', '.join(RESIDUAL_FAMILIES)}, with their cuts")
    content = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(content, metadata={KIND_KEY: WEIGHTS}))


def _is_named(shape: NetworkShape) -> bool:
    try:
        named = parse_network(shape.name)
    except InputError:
        return False
    return (named.layers, named.blocks) == (shape.layers, shape.blocks)


def _stack(network: FloatNetwork) -> Iterator[tuple[str, np.ndarray]]:
    for index, weight, bias in zip(network.shape.features, network.weights, network.biases, strict=True):
        yield f"features.{index}.weight", weight
        yield f"features.{index}.bias", bias


def _resnet(network: FloatNetwork) -> Iterator[tuple[str, np.ndarray]]:
    for number, layer in enumerate(network.shape.layers):
        if layer.shares is not None:
            continue
        weight, shortcut, key = network.weights[number], network.shortcut(number), resnet_key(layer)
        if number == 0:
            stem = stem_kernel(weight)
            weight = weight if stem is None else stem
        yield f"{key}.weight", weight
        yield f"{key}.bias", network.biases[number]
        if shortcut is None:
            continue
        if layer.shortcut is not None and layer.shortcut.projection:
            yield f"{projection_key(layer)}.weight", shortcut[:, :, None, None]
            yield f"{projection_key(layer)}.bias", np.zeros_like(network.biases[number])
        elif (shortcut != 1).any():
            yield identity_key(layer), shortcut


def _repvgg(network: FloatNetwork) -> Iterator[tuple[str, np.ndarray]]:
    for layer, weight, bias in zip(network.shape.layers, network.weights, network.biases, strict=True):
        yield f"{reparam_key(layer)}.weight", weight
        yield f"{reparam_key(layer)}.bias", bias
