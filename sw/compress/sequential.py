"""The rule ``sequential``: like ``output``, but one layer after another, each compensating for the errors of
the layers before it.

A layer of the float network computes w . x from its window x. In the integer network it sees another window
x', which carries the errors of all earlier layers. With H = mean x' x'^T and G = mean x' x^T, over windows of
calibration pictures at the same places, the real weights that approximate w . x best from x' are

    w' = argmin mean (w . x - w' . x')^2 + d |w - w'|^2 = (H + d)^-1 (G w + d w),

and masks and scalars are then fitted to w' under H, as in ``sw.compress.output_fit``. Thus errors do not add
up from layer to layer.

A shortcut adds c to the float layer's sum and c', computed from the integers' map, to that of the integers.
The convolution is then fitted to w . x + c - c': with the mean of x' (c - c')^T added to G w, it makes up for
what the shortcut's map has lost, too.

Hubara et al. (2021) and Frantar et al. (2023) do the same for rounded weights: they calibrate each layer on
the outputs of the quantised layers before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, Range, RangeHistogram, silent
from kestrel.sw.compress.fit import FIT_RULES, SEQUENTIAL_RULE, Fit, fit_masks
from kestrel.sw.compress.fold import (
    FoldedLayer,
    InputScale,
    ShortcutInput,
    compressed_network,
    fold_layer,
    image_scale,
    map_scale,
)
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.output_fit import DAMPING, ChannelFit, sampled_sums, sampled_windows
from kestrel.sw.compress.refine import Refine, keep_masks
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.float_network import FloatModel, LayerOutput, real_batch, shortcut_sums
from kestrel.sw.model.graph import last_readers
from kestrel.sw.model.network import IMAGE, source_of
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import first_map

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
        self._runs: dict[int, Iterator[tuple[int, LayerOutput]]] = {}
        sharing = [layer.name for layer in network.shape.layers if layer.shares is not None]
        if sharing:
            others = ", ".join(name for name in FIT_RULES if name != SEQUENTIAL_RULE)
            raise InputError(f"fit {SEQUENTIAL_RULE}: layer {sharing[0]} of {network.shape.name} shares the "
                             "integers of an earlier one, which would have to wait for it; "
                             f"allowed here: {others}")

    def run(self, mask_bits: Sequence[int], progress: Progress = silent,
            scalar_bits: Sequence[int] | None = None) -> list[Calibrated]:
        """All layers, layer n with ``mask_bits[n]`` bits a mask and ``scalar_bits[n]`` a scalar, 8 by
        default."""
        widths = scalar_bits or [SCALAR_BITS] * len(mask_bits)
        first = LayerFits(self.network, self.preprocessing, self.pictures, "least-squares", progress)
        maps: list[dict[int, torch.Tensor]] = [{IMAGE: self._pixels(n)} for n in self._chosen]
        readers = last_readers(self.network.shape.layers)
        found: list[Calibrated] = []
        with progress("fit", len(mask_bits)) as advance:
            for position, bits in enumerate(zip(mask_bits, widths, strict=True)):
                found.append(self._layer(position, bits, maps, found, first))
                runner = Reference(self._network([f.folded.layer for f in found]))
                for kept in maps:
                    kept[position] = runner.output(position, kept)
                    for index in [n for n in kept if n == IMAGE or readers[n] <= position]:
                        if index != position or position == len(mask_bits) - 1:
                            del kept[index]
                advance(1)
        return found

    def _layer(self, position: int, bits: tuple[int, int], maps: Sequence[Mapping[int, torch.Tensor]],
               found: Sequence[Calibrated], first: LayerFits) -> Calibrated:
        """The layer behind ``found``, from the integers' maps of every picture. bits: of a mask and a
        scalar."""
        shapes = self.network.shape.layers
        shape, source = shapes[position], source_of(shapes, position)
        inputs = image_scale(self.preprocessing, self.activation_bits, blocks=self.network.shape.blocks)
        if source != IMAGE:
            inputs = map_scale(found[source].folded.layer)
        weight = self.network.shortcut(position)
        shortcut, added = None, [None] * len(maps)
        if shape.shortcut is not None and weight is not None:
            given = found[shape.shortcut.source].folded.layer
            shortcut = ShortcutInput(weight.astype(np.float64), given.scale)
            added = [shortcut_sums(kept[shape.shortcut.source] * shortcut.scale, torch.from_numpy(weight),
                                   shape.shortcut) for kept in maps]
        sources = [kept[source] for kept in maps]
        weight = self.network.weights[position]
        if position == 0:
            fit, refine = first.get(0, *bits)
        else:
            weight, fit, refine = self._fit(position, bits, sources, added, float(inputs.scale[0]))
        measured = self._range(position, fit, inputs, zip(sources, added, strict=True))
        folded = fold_layer(shape, weight, self.network.biases[position], fit, bits[0], measured.cap, inputs,
                            self.activation_bits, refine, shortcut)
        return Calibrated(folded, measured)

    def _pixels(self, picture: int) -> torch.Tensor:
        pixels = first_map(self.pictures.load(picture), self.preprocessing, self.activation_bits,
                           blocks=self.network.shape.blocks)
        return torch.from_numpy(pixels)[None]

    def _fit(self, position: int, bits: tuple[int, int], maps: Sequence[torch.Tensor],
             added: Sequence[torch.Tensor | None], scale: float) -> tuple[np.ndarray, Fit, Refine]:
        """The weights to aim for, float32 [C_out, C_in, k, k], and their fit. added: what the shortcut adds
        in the integer network, in real units."""
        inputs, pairs, rest = self._moments(position, maps, added, scale)
        weight = corrected_weights(self.network.weights[position], inputs, pairs, rest)
        mask_bits, scalar_bits = bits
        if weight.shape[2] == 1:
            return weight, fit_masks(weight, mask_bits, scalar_bits=scalar_bits), keep_masks
        channels = ChannelFit(inputs)
        return weight, channels.fit(weight, fit_masks(weight, mask_bits), mask_bits, scalar_bits), channels

    def _moments(self, position: int, maps: Sequence[torch.Tensor], added: Sequence[torch.Tensor | None],
                 scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """H and G, float64 [9 C_in, 9 C_in], and with a shortcut the mean of x' (c - c')^T, [9 C_in,
        C_out]."""
        shape = self.network.shape.layers[position]
        size = shape.kernel**2 * shape.in_channels
        inputs, pairs, rest = torch.zeros(size, size), torch.zeros(size, size), None
        for n, (picture, integers, given) in enumerate(zip(self._chosen, maps, added, strict=True)):
            source, sums = self._float_maps(position, picture)
            x = sampled_windows(source, n, shape)
            seen = sampled_windows(integers * scale, n, shape)
            inputs.addmm_(seen, seen.T, alpha=1 / seen.shape[1] / len(maps))
            pairs.addmm_(seen, x.T, alpha=1 / seen.shape[1] / len(maps))
            if sums is not None and given is not None:
                lost = sampled_sums(sums - given, n)
                rest = torch.zeros(size, len(lost)) if rest is None else rest
                rest.addmm_(seen, lost.T, alpha=1 / seen.shape[1] / len(maps))
        residual = None if rest is None else rest.double().numpy()
        return inputs.double().numpy(), pairs.double().numpy(), residual

    def _float_maps(self, position: int, picture: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The map that layer ``position`` reads in the float network, and what its shortcut adds.

        In a plain stack it is recomputed for each layer, so that memory stays bounded: the maps of its first
        layers have the size of the picture. In other networks, which have smaller ones but are deeper, the
        run over each picture stays open from layer to layer.
        """
        shapes = self.network.shape.layers
        if all(shape.is_plain for shape in shapes):
            return next(islice(self._float_run(picture), position - 1, None)).output, None
        if picture not in self._runs:
            self._runs[picture] = enumerate(self._float_run(picture))
        result = next(step for number, step in self._runs[picture] if number == position)
        weight = self.network.shortcut(position)
        if result.shortcut is None or weight is None:
            return result.source, None
        sums = shortcut_sums(result.shortcut, torch.from_numpy(weight), shapes[position].shortcut)
        return result.source, sums

    def _float_run(self, picture: int) -> Iterator[LayerOutput]:
        return self._model.layers(real_batch([self.pictures.load(picture)], self.preprocessing))

    def _range(self, position: int, fit: Fit, inputs: InputScale,
               maps: Iterable[tuple[torch.Tensor, torch.Tensor | None]]) -> Range:
        """The range of the layer's activations with the fitted weights, from its integer inputs and from what
        the shortcut adds to each."""
        weight = torch.from_numpy(fit.weights().astype(np.float32))
        bias = torch.from_numpy(self.network.biases[position])
        scale, zero = (torch.from_numpy(v.astype(np.float32)).view(1, -1, 1, 1)
                       for v in (inputs.scale, inputs.zero))
        shape = self.network.shape.layers[position]
        histogram = RangeHistogram()
        for integers, added in maps:
            x = (integers - zero) * scale
            total = functional.conv2d(x, weight, bias, shape.stride, padding=shape.kernel // 2)
            histogram.add((total if added is None else total + added).relu_())
        return histogram.range(self.percentile, shape.name, self.pictures.source)

    def _network(self, layers: Sequence[CompressedLayer]) -> CompressedNetwork:
        """The first layers of the network."""
        return compressed_network(self.network.shape, layers, self.preprocessing, self.activation_bits)


def corrected_weights(weight: np.ndarray, inputs: np.ndarray, pairs: np.ndarray,
                      rest: np.ndarray | None = None) -> np.ndarray:
    """w' of the module's docstring for weight [C_out, C_in, k, k], H, G and, with a shortcut, the mean of
    x' (c - c')^T: float32 of the weight's shape."""
    w = weight.reshape(len(weight), -1).astype(np.float64).T
    damping = DAMPING * float(np.trace(inputs)) / len(inputs)
    if damping == 0:  # nothing reaches this layer
        return weight
    right = pairs @ w + damping * w
    if rest is not None:
        right += rest
    found = np.linalg.solve(inputs + damping * np.eye(len(inputs)), right)
    return found.T.reshape(weight.shape).astype(np.float32)
