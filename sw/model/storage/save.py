"""Float weights written as a file, with the key names by which they are read again."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import KIND_KEY, WEIGHTS
from kestrel.sw.model.graph import check_plain
from kestrel.sw.model.weights import FloatNetwork


def save_weights(network: FloatNetwork, path: Path) -> None:
    """Writes the float weights as safetensors with torchvision's key names. Raises InputError, also for a
    network that is no stack of plain layers."""
    check_plain(network.shape, "files of float weights")
    tensors = {}
    for index, weight, bias in zip(network.shape.features, network.weights, network.biases, strict=True):
        tensors[f"features.{index}.weight"] = np.ascontiguousarray(weight)
        tensors[f"features.{index}.bias"] = np.ascontiguousarray(bias)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={KIND_KEY: WEIGHTS}))
