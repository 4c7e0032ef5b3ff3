"""Masks by the rule ``sequential`` for networks that the engine does not run: layer after layer, each fitted
to what the float layer puts out, from the maps that the layers coded before it give
(``kestrel.sw.compress.sequential``, without activations in integers). Layers whose kernels are not 3x3 aim
for the same weights and are quantised by Lloyd-Max. """

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from kestrel.sw.codecs import masks, scalar
from kestrel.sw.codecs.model_file import decode_array
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.compress.fit import fit_masks
from kestrel.sw.compress.output_fit import WINDOWS, ChannelFit
from kestrel.sw.compress.sequential import corrected_weights
from kestrel.sw.model.float_network import real_batch
from kestrel.sw.study.codecs import Codec
from kestrel.sw.study.coded import KERNELS, Coded, array_streams, code_streams
from kestrel.sw.zoo.layers import Layers, Window
from kestrel.sw.zoo.networks import Architecture
from kestrel.sw.zoo.parameters import Outline
from kestrel.sw.zoo.weights import Weights, tensors


class _SeenError(Exception):
    """The layer's input has been seen; nothing behind it needs to run."""


def code_sequential(network: Architecture, known: Outline, cuts: tuple[str, ...], weights: Weights,
                    codec: Codec, codings: tuple[str, ...], pictures: CalibrationPictures) -> Coded:
    """As ``kestrel.sw.study.coded.code_network``, fitted on ``pictures``."""
    bits, others = int(codec.options["bits"]), int(codec.options["others"])
    parameters = known.upto(cuts[-1])
    images = [real_batch([pictures.load(n)], network.preprocessing) for n in range(len(pictures.names))]
    fitted: dict[str, masks.Kernels] = {}
    aims: dict[str, np.ndarray] = {}
    floats = tensors(weights)
    now = dict(floats)
    for found in parameters:
        if found.kind not in KERNELS:
            continue
        layer = found.key.removesuffix(".weight")
        aims[found.key], moment = _aim(network, layer, weights[found.key], floats, now, images)
        if moment is not None and found.shape[2:] == (3, 3):
            channels = ChannelFit(moment)
            fit = channels.fit(aims[found.key], fit_masks(aims[found.key], bits), bits)
            fitted[found.key] = masks.rounded(aims[found.key], fit, bits, channels)
            coded = fitted[found.key].weights()
        else:
            coded = decode_array(scalar.encode(aims[found.key], scalar.ScalarOptions(bits=others)))
        now[found.key] = torch.from_numpy(coded)

    def streams(coding: str) -> dict[str, bytes]:
        rest = scalar.ScalarOptions(bits=others, coding=coding)
        return array_streams(parameters, weights, codec, lambda key: masks.write(fitted[key], coding)
                             if key in fitted else scalar.encode(aims[key], rest))

    return code_streams(network, known, cuts, codec, codings, streams)


def _aim(network: Architecture, layer: str, weight: np.ndarray, floats: dict[str, torch.Tensor],
         coded: dict[str, torch.Tensor],
         images: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray | None]:
    """The weights to aim for, and H of the layer's input behind coded layers; the layer's own weights and
    None where channels are in groups or a dense layer's map is too large for H."""
    size = weight[0].size
    inputs, pairs = torch.zeros(size, size), torch.zeros(size, size)
    for number, image in enumerate(images):
        wanted, window = _seen(network, layer, floats, image)
        if window.groups > 1 or not window.kernel:
            return weight, None
        given, _ = _seen(network, layer, coded, image)
        x, y = (_windows(found, window, number) for found in (wanted, given))
        inputs.addmm_(y, y.T, alpha=1 / y.shape[1] / len(images))
        pairs.addmm_(y, x.T, alpha=1 / y.shape[1] / len(images))
    moment = inputs.double().numpy()
    return corrected_weights(weight, moment, pairs.double().numpy()), moment


def _seen(network: Architecture, layer: str, weights: dict[str, torch.Tensor],
          image: torch.Tensor) -> tuple[torch.Tensor, Window]:
    """The map that ``layer`` reads, and its window."""
    seen: list[tuple[torch.Tensor, Window]] = []

    def observe(key: str, x: torch.Tensor, window: Window) -> None:
        if key == layer:
            seen.append((x, window))
            raise _SeenError

    with torch.inference_mode():
        try:
            for _ in network.forward(Layers(weights, observe), image):
                pass
        except _SeenError:
            pass
    return seen[0]


def _windows(x: torch.Tensor, window: Window, number: int) -> torch.Tensor:
    """About WINDOWS columns [C k k, N] of a map, other ones for every picture, at the same places of maps of
    one size."""
    columns = functional.unfold(x, window.kernel, padding=window.padding, stride=window.stride)[0]
    step = max(1, columns.shape[1] // WINDOWS)
    return columns[:, number % step :: step]
