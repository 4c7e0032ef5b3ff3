"""The float network: it is the teacher, and float training trains it.

It and ``sw.retrain.networks.student.QuantisedNetwork`` both take uint8 RGB pictures and return the real
activations of the layers asked for, so that losses, trainer and teacher need not know which one they have.
"""

from collections.abc import Collection

import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork

Outputs = dict[int, torch.Tensor]
"""Real activations by layer index, float32 [N, C, H, W], after the pooling if the layer has one."""


class FloatConvs(nn.Module):
    """The float network as a module.

    Parameters: the network and its preprocessing.
    """

    def __init__(self, network: FloatNetwork, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.shape = network.shape
        self.preprocessing = preprocessing
        self.weights = nn.ParameterList(
            nn.Parameter(torch.from_numpy(w.copy()).contiguous(memory_format=LAYOUT)) for w in network.weights
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.from_numpy(b.copy())) for b in network.biases)

    def forward(self, pictures: torch.Tensor, wanted: Collection[int]) -> Outputs:
        """Like ``QuantisedNetwork.forward``."""
        x = real_pixels(pictures, self.preprocessing).contiguous(memory_format=LAYOUT)
        found: Outputs = {}
        for index, layer in enumerate(self.shape.layers):
            x = functional.conv2d(x, self.weights[index], self.biases[index], padding=1).relu()
            if layer.pool:
                x = functional.max_pool2d(x, 2)
            if index in wanted:
                found[index] = x
            if index == max(wanted):
                break
        return found

    def export(self) -> FloatNetwork:
        return FloatNetwork(
            self.shape,
            tuple(w.detach().cpu().contiguous().numpy().copy() for w in self.weights),
            tuple(b.detach().cpu().numpy().copy() for b in self.biases),
        )


def real_pixels(pictures: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Turns uint8 RGB [N, H, W, 3] into the float network's input, float32 [N, 3, H, W]."""
    x = pictures[:, :, :, list(preprocessing.channels)].permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=x.device).view(1, -1, 1, 1)
    scale = torch.tensor(preprocessing.scale, dtype=torch.float32, device=x.device).view(1, -1, 1, 1)
    return (x - mean) * scale
