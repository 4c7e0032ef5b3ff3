"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016): fire modules, and a convolution for a classifier."""

from collections.abc import Callable

import torch
from torch import Tensor

from kestrel.sw.zoo.layers import Layers, Maps, max_pool, relu

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Channels of the squeeze and of each expand convolution, fire2 to fire9."""


def squeezenet(first: tuple[int, int], pools: tuple[int, ...],
               padding: int) -> Callable[[Layers, Tensor], Maps]:
    """The network with ``first`` channels and kernel in its first convolution, a pooling before the fire
    modules numbered ``pools``, and so much padding of the classifier."""

    def forward(layers: Layers, x: Tensor) -> Maps:
        """conv1 (behind the pooling), fire2 to fire9, classifier."""
        x = max_pool(relu(layers.conv("features.0", x, first[0], first[1], 2)), ceil=True)
        yield "conv1", x
        feature = 3  # convolution, ReLU, pooling
        for number, (squeezed, expanded) in enumerate(FIRES, start=2):
            if number in pools:
                x = max_pool(x, ceil=True)
                feature += 1
            x = _fire(layers, f"features.{feature}", x, squeezed, expanded)
            feature += 1
            yield f"fire{number}", x
        yield "classifier", relu(layers.conv("classifier.1", x, 1000, 1, padding=padding))

    return forward


def _fire(layers: Layers, key: str, x: Tensor, squeezed: int, expanded: int) -> Tensor:
    x = relu(layers.conv(f"{key}.squeeze", x, squeezed, 1))
    return torch.cat([relu(layers.conv(f"{key}.expand1x1", x, expanded, 1)),
                      relu(layers.conv(f"{key}.expand3x3", x, expanded, 3, padding=1))], dim=1)


# The published network pads its classifier, which torchvision's does not.
VERSION_1_0 = squeezenet((96, 7), (5, 9), padding=1)
VERSION_1_1 = squeezenet((64, 3), (4, 6), padding=0)
