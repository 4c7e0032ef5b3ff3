"""Random maps, constants and sequences of commands for the descriptor unit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_MATRIX_BITS,
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_SCALE_BITS,
)
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import BYTE
from kestrel.sw.planning.geometry import group_count, last_lanes
from kestrel.sw.retrieval.pooling.grid import GridRegion, roi_grid
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerNip, IntegerWhitening

OUTPUTS = (DESCRIPTOR_OUTPUT_BYTES, DESCRIPTOR_OUTPUT_BITS, DESCRIPTOR_OUTPUT_SUMS)


@dataclass(frozen=True)
class Place:
    """The place of a map: a circular region of ``slots``, with row 0 in ``bank`` of slot number ``first``."""

    base: int
    slots: int
    stride: int
    first: int
    bank: int

    @property
    def end(self) -> int:
        return self.base + self.slots * self.stride

    def row(self, number: int) -> tuple[int, int]:
        """The bank and the slot address of a row."""
        turns, bank = divmod(self.bank + number, BANKS)
        return bank, self.base + (self.first + turns) % self.slots * self.stride


@dataclass(frozen=True)
class Frame:
    """A map of a frame, its place and command, and the bytes that are sent."""

    features: np.ndarray
    place: Place
    command: dict[str, int]
    sent: bytes = field(repr=False)


def random_constants(
    source: Random, channels: int, height: int, width: int, whitens: bool = True,
    following: DescriptorConstants | None = None,
) -> DescriptorConstants:  # fmt: skip
    """Regions from one pixel to the whole map, any thresholds, and with ``whitens`` sometimes a whitening.
    Before another map's the dimensions fill whole bytes; ``channels`` must do so unless it whitens."""
    if source.random() < 0.3:
        regions = roi_grid(height, width, (1, 2))
    else:
        regions = tuple(random_region(source, height, width) for _ in range(source.randint(1, 4)))
    whitening = None
    dimensions = channels
    if whitens and (source.random() < 0.6 or (following and channels % BYTE)):
        dimensions = source.choice((1, channels, source.randint(1, channels + 2)))
        if following:
            dimensions = BYTE * group_count(dimensions, BYTE)
        rng = np.random.default_rng(source.getrandbits(32))
        top = 1 << DESCRIPTOR_MATRIX_BITS - 1
        pairs = source.random() < 0.5
        rows = dimensions * (1 + pairs)
        matrix = rng.integers(-top, top, (rows, channels), dtype=np.int8)
        if source.random() < 0.2:
            matrix[:] = source.choice((-top, top - 1, 0))
        largest = source.choice((0, 1 << 20, (1 << 31) - 1))
        whitening = IntegerWhitening(
            matrix,
            rng.integers(-largest, largest + 1, rows),
            rng.integers(0, 1 << DESCRIPTOR_SCALE_BITS, rows)
            if source.random() < 0.8
            else np.full(rows, source.choice((0, (1 << DESCRIPTOR_SCALE_BITS) - 1)), dtype=np.int64),
            pairs,
        )
    rng = np.random.default_rng(source.getrandbits(32))
    low = source.choice((0, -(1 << 16), 1 << 16, source.randint(-40000, 20000)))
    return DescriptorConstants(
        channels, height, width, regions, low,
        gain=source.choice((1, (1 << 32) - 1, 1 << 15, source.randrange(1 << 16, 1 << 20))),
        thresholds=rng.integers(-40000, 65537, dimensions), whitening=whitening, following=following,
    )  # fmt: skip


def chained_constants(
    source: Random, sizes: Sequence[tuple[int, int, int]], whitens: bool = True
) -> DescriptorConstants:
    """``random_constants`` for frames of maps of these channels, heights and widths."""
    made: DescriptorConstants | None = None
    for size in reversed(sizes):
        made = random_constants(source, *size, whitens, made)
    assert made is not None, "at least one map"
    return made


def random_region(source: Random, height: int, width: int) -> GridRegion:
    rows, columns = (source.choice((1, n, source.randint(1, n))) for n in (height, width))
    return GridRegion(source.randint(0, height - rows), source.randint(0, width - columns), rows, columns)


def random_map(source: Random, config: EngineConfig, channels: int, height: int, width: int) -> np.ndarray:
    """uint8 [C, H, W]: random, sparse, all at the maximum, all zero, or a single pixel of one channel."""
    top = (1 << config.activation_bits) - 1
    shape = (channels, height, width)
    rng = np.random.default_rng(source.getrandbits(32))
    kind = source.randrange(8)
    if kind == 0:
        return np.full(shape, top, dtype=np.uint8)
    if kind == 1:
        return np.zeros(shape, dtype=np.uint8)
    values = rng.integers(0, top + 1, shape, dtype=np.uint8)
    if kind == 2:
        values[:] = 0
        values[tuple(int(rng.integers(n)) for n in shape)] = source.choice((1, top))
    elif kind in (3, 4):
        values[rng.random(shape) < 0.9] = 0
    elif kind == 5:
        values[source.randrange(channels)] = 0
    return values


def random_place(source: Random, config: EngineConfig, channels: int, height: int, width: int) -> Place:
    stride = group_count(channels, config.word_lanes) * width
    bank = source.choice((0, source.randrange(BANKS)))
    slots = group_count(bank + height, BANKS)
    room = min(config.feature_words) - slots * stride
    base = source.choice((0, room, source.randint(0, room)))
    return Place(base, slots, stride, source.choice((0, source.randrange(slots))), bank)


def descriptor_frames(
    source: Random, config: EngineConfig, constants: DescriptorConstants, output: int
) -> Iterator[tuple[Frame, ...]]:
    """All frames of a descriptor, which is of one picture or of several crops and rotations; of each frame
    its maps."""
    models = [IntegerNip(part, output) for part in constants.maps]
    crops, turns = source.choice(((1, 1), (1, 1), (2, 1), (1, 2), (3, 2)))
    for turn in range(turns):
        for crop in range(crops):
            flags = {
                "first_crop": crop == 0, "last_crop": crop == crops - 1,
                "first_rotation": turn == 0, "last_rotation": turn == turns - 1,
            }  # fmt: skip
            command = {**{name: int(flag) for name, flag in flags.items()}, "output": output}
            maps: list[Frame] = []
            for part, model in zip(constants.maps, models, strict=True):
                size = part.channels, part.height, part.width
                features = random_map(source, config, *size)
                place = random_place(source, config, *size)
                maps.append(Frame(features, place, command, model.frame(features, **flags)))
            yield tuple(maps)


def memory_words(frame: Frame, config: EngineConfig, source: Random) -> dict[tuple[int, int], int]:
    """The words by (bank, address), with random bits in the lanes beyond the channels."""
    lanes, bits = config.word_lanes, config.activation_bits
    channels, height, width = frame.features.shape
    last = last_lanes(channels, lanes)
    words: dict[tuple[int, int], int] = {}
    for row in range(height):
        bank, slot = frame.place.row(row)
        for group in range(group_count(channels, lanes)):
            part = frame.features[group * lanes : (group + 1) * lanes, row]
            for column in range(width):
                word = source.getrandbits(bits * (lanes - last)) << bits * last if len(part) < lanes else 0
                for lane, value in enumerate(part[:, column].tolist()):
                    word |= value << lane * bits
                words[bank, slot + group * width + column] = word
    return words
