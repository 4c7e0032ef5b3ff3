"""Layers behind a frozen network, as they are trained."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.network import ConvShape, NetworkShape
from kestrel.sw.model.weights import FloatNetwork


class NormalisedConv(nn.Module):
    """A convolution that is followed by normalisation over the batch instead of a bias, ReLU, and pooling if
    the layer has one."""

    def __init__(self, shape: ConvShape) -> None:
        super().__init__()
        self.shape = shape
        self.conv = nn.Conv2d(shape.in_channels, shape.out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(shape.out_channels, momentum=0.03)
        self.conv.weight.data = self.conv.weight.data.contiguous(memory_format=LAYOUT)

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """Before the ReLU, float32 [N, C_out, H, W] of x [N, C_in, H, W]."""
        return self.norm(self.conv(x.contiguous(memory_format=LAYOUT)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.sums(x).relu()
        return functional.max_pool2d(y, 2) if self.shape.pool else y

    @torch.no_grad()
    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [C_out, C_in, 3, 3] and bias [C_out] that do the same with the normalisation's running
        figures."""
        assert self.norm.running_var is not None
        assert self.norm.running_mean is not None
        gain = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        return self.conv.weight * gain[:, None, None, None], self.norm.bias - self.norm.running_mean * gain


class DeepLayers(nn.Module):
    """The plain 3x3 layers of ``shape`` behind its first ``frozen``.

    ``scale``, [C], is what the map they read is multiplied by, so that its channels are of one size.
    """

    def __init__(self, shape: NetworkShape, frozen: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(NormalisedConv(layer) for layer in shape.layers[frozen:])
        self.scale = nn.Buffer(torch.ones(shape.layers[frozen].in_channels))

    def convs(self) -> list[NormalisedConv]:
        """``layers``, with their type."""
        return [layer for layer in self.layers if isinstance(layer, NormalisedConv)]

    def scaled(self, front: torch.Tensor) -> torch.Tensor:
        """What the first layer reads, of the frozen network's map [N, C, H, W]."""
        return front * self.scale[:, None, None]

    def network(self, shape: NetworkShape, frozen: FloatNetwork) -> FloatNetwork:
        """The whole network: the frozen layers and these, folded."""
        folded = [layer.folded() for layer in self.convs()]
        folded[0] = (folded[0][0] * self.scale[:, None, None], folded[0][1])
        return FloatNetwork(shape, (*frozen.weights, *_arrays([weight for weight, _ in folded])),
                            (*frozen.biases, *_arrays([bias for _, bias in folded])))


def _arrays(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy().copy() for tensor in tensors]
