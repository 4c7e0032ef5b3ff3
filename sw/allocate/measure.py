"""The actual effect of a plan: the network is compressed by it and its integers' descriptors compared."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.allocate.batches import PIXELS_AT_ONCE, distortion
from kestrel.sw.allocate.search import Plan, for_every_layer
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import first_map
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor


def in_memory(pictures: CalibrationPictures, count: int) -> CalibrationPictures:
    """``count`` of the pictures, spread evenly and read once, or all of them if there are fewer. Raises
    InputError for a bad picture."""
    chosen = np.linspace(0, len(pictures.names) - 1, min(count, len(pictures.names))).round().astype(int)
    loaded = [pictures.load(n) for n in chosen.tolist()]
    return replace(pictures, names=tuple(pictures.names[n] for n in chosen), load=loaded.__getitem__)


@dataclass(frozen=True)
class Distortion:
    """1 - cosine of the pooled descriptors and the float network's, for each picture."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def highest(self) -> float:
        return max(self.values)

    @property
    def cosine(self) -> float:
        """The mean over the pictures."""
        return 1 - self.mean


class Gauge:
    """Descriptors of the float network on some pictures, with which integer networks are compared."""

    def __init__(self, network: FloatNetwork, preprocessing: str, pictures: CalibrationPictures) -> None:
        self._network = network
        self._preprocessing = find_preprocessing(preprocessing)
        self._pool = NipDescriptor()
        count = len(pictures.names)
        batch = max(1, PIXELS_AT_ONCE // (pictures.height * pictures.width))
        self._batches = [[pictures.load(n) for n in range(first, min(first + batch, count))]
                         for first in range(0, count, batch)]

    @cached_property
    def _wanted(self) -> list[torch.Tensor]:
        model = FloatModel(self._network)
        return [self._pool(model.run(real_batch(batch, self._preprocessing))[-1]) for batch in self._batches]

    def measure(self, integers: CompressedNetwork) -> Distortion:
        """The distortion of an integer network on every picture."""
        reference = Reference(integers)
        values: list[float] = []
        for batch, wanted in zip(self._batches, self._wanted, strict=True):
            pixels = [first_map(p, self._preprocessing, integers.activation_bits, blocks=integers.blocks)
                      for p in batch]
            found = self._pool(reference.last(torch.from_numpy(np.stack(pixels))))
            values += distortion(found, wanted).tolist()
        return Distortion(tuple(values))


class PlanMeasure:
    """Compresses the network by a plan and measures it on the calibration pictures, once for every plan."""

    def __init__(self, fits: LayerFits, pictures: CalibrationPictures, preprocessing: str,
                 activation_bits: int, percentile: float, scalar_bits: int = SCALAR_BITS) -> None:
        self._fits = fits
        self._scalar_bits = scalar_bits
        self._pictures = pictures
        self._preprocessing = preprocessing
        self._activation_bits = activation_bits
        self._percentile = percentile
        self._gauge = Gauge(fits.network, preprocessing, pictures)
        self._networks: dict[Plan, CompressedNetwork] = {}
        self._known: dict[Plan, Distortion] = {}

    def compress(self, plan: Plan) -> CompressedNetwork:
        """The network with these mask widths. Raises InputError as ``sw.compress.pipeline.compress`` does."""
        if plan not in self._networks:
            network = self._fits.network
            self._networks[plan], _ = compress(
                network, for_every_layer(plan, network.shape.layers), self._pictures,
                preprocessing=self._preprocessing, activation_bits=self._activation_bits,
                fit=self._fits.rule, percentile=self._percentile, fits=self._fits,
                scalar_bits=[self._scalar_bits] * len(network.shape.layers),
            )
        return self._networks[plan]

    def __call__(self, plan: Plan) -> Distortion:
        if plan not in self._known:
            self._known[plan] = self._gauge.measure(self.compress(plan))
        return self._known[plan]
