"""Networks as graphs: which layers may read which maps, for how long a map is needed, and how small an image
may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from kestrel.hw.spec.blocks import BLOCK_CHANNELS
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.shapes import IMAGE, ConvShape, NetworkShape, map_sizes, source_of


@dataclass(frozen=True)
class Side:
    """A map's rows or columns in terms of the image's: (side + offset) >> halvings, which says it for every
    image at once: two maps are always equally large if and only if both numbers agree."""

    halvings: int = 0
    offset: int = 0

    def half(self, *, up: bool) -> "Side":
        """Of half as many, rounded up or down."""
        return Side(self.halvings + 1, self.offset + (up << self.halvings))

    def after(self, stride: int) -> "Side":
        return self.half(up=True) if stride == 2 else self


def output_side(layer: ConvShape, side: Side) -> Side:
    """The side of a layer's output, its pooling included, for an input of ``side``."""
    side = side.after(layer.stride)
    return side.half(up=layer.pool_size == 3) if layer.pool else side


def check_graph(layers: Sequence[ConvShape], *, blocks: bool = False) -> None:
    """Raises InputError, naming layer, value and what is allowed, unless every layer is one that exists,
    reads maps of earlier layers, and these have the channels and, for every image, the size that it needs."""
    sides: list[Side] = []
    if blocks and layers[0].in_channels != BLOCK_CHANNELS:
        raise InputError(f"layer {layers[0].name}: in_channels = {layers[0].in_channels}; "
                         f"allowed: {BLOCK_CHANNELS}, those of an image in blocks")
    for number, layer in enumerate(layers):
        _check_layer(layer)
        side = _check_source(layers, number, sides)
        _check_shortcut(layers, number, sides, side.after(layer.stride))
        _check_shares(layers, number)
        sides.append(output_side(layer, side))


def _check_layer(layer: ConvShape) -> None:
    for what, value, allowed in (("kernel", layer.kernel, (1, 3)), ("stride", layer.stride, (1, 2)),
                                 ("pool_size", layer.pool_size, (2, 3))):
        if value not in allowed:
            raise InputError(f"layer {layer.name}: {what} = {value}; allowed: {allowed[0]}, {allowed[1]}")
    if layer.pool and layer.stride == 2:
        raise InputError(f"layer {layer.name}: pooling with stride = 2; allowed: one of the two")


def _check_source(layers: Sequence[ConvShape], number: int, sides: list[Side]) -> Side:
    """The side of the map that the layer reads."""
    layer, source = layers[number], source_of(layers, number)
    if number == 0:
        if source != IMAGE:
            raise InputError(f"layer {layer.name}: source = {source}; "
                             f"allowed: {IMAGE}, the image, for the first layer")
        return Side()
    if not 0 <= source < number:
        raise InputError(f"layer {layer.name}: source = {source}; allowed: 0..{number - 1}, an earlier layer")
    if layer.in_channels != layers[source].out_channels:
        raise InputError(f"layer {layer.name}: in_channels = {layer.in_channels}; "
                         f"allowed: {layers[source].out_channels}, what {layers[source].name} gives")
    return sides[source]


def _check_shortcut(layers: Sequence[ConvShape], number: int, sides: list[Side], side: Side) -> None:
    layer, shortcut = layers[number], layers[number].shortcut
    if shortcut is None:
        return
    where = f"layer {layer.name}: shortcut"
    if not 0 <= shortcut.source < number:
        allowed = f"0..{number - 1}, an earlier layer" if number else "none in the first layer"
        raise InputError(f"{where}'s source = {shortcut.source}; allowed: {allowed}")
    if shortcut.stride not in (1, 2) or (shortcut.stride == 2 and not shortcut.projection):
        raise InputError(f"{where}'s stride = {shortcut.stride}; "
                         f"allowed: {'1, 2' if shortcut.projection else '1 for an identity'}")
    source = layers[shortcut.source]
    if not shortcut.projection and source.out_channels != layer.out_channels:
        raise InputError(f"{where} without projection has {source.out_channels} channels; "
                         f"allowed: {layer.out_channels}, the layer's own")
    if sides[shortcut.source].after(shortcut.stride) != side:
        raise InputError(f"{where} ({source.name} with stride {shortcut.stride}) does not always have the "
                         "size of the convolution's result; allowed: equal sizes for images of every size")


def _check_shares(layers: Sequence[ConvShape], number: int) -> None:
    layer, shares = layers[number], layers[number].shares
    if shares is None:
        return
    if not 0 < shares < number or layers[shares].shares is not None:
        raise InputError(f"layer {layer.name}: shares = {shares}; allowed: the number of an earlier layer, "
                         "not the first, that has integers of its own")
    if integers_shape(layers, number) != integers_shape(layers, shares):
        raise InputError(f"layer {layer.name}: shares the integers of {layers[shares].name}, whose shape is "
                         "another; allowed: layers of equal channels, kernel and kind of shortcut")


def integers_shape(layers: Sequence[ConvShape], number: int) -> tuple[int, ...]:
    """What decides the shapes of a layer's arrays: layers that agree in it may share them."""
    layer, shortcut = layers[number], layers[number].shortcut
    kind = (0, 0) if shortcut is None else (1 + shortcut.projection, layers[shortcut.source].out_channels)
    return (layer.in_channels, layer.out_channels, layer.kernel, *kind)


def owners(layers: Sequence[ConvShape]) -> list[int]:
    """The numbers of the layers that have integers of their own."""
    return [number for number, layer in enumerate(layers) if layer.shares is None]


def weight_counts(layers: Sequence[ConvShape]) -> list[int]:
    """The weights of every layer, its projection's included; 0 for one that shares another's."""
    counts: list[int] = []
    for layer in layers:
        count = layer.in_channels * layer.out_channels * layer.kernel**2
        if layer.shortcut is not None and layer.shortcut.projection:
            count += layer.out_channels * layers[layer.shortcut.source].out_channels
        counts.append(0 if layer.shares is not None else count)
    return counts


def last_readers(layers: Sequence[ConvShape]) -> list[int]:
    """For every layer the number of the last layer that reads its output; its own if none does."""
    readers = list(range(len(layers)))
    for number, layer in enumerate(layers):
        sources = [source_of(layers, number)]
        if layer.shortcut is not None:
            sources.append(layer.shortcut.source)
        for source in sources:
            if source != IMAGE:
                readers[source] = number
    return readers


def smallest_side(layers: Sequence[ConvShape]) -> int:
    """The smallest side of a first map of which no pooling leaves nothing."""
    side = 1
    while min(map_sizes(layers, side, side)) < (1, 1):
        side += 1
    return side


def smallest_image(shape: NetworkShape) -> int:
    """The smallest side of an image of which no pooling leaves nothing."""
    side = smallest_side(shape.layers)
    return 2 * side - 1 if shape.blocks else side


def check_plain(shape: NetworkShape, what: str) -> None:
    """Raises InputError unless ``shape`` is a stack that any engine runs; ``what`` cannot do others yet."""
    odd = [layer.name for layer in shape.layers if not layer.is_plain]
    if shape.blocks or odd:
        raise InputError(
            f"network {shape.name}: layer {(odd or [shape.layers[0].name])[0]} is not a plain 3x3 "
            f"convolution behind the layer before; allowed in {what}: networks of plain layers, as vgg16"
        )


def scale_groups(layers: Sequence[ConvShape]) -> list[int]:
    """For every layer the number of the first layer whose output must have the same scale as its own. Layers
    that share integers stand for the same real weights only if their inputs, shortcuts and outputs agree in
    scale."""
    groups = list(range(len(layers)))

    def join(a: int, b: int) -> None:
        low, high = sorted((groups[a], groups[b]))
        for number, group in enumerate(groups):
            if group == high:
                groups[number] = low

    for number, layer in enumerate(layers):
        if layer.shares is None:
            continue
        owner = layers[layer.shares]
        join(number, layer.shares)
        join(source_of(layers, number), source_of(layers, layer.shares))
        if layer.shortcut is not None and owner.shortcut is not None:
            join(layer.shortcut.source, owner.shortcut.source)
    return groups
