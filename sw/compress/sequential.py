"""The rule ``sequential``: like ``output``, but one layer after another, each compensating for the errors of
the layers before it.

A layer of the float network computes w . x from its window x. In the integer network it sees another window
x', which carries the errors of all earlier layers. With H = mean x' x'^T and G = mean x' x^T, over windows of
calibration pictures at the same places, the real weights that approximate w . x best from x' are

    w' = argmin mean (w . x - w' . x')^2 + d |w - w'|^2 = (H + d)^-1 (G w + d w),

and masks and scalars are then fitted to w' under H, as in ``sw.compress.output_fit``. Thus errors do not add
up from layer to layer. Hubara et al. (2021) and Frantar et al. (2023) do the same for rounded weights: they
calibrate each layer on the outputs of the quantised layers before it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.widths import TAPS
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, Range, RangeHistogram, silent
from kestrel.sw.compress.fit import Fit, fit_masks
from kestrel.sw.compress.fold import FoldedLayer, fold_layer, image_scale, map_scale
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.output_fit import DAMPING, ChannelFit, sampled_windows
from kestrel.sw.compress.refine import Refine
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import quantise_pixels

PICTURES_MAX = 64
"""Pictures used, evenly spread. Their integer maps are kept: 3.2 MB each for 64 channels at 224x224."""


@dataclass(frozen=True)
class Calibrated:
    """A folded layer and the range it was folded with."""

    folded: FoldedLayer
    range: Range


class SequentialFit:
    """Fits, calibrates and folds a network's layers in their order.

    Raises InputError for bad pictures and for a layer that is zero on all of them.
    """

    def __init__(self, network: FloatNetwork, preprocessing: Preprocessing, activation_bits: int,
                 pictures: CalibrationPictures, percentile: float) -> None:
        self.network = network
        self.preprocessing = preprocessing
        self.activation_bits = activation_bits
        self.percentile = percentile
        self.pictures = pictures
        count = len(pictures.names)
        self._chosen = [n * count // min(count, PICTURES_MAX) for n in range(min(count, PICTURES_MAX))]
        self._model = FloatModel(network)

    def run(self, mask_bits: Sequence[int], progress: Progress = silent) -> list[Calibrated]:
        """All layers, fitted with ``mask_bits[n]`` bits for layer n."""
        first = LayerFits(self.network, self.preprocessing, self.pictures, "least-squares", progress)
        maps = [self._pixels(n) for n in self._chosen]
        inputs = image_scale(self.preprocessing, self.activation_bits)
        found: list[Calibrated] = []
        with progress("fit", len(mask_bits)) as advance:
            for position, bits in enumerate(mask_bits):
                weight = self.network.weights[position]
                if position == 0:
                    fit, refine = first.get(0, bits)
                else:
                    weight, fit, refine = self._fit(position, bits, maps, found[-1].folded.layer.scale)
                scale, zero = (torch.from_numpy(v.astype(np.float32)).view(1, -1, 1, 1)
                               for v in (inputs.scale, inputs.zero))
                measured = self._range(position, fit, ((x - zero) * scale for x in maps))
                folded = fold_layer(
                    self.network.shape.layers[position], weight, self.network.biases[position], fit, bits,
                    measured.cap, inputs, self.activation_bits, refine)
                found.append(Calibrated(folded, measured))
                inputs = map_scale(folded.layer)
                runner = Reference(self._alone(folded.layer, position))
                maps = [runner.last(x) for x in maps]
                advance(1)
        return found

    def _pixels(self, picture: int) -> torch.Tensor:
        pixels = quantise_pixels(self.pictures.load(picture), self.preprocessing, self.activation_bits)
        return torch.from_numpy(pixels)[None]

    def _fit(self, position: int, mask_bits: int, maps: list[torch.Tensor],
             scale: float) -> tuple[np.ndarray, Fit, Refine]:
        """The weights to aim for, float32 [C_out, C_in, 3, 3], and their fit."""
        inputs, pairs = self._moments(position, maps, scale)
        weight = corrected_weights(self.network.weights[position], inputs, pairs)
        channels = ChannelFit(inputs)
        return weight, channels.fit(weight, fit_masks(weight, mask_bits), mask_bits), channels

    def _moments(self, position: int, maps: list[torch.Tensor],
                 scale: float) -> tuple[np.ndarray, np.ndarray]:
        """H and G, float64 [9 C_in, 9 C_in]."""
        size = TAPS * self.network.shape.layers[position].in_channels
        inputs, pairs = torch.zeros(size, size), torch.zeros(size, size)
        for n, (picture, integers) in enumerate(zip(self._chosen, maps, strict=True)):
            x = sampled_windows(self._float_map(position, picture), n)
            seen = sampled_windows(integers * scale, n)
            inputs.addmm_(seen, seen.T, alpha=1 / seen.shape[1] / len(maps))
            pairs.addmm_(seen, x.T, alpha=1 / seen.shape[1] / len(maps))
        return inputs.double().numpy(), pairs.double().numpy()

    def _float_map(self, position: int, picture: int) -> torch.Tensor:
        """The input map of layer ``position`` in the float network. It is recomputed for each layer, so that
        memory stays bounded."""
        layers = self._model.layers(real_batch([self.pictures.load(picture)], self.preprocessing))
        for _ in range(position - 1):
            next(layers)
        return next(layers).output

    def _range(self, position: int, fit: Fit, maps: Iterable[torch.Tensor]) -> Range:
        """The range of the layer's activations with the fitted weights, from its real inputs."""
        weight = torch.from_numpy(fit.weights().astype(np.float32))
        bias = torch.from_numpy(self.network.biases[position])
        histogram = RangeHistogram()
        for x in maps:
            histogram.add(functional.conv2d(x, weight, bias, padding=1).relu_())
        name = self.network.shape.layers[position].name
        return histogram.range(self.percentile, name, self.pictures.source)

    def _alone(self, layer: CompressedLayer, position: int) -> CompressedNetwork:
        """The layer as a network of its own: behind the first, maps are padded with zeros."""
        pad = self.preprocessing.pad(self.activation_bits)
        if position:
            pad = np.zeros(layer.shape.in_channels, dtype=np.uint8)
        return CompressedNetwork(self.network.shape.name, self.activation_bits, self.preprocessing.name, pad,
                                 (layer,))


def corrected_weights(weight: np.ndarray, inputs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """w' of the module's docstring for weight [C_out, C_in, 3, 3], H and G: float32 of its shape."""
    w = weight.reshape(len(weight), -1).astype(np.float64).T
    damping = DAMPING * float(np.trace(inputs)) / len(inputs)
    if damping == 0:  # nothing reaches this layer
        return weight
    found = np.linalg.solve(inputs + damping * np.eye(len(inputs)), pairs @ w + damping * w)
    return found.T.reshape(weight.shape).astype(np.float32)
