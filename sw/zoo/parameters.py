"""What a network's arrays are called, how large they are, and up to which of its maps each is needed: found
by running it on shapes alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import IMAGE_CHANNELS
from kestrel.sw.zoo.layers import Layers
from kestrel.sw.zoo.networks import Architecture

KINDS = ("convolution", "dense", "bias", "batch norm")

TRACED_SIDE = 227
"""Of the image on which dense layers get the sizes of the papers; 224 gives the same but for AlexNet."""


@dataclass(frozen=True)
class Parameter:
    """An array. kind: one of KINDS."""

    key: str
    shape: tuple[int, ...]
    kind: str

    @property
    def count(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Outline:
    """A network's arrays in the order of their use, and by the name of every map how many of them are needed
    for it and how many channels it has."""

    parameters: tuple[Parameter, ...]
    needed: dict[str, int]
    channels: dict[str, int]

    def upto(self, cut: str) -> tuple[Parameter, ...]:
        """The arrays that the map ``cut`` needs."""
        return self.parameters[: self.needed[cut]]

    def count(self, *kinds: str, cut: str | None = None) -> int:
        """Numbers in arrays of these kinds, of all without one, up to a map where it is given."""
        arrays = self.parameters if cut is None else self.upto(cut)
        return sum(found.count for found in arrays if not kinds or found.kind in kinds)


def outline(network: Architecture) -> Outline:
    """The network's outline."""
    tracer = _Tracer()
    needed: dict[str, int] = {}
    channels: dict[str, int] = {}
    with torch.inference_mode():
        image = torch.empty(1, IMAGE_CHANNELS, TRACED_SIDE, TRACED_SIDE, device="meta")
        for name, found in network.forward(tracer, image):
            needed[name], channels[name] = len(tracer.found), found.shape[1]
    return Outline(tuple(tracer.found.values()), needed, channels)


def find_cuts(network: Architecture, known: Outline, names: Sequence[str]) -> tuple[str, ...]:
    """The maps that ``names`` mean, by our names or the paper's, ``all`` for all of them. Raises
    InputError."""
    if tuple(names) == ("all",):
        return tuple(known.needed)
    found = []
    for name in names:
        own = name if name in known.needed else network.cuts.get(name)
        if own is None:
            allowed = dict.fromkeys((*known.needed, *network.cuts))
            raise InputError(f"network {network.name}: no map {name!r}; allowed cuts: all, "
                             f"{', '.join(allowed)}")
        found.append(own)
    return tuple(sorted(set(found), key=list(known.needed).index))


class _Tracer(Layers):
    def __init__(self) -> None:
        super().__init__({})
        self.found: dict[str, Parameter] = {}

    def get(self, key: str, shape: tuple[int, ...], kind: str) -> Tensor:
        self.found.setdefault(key, Parameter(key, shape, kind))
        assert self.found[key].shape == shape, f"{key} is used with two shapes"
        return torch.empty(shape, device="meta")
