"""The blocks that the descriptor unit consists of."""

from dataclasses import dataclass

from amaranth.hdl import Module

from kestrel.hw.common.place import place
from kestrel.hw.descriptor.header import DescriptorHeader
from kestrel.hw.descriptor.output import DescriptorOutput
from kestrel.hw.descriptor.reciprocal import DescriptorReciprocal
from kestrel.hw.descriptor.squares import DescriptorSquares
from kestrel.hw.descriptor.vectors import DescriptorVectors
from kestrel.hw.descriptor.whitening import DescriptorWhitening
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.engine_config import EngineConfig


@dataclass(frozen=True)
class Parts:
    """The blocks of one unit; ``whitening`` is None in a unit that cannot whiten."""

    header: DescriptorHeader
    squares: DescriptorSquares
    reciprocal: DescriptorReciprocal
    vectors: DescriptorVectors
    output: DescriptorOutput
    whitening: DescriptorWhitening | None


def place_parts(m: Module, config: EngineConfig, descriptor: DescriptorConfig) -> Parts:
    """Make the blocks and place them in ``m``, each under its name in ``Parts``."""
    parts = Parts(
        header=DescriptorHeader(config, descriptor),
        squares=DescriptorSquares(config),
        reciprocal=DescriptorReciprocal(),
        vectors=DescriptorVectors(descriptor),
        output=DescriptorOutput(descriptor),
        whitening=DescriptorWhitening(descriptor) if descriptor.whitening else None,
    )
    for name, part in vars(parts).items():
        if part is not None:
            place(m, name, part)
    return parts
