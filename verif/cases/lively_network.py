"""Random networks with a varied output for any seed; apart from ``random_network``, as it needs torch."""

from collections.abc import Sequence

import numpy as np
import torch

from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.reference import Reference
from kestrel.verif.cases.random_network import random_network

LIVELY_VALUES = 9
"""The smallest number of different values in the last map."""


def lively_network(
    rng: np.random.Generator, shapes: Sequence[ConvShape], mask_bits: int, *, activation_bits: int = 8
) -> CompressedNetwork:
    """A ``random_network``, drawn again until its last map takes many values.

    Activations are positive, so that a channel's mean has the sign of the sum of its weights. If there are
    few channels, all of them may be 0 for every picture, and a comparison of zeros proves little.
    """
    while True:
        network = random_network(rng, shapes, mask_bits, activation_bits=activation_bits)
        x = rng.integers(0, 1 << activation_bits, (1, shapes[0].in_channels, 12, 12)).astype(np.uint8)
        if len(Reference(network).last(torch.from_numpy(x)).unique()) >= LIVELY_VALUES:
            return network
