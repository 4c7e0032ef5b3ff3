"""Network shapes: the VGG family, with cuts and width divisors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import LAYERS_MAX

VGG_BLOCKS: dict[str, tuple[int, ...]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions in each of the five blocks (Simonyan and Zisserman 2015, table 1, columns A, B, D and E)."""

VGG_CHANNELS = (64, 128, 256, 512, 512)
IMAGE_CHANNELS = 3


BLOCK_CHANNELS = 9 * IMAGE_CHANNELS
"""Channels of an image that is stored in 2x2 blocks (``NetworkShape.blocks``)."""

IMAGE = -1
"""In place of a layer's number: the image."""


@dataclass(frozen=True)
class Shortcut:
    """A second map that enters a layer's sum before bias, ReLU and pooling.

    source: the number of the layer whose output it is; projection: it passes a 1x1 convolution of step
    ``stride``, otherwise it has the sum's size and as many channels, each with a scalar of its own.
    """

    source: int
    projection: bool = False
    stride: int = 1


@dataclass(frozen=True)
class ConvShape:
    """A convolution and what follows: shortcut, ReLU, pooling.

    kernel: 3 (padding 1) or 1; stride: 1 or 2, of both; pool: maximum pooling 2x2/2, or, with ``pool_size``
    3, 3x3/2 with padding 1; a layer of stride 2 does not pool. source: the number of the layer whose output
    it reads, IMAGE for the image, None for the layer before (the image for the first one). shares: the number
    of an earlier layer whose integers are this layer's too.
    """

    name: str
    in_channels: int
    out_channels: int
    pool: bool
    pool_size: int = 2
    stride: int = 1
    kernel: int = 3
    source: int | None = None
    shortcut: Shortcut | None = None
    shares: int | None = None

    def conv_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the convolution's result for a map of ``height`` x ``width``."""
        return -(-height // self.stride), -(-width // self.stride)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the layer's output, after the pooling, for a map of ``height`` x ``width``. 0
        where the pooling leaves nothing."""
        height, width = self.conv_size(height, width)
        if not self.pool:
            return height, width
        return ((height + 1) // 2, (width + 1) // 2) if self.pool_size == 3 else (height // 2, width // 2)

    @property
    def is_plain(self) -> bool:
        """Whether any engine runs it: 3x3, stride 1, the map before, 2x2 pooling or none."""
        return self == ConvShape(self.name, self.in_channels, self.out_channels, self.pool)


@dataclass(frozen=True)
class NetworkShape:
    """Layers in the order in which they run. ``name`` is the text it was parsed from, such as
    ``vgg16/8:pool3``.

    ``features`` gives for each layer of a VGG stack its index in torchvision's ``features`` module, the key
    under which its float weights are stored; empty for other networks.

    blocks: the first layer reads the image in 2x2 blocks (docs/arithmetic.md, section 1), as BLOCK_CHANNELS
    channels of half its size: a 7x7 convolution of stride 2 has become one of 3x3.
    """

    name: str
    layers: tuple[ConvShape, ...]
    features: tuple[int, ...]
    blocks: bool = False


def source_of(layers: Sequence[ConvShape], number: int) -> int:
    """The number of the layer whose output layer ``number`` reads, or IMAGE."""
    source = layers[number].source
    return number - 1 if source is None else source


def map_sizes(layers: Sequence[ConvShape], height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of every layer's output for a first map of ``height`` x ``width``."""
    sizes: list[tuple[int, int]] = []
    for number, layer in enumerate(layers):
        source = source_of(layers, number)
        sizes.append(layer.out_size(*((height, width) if source == IMAGE else sizes[source])))
    return sizes


def parse_network(text: str) -> NetworkShape:
    """The shape that ``FAMILY[/DIVISOR][:CUT]`` names: ``vgg16``, ``vgg16:pool3``, ``vgg16/8:conv4_2``.

    DIVISOR divides every channel count (rounded up, at least 1). CUT is the last layer that is kept:
    ``convB_N`` (without the pooling that may follow it) or ``poolB``. Raises InputError.
    """
    match = re.fullmatch(r"(\w+?)(?:/(\d+))?(?::(\w+))?", text)
    if match is None or match[1] not in VGG_BLOCKS:
        raise InputError(
            f"network {text!r} is not known; allowed: {', '.join(VGG_BLOCKS)}, "
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
