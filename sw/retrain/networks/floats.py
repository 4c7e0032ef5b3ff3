"""The float network: it is the teacher, and float training trains it.

It and ``sw.retrain.networks.student.QuantisedNetwork`` both take uint8 RGB pictures and return the real
activations of the layers asked for, so that losses, trainer and teacher need not know which one they have.
"""

from collections.abc import Collection

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.model.blocks import STEM_SIZE, blocks_kernel, blocks_of
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.graph import last_readers
from kestrel.sw.model.network import IMAGE, IMAGE_CHANNELS, ConvShape, Shortcut, source_of
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork

Outputs = dict[int, torch.Tensor]
"""Real activations by layer index, float32 [N, C, H, W], after the pooling if the layer has one."""


class FloatConv(nn.Module):
    """A layer's float parameters: ``weight`` [C_out, C_in, k, k], ``bias`` [C_out], and the weights of its
    shortcut, [C_out, C_shortcut] of a projection. The factors of an identity, [C_out], are not trained.

    ``taps``, of a weight's shape or smaller, says which taps there are: the others stay as they are.
    """

    shortcut: nn.Parameter | None

    def __init__(
        self,
        shape: ConvShape,
        weight: np.ndarray,
        bias: np.ndarray,
        shortcut: np.ndarray | None,
        taps: np.ndarray | None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.from_numpy(weight.copy()).contiguous(memory_format=LAYOUT))
        self.bias = nn.Parameter(torch.from_numpy(bias.copy()))
        self.shortcut = None
        if shortcut is not None:
            trained = shape.shortcut is not None and shape.shortcut.projection
            self.shortcut = nn.Parameter(torch.from_numpy(shortcut.copy()), requires_grad=trained)
        if taps is not None:
            there = torch.from_numpy(taps)
            self.weight.register_hook(lambda grad: grad * there.to(grad.device))


class FloatConvs(nn.Module):
    """The float network as a module. Layers that share weights are one layer here.

    Parameters: the network and its preprocessing.

    Members: ``shape``, the network's; ``layers``, those that have weights of their own, in their order.
    """

    def __init__(self, network: FloatNetwork, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.shape = network.shape
        self.preprocessing = preprocessing
        shapes = network.shape.layers
        owners = [n for n, layer in enumerate(shapes) if layer.shares is None]
        self._places = {n: place for place, n in enumerate(owners)}
        # A stem on blocks stands for one of 7x7, which some of its taps are no part of.
        taps = None
        if network.shape.blocks:
            taps = blocks_kernel(np.ones((1, IMAGE_CHANNELS, STEM_SIZE, STEM_SIZE), np.float32))
        self.layers = nn.ModuleList(
            FloatConv(
                shapes[n], network.weights[n], network.biases[n], network.shortcut(n),
                None if n else taps,
            )
            for n in owners
        )  # fmt: skip

    def convs(self) -> list[FloatConv]:
        """``layers``, with their type."""
        return [layer for layer in self.layers if isinstance(layer, FloatConv)]

    def _conv(self, number: int) -> FloatConv:
        """The layer that has the weights of layer ``number`` of the network."""
        shares = self.shape.layers[number].shares
        found = self.layers[self._places[number if shares is None else shares]]
        assert isinstance(found, FloatConv)
        return found

    def forward(self, pictures: torch.Tensor, wanted: Collection[int]) -> Outputs:
        """Like ``QuantisedNetwork.forward``."""
        x = real_pixels(pictures, self.preprocessing)
        if self.shape.blocks:
            x = blocks_of(x, torch.zeros(IMAGE_CHANNELS, device=x.device))
        maps = {IMAGE: x.contiguous(memory_format=LAYOUT)}
        shapes = self.shape.layers
        readers = last_readers(shapes)
        found: Outputs = {}
        for number, shape in enumerate(shapes[: max(wanted) + 1]):
            conv, source = self._conv(number), maps[source_of(shapes, number)]
            x = _convolve(source, conv.weight, conv.bias, shape.stride)
            if shape.shortcut is not None:
                assert conv.shortcut is not None, "a layer with a shortcut has its weights"
                x = x + _shortcut_sums(maps[shape.shortcut.source], conv.shortcut, shape.shortcut)
            x = x.relu()
            if shape.pool:
                x = functional.max_pool2d(x, shape.pool_size, 2, shape.pool_size // 3)
            maps[number] = x
            if number in wanted:
                found[number] = x
            for index in [n for n in maps if n == IMAGE or readers[n] <= number]:
                del maps[index]
        return found

    def export(self) -> FloatNetwork:
        convs = [self._conv(number) for number in range(len(self.shape.layers))]
        shortcuts = tuple(None if conv.shortcut is None else _array(conv.shortcut) for conv in convs)
        return FloatNetwork(
            self.shape,
            tuple(_array(conv.weight) for conv in convs),
            tuple(_array(conv.bias) for conv in convs),
            shortcuts=shortcuts if any(s is not None for s in shortcuts) else (),
        )


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int) -> torch.Tensor:
    if weight.shape[2] == 1:  # without a stride: see arithmetic.py on the library's gradient
        x, stride = x[:, :, ::stride, ::stride].contiguous(memory_format=LAYOUT), 1
    return functional.conv2d(x, weight, bias, stride, padding=weight.shape[2] // 2)


def _shortcut_sums(x: torch.Tensor, weight: torch.Tensor, shortcut: Shortcut) -> torch.Tensor:
    """What a shortcut adds to a layer's sums."""
    if shortcut.projection:
        return _convolve(x, weight[:, :, None, None], None, shortcut.stride)
    return x * weight.view(1, -1, 1, 1)


def _array(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().contiguous().numpy().copy()


def real_pixels(pictures: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Turns uint8 RGB [N, H, W, 3] into the float network's input, float32 [N, 3, H, W]."""
    x = pictures[:, :, :, list(preprocessing.channels)].permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=x.device).view(1, -1, 1, 1)
    scale = torch.tensor(preprocessing.scale, dtype=torch.float32, device=x.device).view(1, -1, 1, 1)
    return (x - mean) * scale
