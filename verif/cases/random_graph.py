"""Random networks that are graphs: shortcuts, strides, 1x1 kernels, all poolings, shared layers, blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.widths import SHORTCUT_SHIFT_MAX
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.graph import Side, check_graph, integers_shape, output_side
from kestrel.sw.model.network import BLOCK_CHANNELS, IMAGE_CHANNELS, ConvShape, Shortcut
from kestrel.sw.model.reference import Reference
from kestrel.verif.cases.random_network import random_network

HALVINGS_MAX = 3
"""Strides and poolings on the way from the image to any map."""

LIVELY_VALUES = 5
"""The smallest number of different values in every map of a lively network."""

LIVELY_SIDE = 24
"""Rows and columns of the pictures that decide whether it is lively."""

TRIES = 100


@dataclass(frozen=True)
class GraphKinds:
    """How often, 0 to 1, a layer is of a kind, where its place allows that: those of a strided layer and of a
    pooled one add up to 1 at most."""

    shortcut: float = 0.6
    projection: float = 0.5
    stride: float = 0.2
    pool_2x2: float = 0.1
    pool_3x3: float = 0.15
    kernel_1x1: float = 0.2
    other_source: float = 0.15
    shares: float = 0.25


def random_shapes(
    rng: np.random.Generator,
    count: int,
    channels: Sequence[int],
    *,
    blocks: bool = False,
    kinds: GraphKinds = GraphKinds(),
) -> tuple[ConvShape, ...]:
    """The shapes of ``count`` layers whose channel counts are among ``channels``.

    A shortcut spans one to three layers where one of their maps fits, an identity only where the channels do.
    The image has three channels, or with ``blocks`` those of an image in blocks.
    """
    shapes: list[ConvShape] = []
    sides: list[Side] = []
    for number in range(count):
        if number == 0:
            shape, side = _first(rng, channels, blocks, kinds), Side()
        else:
            source = number - 1
            if rng.random() < kinds.other_source:
                source = int(rng.integers(max(0, number - 3), number))
            repeated = _repeated(rng, shapes, sides, source, kinds) if rng.random() < kinds.shares else None
            shape, side = repeated or _next(rng, shapes, sides, source, channels, kinds), sides[source]
        shapes.append(shape)
        sides.append(output_side(shapes[-1], side))
    check_graph(shapes, blocks=blocks)
    return tuple(shapes)


def _first(rng: np.random.Generator, channels: Sequence[int], blocks: bool, kinds: GraphKinds) -> ConvShape:
    image = BLOCK_CHANNELS if blocks else IMAGE_CHANNELS
    shape = ConvShape("conv0", image, int(rng.choice(channels)), pool=False)
    return _halved(rng, shape, Side(), kinds)


def _next(
    rng: np.random.Generator, shapes: Sequence[ConvShape], sides: Sequence[Side], source: int,
    channels: Sequence[int], kinds: GraphKinds,
) -> ConvShape:  # fmt: skip
    number = len(shapes)
    shape = ConvShape(
        f"conv{number}", shapes[source].out_channels, int(rng.choice(channels)), pool=False,
        kernel=1 if rng.random() < kinds.kernel_1x1 else 3, source=None if source == number - 1 else source,
    )  # fmt: skip
    shape = _halved(rng, shape, sides[source], kinds)
    if rng.random() >= kinds.shortcut:
        return shape
    side = sides[source].after(shape.stride)
    near = range(max(0, number - 3), number)
    projections = [(n, stride) for n in near for stride in (1, 2) if sides[n].after(stride) == side]
    identities = [n for n in near if sides[n] == side]
    if projections and rng.random() < kinds.projection:
        n, stride = projections[int(rng.integers(len(projections)))]
        return replace(shape, shortcut=Shortcut(n, projection=True, stride=stride))
    if identities:
        n = identities[int(rng.integers(len(identities)))]
        return replace(shape, out_channels=shapes[n].out_channels, shortcut=Shortcut(n))
    return shape


def _halved(rng: np.random.Generator, shape: ConvShape, side: Side, kinds: GraphKinds) -> ConvShape:
    """The layer with a stride, a pooling, or neither."""
    draw = rng.random() if side.halvings < HALVINGS_MAX else 1.0
    for share, change in (
        (kinds.stride, {"stride": 2}),
        (kinds.pool_2x2, {"pool": True}),
        (kinds.pool_3x3, {"pool": True, "pool_size": 3}),
    ):
        if draw < share:
            return replace(shape, **change)
        draw -= share
    return shape


def _repeated(
    rng: np.random.Generator, shapes: Sequence[ConvShape], sides: Sequence[Side], source: int,
    kinds: GraphKinds,
) -> ConvShape | None:  # fmt: skip
    """A layer with the integers of an earlier one that reads the map ``source``; None if none fits."""
    number = len(shapes)
    inputs = shapes[source].out_channels
    owners = [n for n in range(1, number) if shapes[n].shares is None and shapes[n].in_channels == inputs]
    if not owners:
        return None
    owner = int(rng.choice(owners))
    shape = replace(
        shapes[owner], name=f"conv{number}", shares=owner, source=None if source == number - 1 else source,
        stride=1, pool=False, pool_size=2,
    )  # fmt: skip
    shape = _halved(rng, shape, sides[source], kinds)
    if shape.shortcut is None:
        return shape
    side, strides = sides[source].after(shape.stride), (1, 2) if shape.shortcut.projection else (1,)
    wanted = integers_shape(shapes, owner)
    for n in reversed(range(number)):
        for stride in strides:
            made = replace(shape, shortcut=replace(shape.shortcut, source=n, stride=stride))
            if sides[n].after(stride) == side and integers_shape([*shapes, made], number) == wanted:
                return made
    return None


def lane_channels(*lanes: int) -> tuple[int, ...]:
    """Channel counts that differ in kind for engines of these lane counts: 1, and around one and two
    groups."""
    counts = {1, *(count for p in lanes for count in (p - 1, p, p + 1, 2 * p, 2 * p + 1))}
    return tuple(sorted(counts - {0}))


def random_graph(
    rng: np.random.Generator,
    count: int,
    channels: Sequence[int],
    *,
    mask_bits: Sequence[int] = MASK_BITS,
    activation_bits: int = 8,
    blocks: bool = False,
    kinds: GraphKinds = GraphKinds(),
    name: str = "graph",
    shortcut_shift_max: int = SHORTCUT_SHIFT_MAX,
    tables: bool = False,
) -> CompressedNetwork:
    """A network of random layers and integers, drawn again until every map takes several values.

    ``mask_bits`` are the widths among which each layer of 3x3 kernels has one, ``shortcut_shift_max`` is the
    largest shift of a shortcut; ``tables`` as in ``random_network``. Raises RuntimeError if no
    lively network is found: with one channel a layer that may happen.
    """
    for _ in range(TRIES):
        shapes = random_shapes(rng, count, channels, blocks=blocks, kinds=kinds)
        widths = [int(rng.choice(mask_bits)) for _ in shapes]
        network = random_network(
            rng, shapes, widths, activation_bits=activation_bits, name=name, blocks=blocks,
            shortcut_shift_max=shortcut_shift_max, tables=tables,
        )  # fmt: skip
        if is_lively(rng, network):
            return network
    raise RuntimeError(f"no lively network of {count} layers with {tuple(channels)} channels: {TRIES} tries")


def is_lively(rng: np.random.Generator, network: CompressedNetwork) -> bool:
    """Whether every map takes several values on a random picture."""
    size = (1, network.layers[0].shape.in_channels, LIVELY_SIDE, LIVELY_SIDE)
    x = rng.integers(0, 1 << network.activation_bits, size).astype(np.uint8)
    return all(len(y.unique()) >= LIVELY_VALUES for y in Reference(network).run(torch.from_numpy(x)))
