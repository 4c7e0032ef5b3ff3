"""Networks by name: the VGG family, and those of ``kestrel.sw.model.residual_networks``; cuts and width
divisors."""

import re
from collections.abc import Sequence

from kestrel.hw.spec.blocks import BLOCK_CHANNELS
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import LAYERS_MAX
from kestrel.sw.model.residual_networks import RESIDUAL_FAMILIES, is_residual, residual_shape
from kestrel.sw.model.shapes import (
    IMAGE,
    IMAGE_CHANNELS,
    ConvShape,
    NetworkShape,
    Shortcut,
    first_size,
    map_sizes,
    source_of,
)

__all__ = [
    "BLOCK_CHANNELS", "IMAGE", "IMAGE_CHANNELS", "VGG_BLOCKS", "VGG_CHANNELS", "ConvShape", "NetworkShape",
    "Shortcut", "families_of_pools", "first_size", "map_sizes", "parse_network", "shape_of_layers",
    "source_of",
]  # fmt: skip

VGG_BLOCKS: dict[str, tuple[int, ...]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions in each of the five blocks (Simonyan and Zisserman 2015, table 1, columns A, B, D and E)."""

VGG_CHANNELS = (64, 128, 256, 512, 512)


def parse_network(text: str) -> NetworkShape:
    """The shape that ``FAMILY[/DIVISOR][:CUT]`` names: ``vgg16``, ``vgg16:pool3``, ``vgg16/8:conv4_2``.

    DIVISOR divides every channel count but the image's (rounded up, at least 1). CUT is the last layer that
    is kept: in a VGG network ``convB_N`` (without the pooling that may follow it) or ``poolB``, in the others
    a block, as in ``resnet18:layer3.1``. Raises InputError.
    """
    match = re.fullmatch(r"(\w+?)(?:/(\d+))?(?::([\w.]+))?", text)
    if match is not None and is_residual(match[1]):
        return residual_shape(text, match[1], match[2], match[3])
    if match is None or match[1] not in VGG_BLOCKS:
        raise InputError(
            f"network {text!r} is not known; allowed: {', '.join((*VGG_BLOCKS, *RESIDUAL_FAMILIES))}, "
            "optionally with a width divisor and a cut, as in vgg16/8:pool3"
        )
    divisor = int(match[2] or 1)
    if not 1 <= divisor <= VGG_CHANNELS[-1]:
        raise InputError(f"network {text!r}: width divisor {divisor}; allowed: 1..{VGG_CHANNELS[-1]}")
    layers: list[ConvShape] = []
    features: list[int] = []
    cuts: dict[str, tuple[int, bool]] = {}
    channels, feature = IMAGE_CHANNELS, 0
    for block, count in enumerate(VGG_BLOCKS[match[1]], start=1):
        width = -(-VGG_CHANNELS[block - 1] // divisor)
        for n in range(1, count + 1):
            layers.append(ConvShape(f"conv{block}_{n}", channels, width, pool=n == count))
            features.append(feature)
            cuts[f"conv{block}_{n}"] = (len(layers), False)
            channels, feature = width, feature + 2
        cuts[f"pool{block}"] = (len(layers), True)
        feature += 1
    if match[3]:
        if match[3] not in cuts:
            raise InputError(f"network {text!r}: no layer {match[3]!r}; allowed cuts: {', '.join(cuts)}")
        keep, pool = cuts[match[3]]
        layers, features = layers[:keep], features[:keep]
        last = layers[-1]
        layers[-1] = ConvShape(last.name, last.in_channels, last.out_channels, pool)
    assert len(layers) <= LAYERS_MAX
    return NetworkShape(text, tuple(layers), tuple(features))


def shape_of_layers(name: str, layers: Sequence[ConvShape]) -> NetworkShape:
    """The stack of ``layers`` under any name, with the indices that torchvision would give them."""
    features: list[int] = []
    feature = 0
    for layer in layers:
        features.append(feature)
        feature += 3 if layer.pool else 2
    return NetworkShape(name, tuple(layers), tuple(features))


def families_of_pools(pools: Sequence[bool]) -> list[str]:
    """The families that begin with a stack or are equal to it, judged by which of its convolutions pool."""
    found = []
    for name, blocks in VGG_BLOCKS.items():
        whole = [n == count for count in blocks for n in range(1, count + 1)]
        if list(pools) == whole[: len(pools)]:
            found.append(name)
    return found
