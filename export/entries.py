"""What the manifest of an export says: of layers, memories and files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kestrel.export.formats.words import Words
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.widths import SCALAR_BITS
from kestrel.sw.model.network import IMAGE, ConvShape, Shortcut, source_of

VERSION = 2
"""Of an export of a stack of plain layers (``ConvShape.is_plain``)."""
GRAPH_VERSION = 3
"""Of an export of any other network whose scalars have 8 bits each."""
TABLES_VERSION = 4
"""Of an export of a network, a stack or not, in which some layer's scalars come from a table."""

NO_SHORTCUT = "none"
SHORTCUTS = (NO_SHORTCUT, "identity", "projection")


@dataclass(frozen=True)
class GraphEntry:
    """What a layer of a network that is no stack has besides, as ``ConvShape`` and ``Shortcut`` have it.

    ``source``: the layer whose output it reads, IMAGE for the image; ``weights``: the layer whose place in
    the ROM it uses, its own number unless it shares. ``shortcut``: one of SHORTCUTS; without one the
    other three are 0.
    """

    pool_size: int
    stride: int
    kernel: int
    source: int
    weights: int
    shortcut: str
    shortcut_source: int
    shortcut_stride: int
    shortcut_shift: int

    @classmethod
    def of(cls, layers: Sequence[ConvShape], number: int, shortcut_shift: int) -> "GraphEntry":
        """That of layer ``number``."""
        shape, shortcut = layers[number], layers[number].shortcut
        return cls(
            shape.pool_size, shape.stride, shape.kernel, source_of(layers, number),
            number if shape.shares is None else shape.shares,
            NO_SHORTCUT if shortcut is None else SHORTCUTS[1 + shortcut.projection],
            0 if shortcut is None else shortcut.source, 0 if shortcut is None else shortcut.stride,
            shortcut_shift,
        )  # fmt: skip


@dataclass(frozen=True)
class LayerEntry:
    """A layer: its shape, the size of the map it works on, what the ROM does not hold, and its ROM words.
    ``graph``: None in a stack of plain layers, unless it has tables of scalars."""

    name: str
    in_channels: int
    out_channels: int
    height: int
    width: int
    mask_bits: int
    shift: int
    pool: bool
    has_pad: bool
    scale: float
    trained: bool
    rom_word: int
    rom_words: int
    graph: GraphEntry | None = None
    scalar_bits: int = SCALAR_BITS

    def shape(self, number: int) -> ConvShape:
        """The shape of the layer, which is number ``number``."""
        plain = ConvShape(self.name, self.in_channels, self.out_channels, self.pool)
        if (graph := self.graph) is None:
            return plain
        projection = graph.shortcut == SHORTCUTS[-1]
        return replace(
            plain, pool_size=graph.pool_size, stride=graph.stride, kernel=graph.kernel,
            source=None if graph.source == max(number - 1, IMAGE) else graph.source,
            shares=None if graph.weights == number else graph.weights,
            shortcut=None if graph.shortcut == NO_SHORTCUT
            else Shortcut(graph.shortcut_source, projection, graph.shortcut_stride),
        )  # fmt: skip


@dataclass(frozen=True)
class MemoryEntry:
    """A memory's contents: ``crc32`` is over the little-endian bytes of the words in address order."""

    word_bits: int
    words: int
    crc32: int

    @classmethod
    def of(cls, words: Words) -> "MemoryEntry":
        return cls(words.word_bits, len(words), words.crc32)


@dataclass(frozen=True)
class FileEntry:
    """A file beside the manifest: its size and, in hexadecimal, its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about an export except the images themselves.

    ``weight_bits`` counts masks and scalars; ``rom_bits`` the whole ROM; ``overhead`` is the share
    by which the ROM is larger than masks, scalars and biases together; ``network_crc32`` is the CRC-32 in the
    table (``kestrel.export.schedule_table.network_crc``), by which the chip identifies the network;
    ``blocks``: the first layer reads the image in 2x2 blocks (docs/arithmetic.md, section 1); ``images``:
    those of a frame.
    """

    version: int
    network: str
    activation_bits: int
    preprocessing: str
    config: EngineConfig
    height: int
    width: int
    layers: tuple[LayerEntry, ...]
    weight_bits: int
    rom_bits: int
    overhead: float
    weights: MemoryEntry
    table: MemoryEntry
    network_crc32: int
    descriptor: MemoryEntry | None
    files: tuple[FileEntry, ...]
    blocks: bool = False
    images: int = 1

    @property
    def shapes(self) -> tuple[ConvShape, ...]:
        """Of the layers."""
        return tuple(layer.shape(number) for number, layer in enumerate(self.layers))


def file_entry(path: Path) -> FileEntry:
    contents = path.read_bytes()
    return FileEntry(path.name, len(contents), hashlib.sha256(contents).hexdigest())
