"""What a batch of pictures tells of plans and of layers' widths: the part of the measurements that grows with
the pictures, and that can be done anywhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.allocate.search import Plan, for_every_layer
from kestrel.sw.compress.calibrate import CalibrationPictures
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

Widths = tuple[tuple[int, ...], ...]
"""Mask bits to measure, of each layer that has integers of its own."""


@dataclass(frozen=True)
class Effects:
    """Sums over the pictures of a batch: the distortion of the base, and for each layer, by mask bits, the
    distortion with this layer changed and the relative noise of its output (none where the base has this
    width)."""

    at_base: float
    descriptor: tuple[dict[int, float], ...]
    output: tuple[dict[int, float], ...]


class Batches(Protocol):
    """Batches of ``count`` pictures. Results come in the batches' order."""

    @property
    def count(self) -> int: ...

    def distortions(self, plan: Plan) -> list[float]:
        """Of each batch, the sum of the distortions of its descriptors with these widths."""
        ...

    def effects(self, base: Plan | None, widths: Widths, advance: Callable[[int], None]) -> list[Effects]:
        """Of each batch, what each layer does at each of its ``widths``, with all others as in ``base``
        (None: float). advance: told of each picture and width."""
        ...


def distortion(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 - cosine of unit vectors [N, D], float64 [N]: half the squared difference, which loses no digits."""
    return (found.double() - wanted.double()).square().sum(dim=1) / 2


class BatchesHere:
    """The network with fitted weights in some layers, in floating point, compared with the original network,
    in this process. Raises InputError for a bad picture."""

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
        self._latest: tuple[Plan, list[Parameters]] | None = None
        self._pool = NipDescriptor()
        self._count = len(pictures.names)
        batch = max(1, PIXELS_AT_ONCE // (pictures.height * pictures.width))
        model = FloatModel(network)
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        for first in range(0, self._count, batch):
            numbers = range(first, min(first + batch, self._count))
            x = real_batch([pictures.load(n) for n in numbers], preprocessing)
            read = first_real_map(network.shape, x).contiguous(memory_format=LAYOUT)
            self._batches.append((read, self._pool(model.run(x)[-1])))

    @property
    def count(self) -> int:
        return self._count

    @property
    def sizes(self) -> list[int]:
        """Pictures of each batch."""
        return [len(x) for x, _ in self._batches]

    def distortions(self, plan: Plan) -> list[float]:
        return [self.distortion_of(number, plan) for number in range(len(self._batches))]

    def effects(self, base: Plan | None, widths: Widths, advance: Callable[[int], None]) -> list[Effects]:
        return [self.effects_of(number, base, widths, advance) for number in range(len(self._batches))]

    @torch.inference_mode()
    def distortion_of(self, number: int, plan: Plan) -> float:
        """As ``distortions``, of one batch."""
        x, wanted = self._batches[number]
        parameters = self._parameters(plan)
        return float(distortion(self._pool(self._run({IMAGE: x}, parameters, 0)), wanted).sum())

    @torch.inference_mode()
    def effects_of(self, number: int, base: Plan | None, widths: Widths,
                   advance: Callable[[int], None] = lambda steps: None) -> Effects:
        """As ``effects``, of one batch. Layers before the measured one are not computed again."""
        first, wanted = self._batches[number]
        parameters = self._float if base is None else self._parameters(base)
        maps = {IMAGE: first}
        for layer in range(len(self._layers)):
            maps[layer] = self._layer(layer, maps, parameters[layer])
        at_base = float(distortion(self._pool(maps[len(self._layers) - 1]), wanted).sum())
        descriptor: list[dict[int, float]] = [{} for _ in widths]
        output: list[dict[int, float]] = [{} for _ in widths]
        for position, choices in enumerate(widths):
            for width in choices:
                advance(len(first))
                if base is not None and width == base[position]:
                    descriptor[position][width], output[position][width] = at_base, 0.0
                    continue
                noise, found = self._changed(position, width, parameters, maps)
                output[position][width] = float(noise.sum())
                descriptor[position][width] = float(distortion(self._pool(found), wanted).sum())
        return Effects(at_base, tuple(descriptor), tuple(output))

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
        if self._latest is None or self._latest[0] != plan:  # several batches ask for a plan in turn
            self._latest = plan, [self._fitted(number, width)
                                  for number, width in enumerate(for_every_layer(plan, self._layers))]
        return self._latest[1]

    def _fitted(self, number: int, width: int) -> Parameters:
        weight = torch.from_numpy(self._fits.get(number, width, self._scalar_bits)[0].weights()).float()
        return weight, self._float[number][1]


def _relative_noise(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The relative noise of maps [N, C, H, W], for each picture [N]."""
    noise = (found - wanted).square().sum(dim=(1, 2, 3)).double()
    return noise / wanted.square().sum(dim=(1, 2, 3)).double().clamp_min(torch.finfo(torch.float64).tiny)
