"""The cases of the engine's bench: networks and pictures that the bench and the writer of the ROM images both
make from the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import BLOCK_CHANNELS, IMAGE_CHANNELS, ConvShape, Shortcut
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants
from kestrel.verif.cases.descriptor_case import chained_constants
from kestrel.verif.cases.random_network import random_network, stack

FRAMES = 3


def descriptor_constants(seed: int, maps: Sequence[np.ndarray]) -> DescriptorConstants:
    """Constants of the descriptor unit for frames of these maps, each uint8 [N, C, H, W]."""
    sizes = [(channels, height, width) for _, channels, height, width in (found.shape for found in maps)]
    return chained_constants(Random(seed), sizes)


@dataclass(frozen=True)
class EngineCase:
    """A network with its plan, and several different pictures, uint8 [C, H, W]."""

    network: CompressedNetwork
    plan: Plan
    pictures: tuple[np.ndarray, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The layers whose maps go out, the last one at the end."""
        return (*self.plan.inner, len(self.network.layers) - 1)


def residual_shapes() -> tuple[ConvShape, ...]:
    """A stem with a 3x3 pooling, a block with an identity, one with a projection, and one that repeats the
    integers of an earlier one and reads its shortcut from the part of the memory that it writes."""
    return (
        ConvShape("stem", BLOCK_CHANNELS, 5, pool=True, pool_size=3),
        ConvShape("block0_a", 5, 5, pool=False),
        ConvShape("block0_b", 5, 5, pool=False, shortcut=Shortcut(0)),
        ConvShape("block1_a", 5, 6, pool=False, stride=2),
        ConvShape("block1_b", 6, 5, pool=False, shortcut=Shortcut(2, projection=True, stride=2)),
        ConvShape("point", 5, 5, pool=False, kernel=1, shortcut=Shortcut(4)),
        ConvShape("point_again", 5, 5, pool=False, kernel=1, shares=5, shortcut=Shortcut(4)),
    )


def engine_case(name: str, config: EngineConfig, seed: int) -> EngineCase:
    """The case called ``name``: ``tiny`` (the shortest possible frame), ``pooled`` (pooling, several mask
    widths), ``wide`` (the widest row, strips), ``rows`` (three rows at once, if the engine can, and one row
    left over) or ``graph`` (a residual network on an image in blocks). With ``descriptor_maps`` of the
    configuration as many maps go out, any ones and the last. Raises ValueError for another name."""
    rng = np.random.default_rng([seed, *name.encode()])
    if name == "tiny":
        shapes, mask_bits, height, width = stack((2, 3, 2), pools=(0,)), (3, 1), 6, 5
    elif name == "pooled":
        shapes, mask_bits, height, width = stack((3, 4, 5, 3), pools=(0, 1)), (3, 4, 1), 15, 13
    elif name == "wide":
        shapes, mask_bits, height, width = stack((4, 3)), (5,), 3, config.max_width
    elif name == "rows":
        shapes, mask_bits, height, width = stack((1, 5, 3)), (3, 2), 10, 9
    elif name == "graph":
        shapes, mask_bits, height, width = residual_shapes(), (3, 1, 4, 2, 1, 2, 2), 23, 18
    else:
        raise ValueError(f"case {name!r}; allowed: tiny, pooled, wide, rows, graph")
    network = random_network(
        rng, shapes, [min(bits, config.mask_bits_max) for bits in mask_bits], name=name,
        activation_bits=config.activation_bits, blocks=(blocks := name == "graph"),
        shortcut_shift_max=config.shortcut_shift_max, tables=config.scalar_tables,
    )  # fmt: skip
    size = (IMAGE_CHANNELS if blocks else shapes[0].in_channels, height, width)
    pictures = rng.integers(0, 1 << PIXEL_BITS, size=(FRAMES, *size), dtype=np.uint8)
    inner = sorted(rng.choice(len(shapes) - 1, config.descriptor_maps - 1, replace=False).tolist())
    plan = make_plan(network, config, height, width, inner=inner)
    return EngineCase(network, plan, tuple(pictures))
