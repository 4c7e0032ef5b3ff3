"""The costs of each mask width of a layer: stored bits, and cycles of the array."""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, PASSES
from kestrel.hw.spec.widths import (
    SCALAR_BITS,
    SCALAR_WIDTHS,
    centre_kernel_bits,
    kernel_bits,
    scalar_table_bits,
)
from kestrel.sw.model.graph import owners, weight_counts
from kestrel.sw.model.network import IMAGE, NetworkShape, map_sizes, source_of

LANES = 16
"""Input and output lanes of the array for which cycles are counted, as in the configuration ``edge``. Costs
are only compared with each other, and their ratios hardly depend on this number."""

POINT_BITS = 1
"""Mask bits of 1x1 kernels, the only width that they have."""


@dataclass(frozen=True)
class Choice:
    """One width for one layer. ``bits`` is the size of all its masks and scalars, its shortcut's included;
    ``cycles`` is the number of cycles in which the array computes the layer and those that share its
    integers."""

    mask_bits: int
    bits: int
    cycles: int


@dataclass(frozen=True)
class Costs:
    """``choices`` holds those of each layer that has integers of its own, by rising width; ``weights`` is the
    number of weights in the network, and ``cycles`` the number of cycles with one pass for each layer."""

    choices: tuple[tuple[Choice, ...], ...]
    weights: int
    cycles: int

    @property
    def smallest(self) -> int:
        """Bits of the network with the narrowest masks in every layer."""
        return sum(layer[0].bits for layer in self.choices)

    def bits(self, plan: Sequence[int]) -> int:
        return sum(choice.bits for choice in self.chosen(plan))

    def plan_cycles(self, plan: Sequence[int]) -> int:
        return sum(choice.cycles for choice in self.chosen(plan))

    def chosen(self, plan: Sequence[int]) -> tuple[Choice, ...]:
        """The choices of a plan, which gives the mask bits of each of these layers."""
        return tuple(next(c for c in layer if c.mask_bits == width)
                     for layer, width in zip(self.choices, plan, strict=True))


def layer_costs(shape: NetworkShape, widths: Sequence[int], height: int, width: int,
                scalar_bits: int = SCALAR_BITS) -> Costs:
    """The costs of every layer at each of ``widths``, on images of ``height`` x ``width``; those of 1x1
    kernels at their only width. All scalars have ``scalar_bits``. Raises InputError if there is no width, or
    one that the engine does not have."""
    if scalar_bits not in SCALAR_WIDTHS:
        raise InputError(f"scalar bits {scalar_bits}; allowed: {', '.join(map(str, SCALAR_WIDTHS))}")
    allowed = f"{MASK_BITS[0]}..{MASK_BITS[-1]}, each once"
    if not widths or len(set(widths)) != len(widths) or not set(widths) <= set(MASK_BITS):
        raise InputError(f"mask widths {','.join(map(str, widths))!r}; allowed: {allowed}")
    cycles = _one_pass(shape, height, width)
    choices: list[tuple[Choice, ...]] = []
    for owner in owners(shape.layers):
        layer = shape.layers[owner]
        kernels = layer.in_channels * layer.out_channels
        beside = _shortcut_bits(shape, owner, scalar_bits) + scalar_table_bits(scalar_bits)
        users = [n for n, other in enumerate(shape.layers) if owner in (n, other.shares)]
        found: list[Choice] = []
        for bits in sorted(widths) if layer.kernel == 3 else [POINT_BITS]:
            stored = kernel_bits(bits, scalar_bits) if layer.kernel == 3 else centre_kernel_bits(scalar_bits)
            needed = sum(PASSES[bits] * cycles[n][0] + cycles[n][1] for n in users)
            found.append(Choice(bits, kernels * stored + beside, needed))
        choices.append(tuple(found))
    return Costs(tuple(choices), sum(weight_counts(shape.layers)), sum(map(sum, cycles)))


def _shortcut_bits(shape: NetworkShape, number: int, scalar_bits: int) -> int:
    """Stored bits of a layer's shortcut, its table included: an identity has a scalar a channel."""
    layer, shortcut = shape.layers[number], shape.layers[number].shortcut
    if shortcut is None:
        return 0
    kernels = shape.layers[shortcut.source].out_channels if shortcut.projection else 1
    return layer.out_channels * kernels * centre_kernel_bits(scalar_bits) + scalar_table_bits(scalar_bits)


def _one_pass(shape: NetworkShape, height: int, width: int) -> list[tuple[int, int]]:
    """Cycles of every layer whose masks take one pass: of its convolution, and of its shortcut
    (docs/architecture.md)."""
    if shape.blocks:
        height, width = -(-height // 2), -(-width // 2)
    sizes = map_sizes(shape.layers, height, width)
    found: list[tuple[int, int]] = []
    for number, layer in enumerate(shape.layers):
        source = source_of(shape.layers, number)
        read = (height, width) if source == IMAGE else sizes[source]
        rows, columns = layer.conv_size(*read)
        groups = -(-layer.out_channels // LANES)
        # Windows of 3x3 need every column of a row, also with a stride.
        along = read[1] if layer.kernel == 3 else columns
        shortcut = 0
        if layer.shortcut is not None:
            given = shape.layers[layer.shortcut.source].out_channels if layer.shortcut.projection else 1
            shortcut = groups * -(-given // LANES) * rows * columns
        found.append((groups * -(-layer.in_channels // LANES) * rows * along, shortcut))
    return found
