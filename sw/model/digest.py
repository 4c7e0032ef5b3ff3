"""A network's hash: what tells one from another, whatever file it is in."""

import hashlib
import json

import numpy as np

from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import ConvShape


def network_digest(network: CompressedNetwork) -> str:
    """SHA-256 of every integer that decides the features, and of nothing else: not of names and scales."""
    found = hashlib.sha256()
    found.update(json.dumps([network.activation_bits, network.pad.tolist()]).encode())
    if network.blocks:
        found.update(b"blocks")
    for layer in network.layers:
        shape = layer.shape
        found.update(json.dumps([shape.in_channels, shape.out_channels, shape.pool, layer.shift]).encode())
        if not shape.is_plain:
            found.update(json.dumps([*graph_numbers(shape), layer.shortcut_shift]).encode())
        shortcut = ((layer.shortcut_alpha, "<u1"), (layer.shortcut_sign, "<i1"))
        for array, kind in ((layer.mask, "<i1"), (layer.alpha, "<u1"), (layer.bias, "<i2"), *shortcut):
            if array is not None:
                found.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return found.hexdigest()


def graph_numbers(shape: ConvShape) -> list[object]:
    """What decides the features of a layer that is not plain, besides its integers."""
    shortcut = shape.shortcut and [shape.shortcut.source, shape.shortcut.projection, shape.shortcut.stride]
    return [shape.pool_size, shape.stride, shape.kernel, shape.source, shortcut]
