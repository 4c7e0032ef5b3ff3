"""The costs of each mask width of a layer: stored bits, and cycles of the array."""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, PASSES
from kestrel.hw.spec.widths import TAPS, kernel_bits
from kestrel.sw.model.network import ConvShape, NetworkShape

LANES = 16
"""Input and output lanes of the array for which cycles are counted, as in the configuration ``edge``. Costs
are only compared with each other, and their ratios hardly depend on this number."""


@dataclass(frozen=True)
class Choice:
    """One width for one layer. ``bits`` is the size of all its masks and scalars; ``cycles`` is the number of
    cycles in which the array computes the layer."""

    mask_bits: int
    bits: int
    cycles: int


@dataclass(frozen=True)
class Costs:
    """``choices`` holds those of each layer by rising width, ``weights`` is the number of weights in the
    network, and ``cycles`` the number of cycles with one pass for each layer."""

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
        """The choices of a plan, which gives the mask bits of each layer."""
        return tuple(next(c for c in layer if c.mask_bits == width)
                     for layer, width in zip(self.choices, plan, strict=True))


def layer_costs(shape: NetworkShape, widths: Sequence[int], height: int, width: int) -> Costs:
    """The costs of every layer at each of ``widths``, on images of ``height`` x ``width``. Raises InputError
    if there is no width, or one that the engine does not have."""
    allowed = f"{MASK_BITS[0]}..{MASK_BITS[-1]}, each once"
    if not widths or len(set(widths)) != len(widths) or not set(widths) <= set(MASK_BITS):
        raise InputError(f"mask widths {','.join(map(str, widths))!r}; allowed: {allowed}")
    choices, cycles = [], 0
    for layer in shape.layers:
        kernels = layer.in_channels * layer.out_channels
        one_pass = _one_pass(layer, height, width)
        cycles += one_pass
        choices.append(tuple(Choice(b, kernels * kernel_bits(b), PASSES[b] * one_pass)
                             for b in sorted(widths)))
        if layer.pool:
            height, width = height // 2, width // 2
    kernels = sum(layer.in_channels * layer.out_channels for layer in shape.layers)
    return Costs(tuple(choices), TAPS * kernels, cycles)


def _one_pass(layer: ConvShape, height: int, width: int) -> int:
    """Cycles of a layer whose masks take one pass (docs/architecture.md)."""
    return -(-layer.in_channels // LANES) * -(-layer.out_channels // LANES) * height * width
