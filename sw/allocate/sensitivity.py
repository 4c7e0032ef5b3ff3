"""How much each layer's masks disturb the network, depending on their width."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from kestrel.sw.allocate.search import Plan
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, silent
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor

PIXELS_AT_ONCE = 1 << 16
"""The number of pixels of the pictures that are computed together; their maps in all layers are kept."""

Parameters = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Sensitivity:
    """The effect of one layer's width, as a mean over the pictures, around ``base`` (None: all layers float).

    ``at_base`` is the distortion of the base itself: 1 - cosine of its pooled descriptor and the float
    network's. ``descriptor`` gives for each layer, by mask bits, the distortion when only this layer is
    changed to that width. ``output`` gives the noise in the layer's own output, as power relative to the
    base's.
    """

    base: Plan | None
    at_base: float
    descriptor: tuple[dict[int, float], ...]
    output: tuple[dict[int, float], ...]

    def summands(self) -> tuple[dict[int, float], ...]:
        """The distortions in a form whose sum over the layers predicts a plan's: the changes are added up."""
        return tuple(
            {width: value - (self.at_base if position else 0.0) for width, value in layer.items()}
            for position, layer in enumerate(self.descriptor)
        )


def distortion(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 - cosine of unit vectors [N, D], float64 [N]: half the squared difference, which loses no digits."""
    return (found.double() - wanted.double()).square().sum(dim=1) / 2


class Disturbance:
    """The network with fitted weights in some layers, in floating point, compared with the original network.

    This leaves out the rounding of scalars and activations, which hardly depends on the widths. Raises
    InputError for a bad picture.
    """

    def __init__(self, fits: LayerFits, pictures: CalibrationPictures, preprocessing: Preprocessing) -> None:
        self._fits = fits
        self._layers = fits.network.shape.layers
        self._float = [(torch.from_numpy(w), torch.from_numpy(b))
                       for w, b in zip(fits.network.weights, fits.network.biases, strict=True)]
        self._pool = NipDescriptor()
        self.count = len(pictures.names)
        batch = max(1, PIXELS_AT_ONCE // (pictures.height * pictures.width))
        model = FloatModel(fits.network)
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for first in range(0, self.count, batch):
            numbers = range(first, min(first + batch, self.count))
            x = real_batch([pictures.load(n) for n in numbers], preprocessing)
            self._batches.append((x.contiguous(memory_format=LAYOUT), self._pool(model.run(x)[-1])))

    @torch.inference_mode()
    def measure(self, plan: Plan) -> float:
        """The mean distortion of the descriptors with these widths."""
        parameters = self._parameters(plan)
        total = 0.0
        for x, wanted in self._batches:
            total += float(distortion(self._pool(self._run(x, parameters, 0)), wanted).sum())
        return total / self.count

    @torch.inference_mode()
    def around(self, base: Plan | None, widths: Sequence[int], progress: Progress = silent) -> Sensitivity:
        """Measures every layer at every width, with all others as in ``base``. Layers before the measured one
        are not computed again."""
        parameters = self._float if base is None else self._parameters(base)
        descriptor = [dict.fromkeys(widths, 0.0) for _ in self._layers]
        output = [dict.fromkeys(widths, 0.0) for _ in self._layers]
        at_base = 0.0
        about = "sensitivity" if base is None else "sensitivity again"
        with progress(about, len(self._layers) * len(widths) * self.count) as advance:
            for first, wanted in self._batches:
                maps = [first]
                for layer, these in zip(self._layers, parameters, strict=True):
                    maps.append(_layer(layer, these, maps[-1]))
                at_this = float(distortion(self._pool(maps[-1]), wanted).sum()) / self.count
                at_base += at_this
                for position, layer in enumerate(self._layers):
                    for width in widths:
                        advance(len(first))
                        if base is not None and width == base[position]:
                            descriptor[position][width] += at_this
                            continue
                        x = _layer(layer, self._fitted(position, width), maps[position])
                        noise = _relative_noise(x, maps[position + 1])
                        output[position][width] += float(noise.sum()) / self.count
                        found = self._pool(self._run(x, parameters, position + 1))
                        descriptor[position][width] += float(distortion(found, wanted).sum()) / self.count
        return Sensitivity(base, at_base, tuple(descriptor), tuple(output))

    def _run(self, x: torch.Tensor, parameters: Sequence[Parameters], start: int) -> torch.Tensor:
        for layer, these in zip(self._layers[start:], parameters[start:], strict=True):
            x = _layer(layer, these, x)
        return x

    def _parameters(self, plan: Plan) -> list[Parameters]:
        return [self._fitted(position, width) for position, width in enumerate(plan)]

    def _fitted(self, position: int, width: int) -> Parameters:
        weight = torch.from_numpy(self._fits.get(position, width)[0].weights()).float()
        return weight, self._float[position][1]


def _layer(layer: ConvShape, parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
    x = functional.conv2d(x, *parameters, padding=1).relu_()
    return functional.max_pool2d(x, 2) if layer.pool else x


def _relative_noise(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The relative noise of maps [N, C, H, W], for each picture [N]."""
    noise = (found - wanted).square().sum(dim=(1, 2, 3)).double()
    return noise / wanted.square().sum(dim=(1, 2, 3)).double().clamp_min(torch.finfo(torch.float64).tiny)
