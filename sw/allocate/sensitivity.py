"""How much each layer's masks disturb the network, depending on their width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.allocate.search import Plan, for_every_layer
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, silent
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.float_network import FloatModel, first_real_map, layer_relu, pooled_map, real_batch
from kestrel.sw.model.graph import last_readers, owners
from kestrel.sw.model.network import IMAGE, source_of
from kestrel.sw.model.preprocessing import Preprocessing
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor

PIXELS_AT_ONCE = 1 << 16
"""The number of pixels of the pictures that are computed together; their maps in all layers are kept."""

Parameters = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Sensitivity:
    """The effect of one layer's width, as a mean over the pictures, around ``base`` (None: all layers float).

    ``at_base`` is the distortion of the base itself: 1 - cosine of its pooled descriptor and the float
    network's. ``descriptor`` gives for each layer that has integers of its own, by mask bits, the distortion
    when only this layer, with all that share its integers, is changed to that width. ``output`` gives the
    noise in the layer's own output, as power relative to the base's.
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

    def __init__(self, fits: LayerFits, pictures: CalibrationPictures, preprocessing: Preprocessing,
                 scalar_bits: int = SCALAR_BITS) -> None:
        self._fits = fits
        self._scalar_bits = scalar_bits
        network = fits.network
        self._layers = network.shape.layers
        self._owners = owners(self._layers)
        self._users = [[n for n, layer in enumerate(self._layers) if owner in (n, layer.shares)]
                       for owner in self._owners]
        self._readers = last_readers(self._layers)
        self._float = [(torch.from_numpy(w), torch.from_numpy(b))
                       for w, b in zip(network.weights, network.biases, strict=True)]
        shortcuts = [network.shortcut(number) for number in range(len(self._layers))]
        self._shortcuts = [None if weight is None else torch.from_numpy(weight) for weight in shortcuts]
        self._pool = NipDescriptor()
        self.count = len(pictures.names)
        batch = max(1, PIXELS_AT_ONCE // (pictures.height * pictures.width))
        model = FloatModel(network)
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for first in range(0, self.count, batch):
            numbers = range(first, min(first + batch, self.count))
            x = real_batch([pictures.load(n) for n in numbers], preprocessing)
            read = first_real_map(network.shape, x).contiguous(memory_format=LAYOUT)
            self._batches.append((read, self._pool(model.run(x)[-1])))

    @torch.inference_mode()
    def measure(self, plan: Plan) -> float:
        """The mean distortion of the descriptors with these widths."""
        parameters = self._parameters(plan)
        total = 0.0
        for x, wanted in self._batches:
            last = self._run({IMAGE: x}, parameters, 0)
            total += float(distortion(self._pool(last), wanted).sum())
        return total / self.count

    @torch.inference_mode()
    def around(self, base: Plan | None, widths: Sequence[Sequence[int]],
               progress: Progress = silent) -> Sensitivity:
        """Measures every layer at each of its ``widths``, with all others as in ``base``. Layers before the
        measured one are not computed again."""
        parameters = self._float if base is None else self._parameters(base)
        descriptor = [dict.fromkeys(choices, 0.0) for choices in widths]
        output = [dict.fromkeys(choices, 0.0) for choices in widths]
        at_base = 0.0
        about = "sensitivity" if base is None else "sensitivity again"
        with progress(about, sum(map(len, widths)) * self.count) as advance:
            for first, wanted in self._batches:
                maps = {IMAGE: first}
                for number in range(len(self._layers)):
                    maps[number] = self._layer(number, maps, parameters[number])
                at_this = float(distortion(self._pool(maps[len(self._layers) - 1]), wanted).sum())
                at_base += at_this / self.count
                for position, choices in enumerate(widths):
                    for width in choices:
                        advance(len(first))
                        if base is not None and width == base[position]:
                            descriptor[position][width] += at_this / self.count
                            continue
                        noise, found = self._changed(position, width, parameters, maps)
                        output[position][width] += float(noise.sum()) / self.count
                        off = distortion(self._pool(found), wanted)
                        descriptor[position][width] += float(off.sum()) / self.count
        return Sensitivity(base, at_base, tuple(descriptor), tuple(output))

    def _changed(self, position: int, width: int, parameters: Sequence[Parameters],
                 maps: Mapping[int, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The relative noise of a layer's output and the last map, with this layer's width changed; ``maps``
        are those of all layers without the change."""
        owner, changed = self._owners[position], list(parameters)
        for user in self._users[position]:
            changed[user] = self._fitted(user, width)
        x = self._layer(owner, maps, changed[owner])
        before = {index: map_ for index, map_ in maps.items() if index < owner}
        return _relative_noise(x, maps[owner]), self._run(before | {owner: x}, changed, owner + 1)

    def _run(self, maps: dict[int, torch.Tensor], parameters: Sequence[Parameters],
             start: int) -> torch.Tensor:
        """The last map, from those of the layers before ``start``."""
        for number in range(start, len(self._layers)):
            maps[number] = self._layer(number, maps, parameters[number])
            for index in [n for n in maps if n == IMAGE or self._readers[n] <= number]:
                if index != number:
                    del maps[index]
        return maps[len(self._layers) - 1]

    def _layer(self, number: int, maps: Mapping[int, torch.Tensor], parameters: Parameters) -> torch.Tensor:
        layer = self._layers[number]
        other = None if layer.shortcut is None else maps[layer.shortcut.source]
        source = maps[source_of(self._layers, number)]
        return pooled_map(layer, layer_relu(layer, source, *parameters, other, self._shortcuts[number]))

    def _parameters(self, plan: Plan) -> list[Parameters]:
        return [self._fitted(number, width)
                for number, width in enumerate(for_every_layer(plan, self._layers))]

    def _fitted(self, number: int, width: int) -> Parameters:
        weight = torch.from_numpy(self._fits.get(number, width, self._scalar_bits)[0].weights()).float()
        return weight, self._float[number][1]


def _relative_noise(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The relative noise of maps [N, C, H, W], for each picture [N]."""
    noise = (found - wanted).square().sum(dim=(1, 2, 3)).double()
    return noise / wanted.square().sum(dim=(1, 2, 3)).double().clamp_min(torch.finfo(torch.float64).tiny)
