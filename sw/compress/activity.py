"""Share of zero and of saturated activations in the integer network. A layer whose outputs are all 0 or all
at the greatest value computes nothing, and a comparison of its outputs verifies nothing."""

from dataclasses import dataclass

import numpy as np
import torch

from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.pictures.images import first_map


@dataclass(frozen=True)
class Activity:
    """Outputs of a layer (behind the pooling, where there is one) on one picture: the share that is 0, the
    share that is the greatest integer, and the output channels that are 0 everywhere."""

    zero: float
    saturated: float
    dead_channels: int


def measure_activity(
    network: CompressedNetwork, preprocessing: Preprocessing, picture: np.ndarray
) -> tuple[Activity, ...]:
    """The activity of every layer on ``picture``, uint8 RGB [height, width, 3]."""
    pixels = first_map(picture, preprocessing, network.activation_bits, blocks=network.blocks)
    x = torch.from_numpy(pixels)[None]
    greatest = (1 << network.activation_bits) - 1
    return tuple(
        Activity(
            zero=float((y == 0).float().mean()),
            saturated=float((y == greatest).float().mean()),
            dead_channels=int((y.amax(dim=(0, 2, 3)) == 0).sum()),
        )
        for y in Reference(network).run(x)
    )
