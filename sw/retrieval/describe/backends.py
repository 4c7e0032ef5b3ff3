"""Backends, which compute the features: the float network, the integer reference, the simulated chip, or
another that is installed.

A backend is known by name and loaded when it is asked for: those that come along through ``BUILT_IN``, so
that ``sw`` does not import the package that simulates the chip; others through the entry-point group
``kestrel.backends`` of their distributions (name -> ``module:function``, a function that takes a
``BackendRequest`` and returns a ``Backend``).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.digest import graph_numbers, network_digest
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.graph import smallest_side
from kestrel.sw.model.network import IMAGE_CHANNELS, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import first_map

BACKEND_GROUP = "kestrel.backends"
"""Entry points of backends that other distributions bring."""

BUILT_IN = {
    "board": "kestrel.sw.board.backend:BoardBackend",
    "float": "kestrel.sw.retrieval.describe.backends:FloatBackend",
    "reference": "kestrel.sw.retrieval.describe.backends:ReferenceBackend",
    "rtl": "kestrel.verif.simulate.backend:RtlBackend",
}
"""Backends that come along. Their names cannot be taken by others."""

BATCH_PIXELS = 8 * 224 * 224
"""Pixels that backends on the CPU compute at once: more gains nothing, and less is slower."""


@dataclass(frozen=True)
class BackendRequest:
    """What a backend is made of. height, width: of the input; weights: the float network, a file of it or
    ``random:SEED``; options: the backend's own, by name."""

    network: CompressedNetwork
    height: int
    width: int
    weights: str | FloatNetwork | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
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


@runtime_checkable
class MapsBackend(Backend, Protocol):
    """A backend that also gives the maps of inner layers."""

    def maps(self, pictures: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        """As ``features``, the maps of each of ``layers``, whose numbers ascend: one array for each."""
        ...


@runtime_checkable
class SimulatedBackend(Backend, Protocol):
    """A backend that simulates a chip. frames, cycles: of all pictures so far."""

    @property
    def frames(self) -> int: ...

    @property
    def cycles(self) -> int: ...


def backend_names() -> list[str]:
    """The backends that can be named, sorted."""
    return sorted(_known())


def make_backend(name: str, request: BackendRequest) -> Backend:
    """The backend called ``name``. Raises InputError."""
    known = _known()
    if name not in known:
        raise InputError(f"backend {name!r}; allowed: {', '.join(sorted(known))}")
    channels = request.network.layers[0].shape.in_channels
    if channels != IMAGE_CHANNELS and not request.network.blocks:
        raise InputError(f"network {request.network.name}: {channels} input channels; "
                         f"allowed for pictures: {IMAGE_CHANNELS}")
    return known[name].load()(request)


def _known() -> dict[str, EntryPoint]:
    installed = {entry.name: entry for entry in entry_points(group=BACKEND_GROUP)}
    return installed | {name: EntryPoint(name, path, BACKEND_GROUP) for name, path in BUILT_IN.items()}


def check_options(request: BackendRequest, backend: str, allowed: Sequence[str] = ()) -> None:
    """Raises InputError for an option that the backend does not have."""
    for name, value in request.options.items():
        if name not in allowed:
            raise InputError(f"backend {backend} has no option {name} (given: {value!r}); "
                             f"allowed: {', '.join(allowed) or 'none'}")


def least_side(network: CompressedNetwork) -> int:
    """The shortest side of a picture of which the network's poolings leave something."""
    side = smallest_side([layer.shape for layer in network.layers])
    return 2 * side - 1 if network.blocks else side


def weights_digest(network: FloatNetwork) -> str:
    """SHA-256 of the float weights and of where they pool."""
    found = hashlib.sha256()
    for number, shape in enumerate(network.shape.layers):
        found.update(json.dumps([shape.in_channels, shape.out_channels, shape.pool]).encode())
        if not shape.is_plain:
            found.update(json.dumps(graph_numbers(shape)).encode())
        for array in (network.weights[number], network.biases[number], network.shortcut(number)):
            if array is not None:
                found.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return found.hexdigest()


def check_no_weights(request: BackendRequest, backend: str) -> None:
    """Raises InputError for float weights, which a backend of integers has no use for."""
    if request.weights is not None:
        given = request.weights if isinstance(request.weights, str) else "given"
        raise InputError(f"weights {given} with backend {backend}, which computes with the network's "
                         "integers; allowed: with backend float")


class ReferenceBackend:
    """The integer network on the CPU: what the chip will compute."""

    arithmetic = "integer"

    def __init__(self, request: BackendRequest) -> None:
        check_options(request, "reference")
        check_no_weights(request, "reference")
        self._reference = Reference(request.network)
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        self.digest = network_digest(request.network)

    def batch(self, height: int, width: int) -> int:
        return max(1, BATCH_PIXELS // (height * width))

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return self.maps(pictures, [len(self._reference.network.layers) - 1])[0]

    def maps(self, pictures: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        network = self._reference.network
        bits, blocks = network.activation_bits, network.blocks
        x = np.stack([first_map(rgb, self._preprocessing, bits, blocks=blocks) for rgb in pictures])
        return [y.numpy() for y in self._reference.select(torch.from_numpy(x), layers)]


class FloatBackend:
    """The float network that a compressed one was made from. Raises InputError without its weights."""

    arithmetic = "float"

    def __init__(self, request: BackendRequest) -> None:
        check_options(request, "float")
        if request.weights is None:
            raise InputError("backend float needs the float weights; allowed: --weights FILE or random:SEED")
        shape = parse_network(request.network.name)
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        network = request.weights
        if isinstance(network, str):
            network = load_weights(network, shape, min(self._preprocessing.scale))
        elif network.shape.layers != shape.layers:
            raise InputError(f"float weights of {network.shape.name}; allowed: of {shape.name}, "
                             "which was compressed")
        self._model = FloatModel(network)
        self.digest = weights_digest(network)

    def batch(self, height: int, width: int) -> int:
        return max(1, BATCH_PIXELS // (height * width))

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return self.maps(pictures, [len(self._model.shape.layers) - 1])[0]

    def maps(self, pictures: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        x = real_batch(list(pictures), self._preprocessing)
        # Channels innermost: measured faster by a quarter in batches.
        outputs = self._model.layers(x.contiguous(memory_format=torch.channels_last))
        found = islice(enumerate(outputs), layers[-1] + 1)
        return [result.output.contiguous().numpy() for number, result in found if number in layers]
