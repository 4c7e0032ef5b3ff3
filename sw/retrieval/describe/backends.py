"""What computes the features: the float network, the integer reference, or another engine that is installed.

Engines are found through the entry-point group ``kestrel.engines`` (name -> ``module:function``, a function
that takes an ``EngineRequest`` and returns an ``Engine``), so that ``sw`` does not import the package that
simulates the chip.
"""

import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import IMAGE_CHANNELS, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import FloatNetwork, load_weights
from kestrel.sw.pictures.images import quantise_pixels

ENGINE_GROUP = "kestrel.engines"

BATCH_PIXELS = 8 * 224 * 224
"""Pixels that engines on the CPU compute at once: more gains nothing, and less is slower."""


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is made of. weights: the float file, where given; height, width: of the input;
    options: the engine's own, by name."""

    network: CompressedNetwork
    height: int
    width: int
    weights: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """arithmetic: "integer" or "float"; digest: SHA-256 of the numbers that it computes with."""

    @property
    def arithmetic(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def batch(self, height: int, width: int) -> int:
        """How many pictures of that size it takes best at once."""
        ...

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures uint8 RGB [H, W, 3], all of one size -> the last layer's maps [N, C, h, w], uint8 for
        integers, float32 for floats."""
        ...


def engine_names() -> list[str]:
    """The engines that are installed."""
    return sorted({entry.name for entry in entry_points(group=ENGINE_GROUP)})


def make_engine(name: str, request: EngineRequest) -> Engine:
    """The engine called ``name``. Raises InputError."""
    known = {entry.name: entry for entry in entry_points(group=ENGINE_GROUP)}
    if name not in known:
        raise InputError(f"engine {name!r}; allowed: {', '.join(sorted(known))}")
    channels = request.network.layers[0].shape.in_channels
    if channels != IMAGE_CHANNELS:
        raise InputError(f"network {request.network.name}: {channels} input channels; "
                         f"allowed for pictures: {IMAGE_CHANNELS}")
    return _make(known[name], request)


def _make(entry: EntryPoint, request: EngineRequest) -> Engine:
    return entry.load()(request)


def check_options(request: EngineRequest, engine: str, allowed: Sequence[str] = ()) -> None:
    """Raises InputError for an option that the engine does not have."""
    for name, value in request.options.items():
        if name not in allowed:
            raise InputError(f"engine {engine} has no option {name} (given: {value!r}); "
                             f"allowed: {', '.join(allowed) or 'none'}")


def least_side(network: CompressedNetwork) -> int:
    """The shortest side of a picture of which the network's poolings leave something."""
    return 1 << sum(layer.shape.pool for layer in network.layers)


def network_digest(network: CompressedNetwork) -> str:
    """SHA-256 of every integer that decides the features, and of nothing else: not of names and scales."""
    found = hashlib.sha256()
    found.update(json.dumps([network.activation_bits, network.pad.tolist()]).encode())
    for layer in network.layers:
        shape = layer.shape
        found.update(json.dumps([shape.in_channels, shape.out_channels, shape.pool, layer.shift]).encode())
        for array, kind in ((layer.mask, "<i1"), (layer.alpha, "<u1"), (layer.bias, "<i2")):
            found.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return found.hexdigest()


def weights_digest(network: FloatNetwork) -> str:
    """SHA-256 of the float weights and of where they pool."""
    found = hashlib.sha256()
    for shape, weight, bias in zip(network.shape.layers, network.weights, network.biases, strict=True):
        found.update(json.dumps([shape.in_channels, shape.out_channels, shape.pool]).encode())
        for array in (weight, bias):
            found.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return found.hexdigest()


class ReferenceEngine:
    """The integer network on the CPU: what the chip will compute."""

    arithmetic = "integer"

    def __init__(self, request: EngineRequest) -> None:
        check_options(request, "reference")
        self._reference = Reference(request.network)
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        self.digest = network_digest(request.network)

    def batch(self, height: int, width: int) -> int:
        return max(1, BATCH_PIXELS // (height * width))

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        bits = self._reference.network.activation_bits
        x = np.stack([quantise_pixels(rgb, self._preprocessing, bits) for rgb in pictures])
        return self._reference.last(torch.from_numpy(x)).numpy()


class FloatEngine:
    """The float network that a compressed one was made from. Raises InputError without its weights."""

    arithmetic = "float"

    def __init__(self, request: EngineRequest) -> None:
        check_options(request, "float")
        if request.weights is None:
            raise InputError("engine float needs the float weights; allowed: --weights FILE or random:SEED")
        shape = parse_network(request.network.name)
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        network = load_weights(request.weights, shape, min(self._preprocessing.scale))
        self._model = FloatModel(network)
        self.digest = weights_digest(network)

    def batch(self, height: int, width: int) -> int:
        return max(1, BATCH_PIXELS // (height * width))

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        x = real_batch(list(pictures), self._preprocessing)
        # Channels innermost: measured faster by a quarter in batches. Only the last layer is kept.
        layers = self._model.layers(x.contiguous(memory_format=torch.channels_last))
        return deque(layers, maxlen=1).pop().output.contiguous().numpy()
