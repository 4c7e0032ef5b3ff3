"""The float network, in torch, with which the integer network is compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import NetworkShape
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.weights import FloatNetwork


@dataclass(frozen=True)
class LayerOutput:
    """The result of one layer: ``relu`` before the pooling and ``output`` after it (the same if the layer
    does not pool), both float32 [N, C_out, H, W]."""

    relu: torch.Tensor
    output: torch.Tensor


def check_image_size(shape: NetworkShape, height: int, width: int) -> None:
    """Raises InputError if the poolings leave nothing of an image of ``height`` x ``width``."""
    smallest = 1 << sum(layer.pool for layer in shape.layers)
    if min(height, width) < smallest:
        raise InputError(f"image size {height} x {width} is too small for {shape.name}; "
                         f"allowed: at least {smallest} x {smallest}")


class FloatModel:
    """Convolution (3x3, zero padding), ReLU and pooling of a float network, layer by layer.

    ``run`` takes the real input, see ``Preprocessing.real_input``. A zero of that input corresponds to the
    mean pixel, which is why the integer network pads the image with the mean.
    """

    def __init__(self, network: FloatNetwork) -> None:
        self.shape = network.shape
        self._parameters = [(torch.from_numpy(w), torch.from_numpy(b))
                            for w, b in zip(network.weights, network.biases, strict=True)]

    def layers(self, x: torch.Tensor) -> Iterator[LayerOutput]:
        """Yields every layer's output for x, float32 [N, C, H, W]. Raises InputError if x is too small."""
        check_image_size(self.shape, x.shape[2], x.shape[3])
        for layer, (weight, bias) in zip(self.shape.layers, self._parameters, strict=True):
            with torch.inference_mode():
                relu = functional.conv2d(x, weight, bias, padding=1).relu_()
                x = functional.max_pool2d(relu, 2) if layer.pool else relu
            yield LayerOutput(relu, x)

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Every layer's output after the pooling, each float32 [N, C_out, H, W]."""
        return [result.output for result in self.layers(x)]


def real_batch(pictures: list[np.ndarray], preprocessing: Preprocessing) -> torch.Tensor:
    """Turns uint8 RGB pictures [H, W, 3] of one size into the float network's input, float32 [N, 3, H, W]."""
    return torch.from_numpy(np.stack([preprocessing.real_input(rgb) for rgb in pictures]))
