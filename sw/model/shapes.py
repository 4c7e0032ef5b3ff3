"""Shapes of layers and networks: what they compute, without their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE_CHANNELS = 3

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


def first_size(height: int, width: int, *, blocks: bool) -> tuple[int, int]:
    """(height, width) of the first layer's map for an image of ``height`` x ``width`` pixels."""
    return (-(-height // 2), -(-width // 2)) if blocks else (height, width)


def map_sizes(layers: Sequence[ConvShape], height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of every layer's output for a first map of ``height`` x ``width``."""
    sizes: list[tuple[int, int]] = []
    for number, layer in enumerate(layers):
        source = source_of(layers, number)
        sizes.append(layer.out_size(*((height, width) if source == IMAGE else sizes[source])))
    return sizes
