"""The float network, in torch, with which the integer network is compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.blocks import blocks_of
from kestrel.sw.model.graph import last_readers, smallest_image
from kestrel.sw.model.network import IMAGE, IMAGE_CHANNELS, ConvShape, NetworkShape, Shortcut, source_of
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork


@dataclass(frozen=True)
class LayerOutput:
    """One layer: ``relu`` before the pooling and ``output`` after it (the same if the layer does not pool),
    both float32 [N, C_out, H, W]; ``source``, the map that it reads, the network's input in blocks where the
    first layer reads it so; ``shortcut``, the map that its shortcut reads, if it has one."""

    relu: torch.Tensor
    output: torch.Tensor
    source: torch.Tensor
    shortcut: torch.Tensor | None = None


def check_image_size(shape: NetworkShape, height: int, width: int) -> None:
    """Raises InputError if the poolings leave nothing of an image of ``height`` x ``width``."""
    smallest = smallest_image(shape)
    if min(height, width) < smallest:
        raise InputError(f"image size {height} x {width} is too small for {shape.name}; "
                         f"allowed: at least {smallest} x {smallest}")


class FloatModel:
    """Convolution (zero padding), shortcut, ReLU and pooling of a float network, layer by layer.

    ``run`` takes the real input, see ``Preprocessing.real_input``. A zero of that input corresponds to the
    mean pixel, which is why the integer network pads the image with the mean.
    """

    def __init__(self, network: FloatNetwork) -> None:
        self.shape = network.shape
        self._parameters = [(torch.from_numpy(w), torch.from_numpy(b))
                            for w, b in zip(network.weights, network.biases, strict=True)]
        shortcuts = network.shortcuts or (None,) * len(self._parameters)
        self._shortcuts = [None if weight is None else torch.from_numpy(weight) for weight in shortcuts]
        self._last_readers = last_readers(network.shape.layers)

    def layers(self, x: torch.Tensor) -> Iterator[LayerOutput]:
        """Yields every layer's output for x, float32 [N, C, H, W]. Raises InputError if x is too small."""
        check_image_size(self.shape, x.shape[2], x.shape[3])
        maps = {IMAGE: first_real_map(self.shape, x)}
        for number, layer in enumerate(self.shape.layers):
            source = maps[source_of(self.shape.layers, number)]
            other = None if layer.shortcut is None else maps[layer.shortcut.source]
            with torch.inference_mode():
                relu = layer_relu(layer, source, *self._parameters[number], other, self._shortcuts[number])
                pooled = pooled_map(layer, relu)
            maps[number] = pooled
            for index in list(maps):
                if index == IMAGE or self._last_readers[index] <= number:
                    del maps[index]
            yield LayerOutput(relu, pooled, source, other)

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's output after the pooling, each float32 [N, C_out, H, W]."""
        return [result.output for result in self.layers(x)]


def layer_relu(
    layer: ConvShape, source: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
    other: torch.Tensor | None, shortcut: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """A layer up to its ReLU, float32 [N, C_out, H, W], from the map ``source`` and, with a shortcut, the map
    ``other`` and the shortcut's weights."""
    total = functional.conv2d(source, weight, bias, layer.stride, padding=layer.kernel // 2)
    if other is not None:
        assert shortcut is not None, "a layer with a shortcut has its weights"
        total += shortcut_sums(other, shortcut, layer.shortcut)
    return total.relu_()


def pooled_map(layer: ConvShape, relu: torch.Tensor) -> torch.Tensor:
    """What a layer makes of the map behind its ReLU: the maxima if it pools."""
    return functional.max_pool2d(relu, layer.pool_size, 2, layer.pool_size // 3) if layer.pool else relu


def shortcut_sums(x: torch.Tensor, weight: torch.Tensor, shortcut: Shortcut | None) -> torch.Tensor:
    """What a shortcut adds to a layer's sums, from its map x [N, C, H, W] and its weights, [C_out, C] of a
    projection or [C_out] of an identity."""
    assert shortcut is not None
    if shortcut.projection:
        return functional.conv2d(x, weight[:, :, None, None], stride=shortcut.stride)
    return x * weight.view(1, -1, 1, 1)


def first_real_map(shape: NetworkShape, x: torch.Tensor) -> torch.Tensor:
    """The map that the first layer reads, for the real input x, float32 [N, 3, H, W]."""
    return blocks_of(x, torch.zeros(IMAGE_CHANNELS)) if shape.blocks else x


def real_batch(pictures: list[np.ndarray], preprocessing: Preprocessing) -> torch.Tensor:
    """Turns uint8 RGB pictures [H, W, 3] of one size into the float network's input, float32 [N, 3, H, W]."""
    return torch.from_numpy(np.stack([preprocessing.real_input(rgb) for rgb in pictures]))
