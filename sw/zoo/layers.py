"""The layers that networks are written in: a network is a function that takes ``Layers`` and an image and
yields its maps by name, one after another. Whoever needs no more maps takes none, and nothing behind is
computed.

The same function is run with weights and, on shapes alone, without (``kestrel.sw.zoo.parameters``).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Maps = Iterator[tuple[str, Tensor]]
"""Names of maps and the maps, float32 [N, C, H, W], in the order in which they are computed."""

@dataclass(frozen=True)
class Window:
    """What one output of a layer sees of its map: of a convolution; of a dense layer all of it, kernel 0."""

    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


Observer = Callable[[str, Tensor, Window], None]
"""Called with the key of a convolution or dense layer, the map that it reads, and its window."""

NORM_EPSILON = 1e-5


class Layers:
    """Convolutions, batch norms and dense layers with the weights under their keys, as torchvision names
    them: ``KEY.weight``, ``KEY.bias``, ``KEY.running_mean``, ``KEY.running_var``.

    A key that is used twice means shared weights. ``observer`` sees the input of every layer with weights.
    """

    def __init__(self, weights: Mapping[str, Tensor], observer: Observer | None = None) -> None:
        self._weights = weights
        self._observer = observer

    def get(self, key: str, shape: tuple[int, ...], kind: str) -> Tensor:  # noqa: ARG002 (kind: for Tracer)
        """The array under ``key``."""
        return self._weights[key]

    def conv(self, key: str, x: Tensor, channels: int, kernel: int, stride: int = 1, padding: int = 0, *,
             groups: int = 1, bias: bool = True) -> Tensor:
        """A convolution of square kernels."""
        if self._observer is not None:
            self._observer(key, x, Window(kernel, stride, padding, groups))
        weight = self.get(f"{key}.weight", (channels, x.shape[1] // groups, kernel, kernel), "convolution")
        added = self.get(f"{key}.bias", (channels,), "bias") if bias else None
        return functional.conv2d(x, weight, added, stride, padding, groups=groups)

    def norm(self, key: str, x: Tensor, epsilon: float = NORM_EPSILON) -> Tensor:
        """Batch norm with the statistics that were learned."""
        size = (x.shape[1],)
        factor, added, mean, variance = (self.get(f"{key}.{part}", size, "batch norm") for part in NORM_PARTS)
        return functional.batch_norm(x, mean, variance, factor, added, eps=epsilon)

    def dense(self, key: str, x: Tensor, outputs: int) -> Tensor:
        """A dense layer over all values of a map: [N, C, H, W] -> [N, outputs, 1, 1]."""
        if self._observer is not None:
            self._observer(key, x, Window(0))
        flat = x.flatten(1)
        weight = self.get(f"{key}.weight", (outputs, flat.shape[1]), "dense")
        bias = self.get(f"{key}.bias", (outputs,), "bias")
        return functional.linear(flat, weight, bias)[:, :, None, None]


NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
"""The arrays of a batch norm by what stands behind its key."""


def max_pool(x: Tensor, size: int = 3, stride: int = 2, padding: int = 0, *, ceil: bool = False) -> Tensor:
    """Maxima over windows."""
    return functional.max_pool2d(x, size, stride, padding, ceil_mode=ceil)


def mean_pool(x: Tensor) -> Tensor:
    """The mean of every channel, [N, C, 1, 1]."""
    return x.mean(dim=(2, 3), keepdim=True)


def relu(x: Tensor) -> Tensor:
    """In place where it is computed."""
    return torch.relu(x) if x.is_meta else torch.relu_(x)
