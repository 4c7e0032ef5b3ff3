"""What the nodes of an ONNX graph add up to: sums of convolutions and maps, which become layers at their
ReLU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kestrel.sw.model.shapes import IMAGE


class Stopped(Exception):
    """A node that no layer can express; its text is the reason."""


@dataclass(frozen=True)
class Term:
    """A part of a sum: the convolution of a map, weight float64 [C_out, C_in, k, k] with as much zero padding
    as leaves the size to the stride, or the map itself, weight [C] by channel. ``name`` is its node, such as
    ``Conv node 'n0'``; ``source`` the number of the layer whose output is read, or IMAGE."""

    name: str
    source: int
    weight: np.ndarray
    stride: int = 1

    @property
    def is_map(self) -> bool:
        return self.weight.ndim == 1

    def scaled(self, gain: np.ndarray) -> "Term":
        """With every output channel times ``gain`` [C_out]."""
        return replace(self, weight=self.weight * gain.reshape(-1, *[1] * (self.weight.ndim - 1)))


@dataclass(frozen=True)
class Sum:
    """Terms and a bias [C_out], before the ReLU. ``pool``: rows of the pooling that has been applied already,
    or 0; ``batch_norm``: whether one was folded in."""

    terms: tuple[Term, ...]
    bias: np.ndarray
    batch_norm: bool = False
    pool: int = 0

    @property
    def name(self) -> str:
        return self.terms[0].name


@dataclass(frozen=True)
class GraphShortcut:
    """A second map in a layer's sum: ``weight`` float64 [C_out, C] of a projection of step ``stride``, or [C]
    by channel."""

    source: int
    weight: np.ndarray
    stride: int = 1


@dataclass(frozen=True)
class GraphLayer:
    """A convolution together with everything that follows it up to its ReLU, and the pooling behind that.

    ``name`` is its node. ``weight`` (float64 [C_out, C_in, k, k]) and ``bias`` (float64 [C_out]) include what
    was folded in. ``pool``: rows of the pooling, or 0. ``source``: the number of the layer whose output it
    reads, or IMAGE.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    stride: int
    source: int
    shortcut: GraphShortcut | None = None
    batch_norm: bool = False
    pool: int = 0


def layer_of(total: Sum, label: str) -> GraphLayer:
    """The layer that a sum is at its ReLU, ``label``. Raises Stopped for one that is none.

    Convolutions of one map by one stride are one convolution, and so is a map beside its own convolution:
    such are the branches of RepVGG.
    """
    convolutions = _merged([term for term in total.terms if not term.is_map])
    maps: list[Term] = []
    for term in (term for term in total.terms if term.is_map):
        place = next((n for n, c in enumerate(convolutions) if _takes_in(c, term)), None)
        if place is None:
            maps.append(term)
        else:
            convolutions[place] = _with_map(convolutions[place], term)
    if not convolutions:
        raise Stopped(f"{label} does not follow a convolution")
    convolutions.sort(key=lambda term: (term.weight.shape[2], term.source), reverse=True)
    main, *others = convolutions
    if len(others) + len(maps) > 1:
        raise Stopped(f"{label} follows the sum of {1 + len(others) + len(maps)} maps (allowed: two)")
    shortcut = None
    if others:
        if others[0].weight.shape[2] != 1:
            raise Stopped(f"{others[0].name} is added to {main.name} (allowed: one of them 1x1)")
        shortcut = GraphShortcut(others[0].source, others[0].weight[:, :, 0, 0], others[0].stride)
    elif maps:
        shortcut = GraphShortcut(maps[0].source, maps[0].weight)
    if shortcut is not None and shortcut.source == IMAGE:
        raise Stopped(f"{label} follows a sum with the image")
    return GraphLayer(main.name, main.weight, total.bias, main.stride, main.source, shortcut,
                      total.batch_norm, total.pool)


def _merged(terms: Sequence[Term]) -> list[Term]:
    """Convolutions of one map by one stride added up, in their order."""
    found: dict[tuple[int, int], Term] = {}
    for term in terms:
        key = (term.source, term.stride)
        if key not in found:
            found[key] = term
            continue
        large, small = sorted((found[key], term), key=lambda t: t.weight.shape[2], reverse=True)
        weight = large.weight.copy()
        border = (large.weight.shape[2] - small.weight.shape[2]) // 2
        inner = slice(border, border + small.weight.shape[2])
        weight[:, :, inner, inner] += small.weight
        found[key] = replace(large, weight=weight)
    return list(found.values())


def _takes_in(convolution: Term, term: Term) -> bool:
    """Whether the map ``term`` is the one that the convolution reads, so that its centre taps can hold it."""
    channels = convolution.weight.shape
    return (convolution.source, convolution.stride) == (term.source, 1) and channels[0] == channels[1]


def _with_map(convolution: Term, term: Term) -> Term:
    weight, middle = convolution.weight.copy(), convolution.weight.shape[2] // 2
    diagonal = np.arange(len(term.weight))
    weight[diagonal, diagonal, middle, middle] += term.weight
    return replace(convolution, weight=weight)
