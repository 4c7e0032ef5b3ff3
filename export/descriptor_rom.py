"""The descriptor ROM: constants of the descriptor unit as words, and back.

Layout, for each map of a frame: header, regions, thresholds, whitening (docs/rom-format.md).
"""

from dataclasses import replace

import numpy as np

from kestrel.export.formats.words import Words
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_CHANNELS_MAX,
    DESCRIPTOR_FIELDS,
    DESCRIPTOR_HEADER_WORDS,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_MATRIX_BITS,
    DESCRIPTOR_SCALE_BITS,
    DESCRIPTOR_VERSION,
    DESCRIPTOR_WORD_BITS,
    REGION_FIELDS,
    REGION_WORDS,
    DescriptorConfig,
    descriptor_unit,
)
from kestrel.hw.spec.engine_config import (
    DESCRIPTOR_MAPS_MAX,
    DESCRIPTOR_WORDS_MAX,
    DESCRIPTOR_WORDS_MIN,
    WHITENING_ROWS,
    EngineConfig,
)
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.records import pack_record, unpack_record
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerWhitening

DEFAULT = DescriptorConfig()
CHANNELS_MIN = 2
SIGN = 1 << (DESCRIPTOR_WORD_BITS - 1)
MASK = (1 << DESCRIPTOR_WORD_BITS) - 1


def encode_descriptor(constants: DescriptorConstants, descriptor: DescriptorConfig = DEFAULT) -> Words:
    """The ROM's words. Raises InputError for constants that the unit cannot hold."""
    if len(constants.maps) > descriptor.maps:
        raise InputError(
            f"descriptor of {len(constants.maps)} maps; allowed: 1..{descriptor.maps}"
            f"{_setting('descriptor_maps', len(constants.maps), DESCRIPTOR_MAPS_MAX)}"
        )
    values: list[int] = []
    for part in constants.maps:
        values += _encode_map(part, descriptor, len(values))
    if len(values) > descriptor.rom_words:
        raise InputError(
            f"descriptor ROM of {len(values)} words; allowed: 1..{descriptor.rom_words}"
            f"{_setting('descriptor_words', len(values), DESCRIPTOR_WORDS_MAX)}"
        )
    return Words.from_ints(descriptor.word_bits, values)


def _encode_map(constants: DescriptorConstants, descriptor: DescriptorConfig, base: int) -> list[int]:
    """The words of one map, of which the first lies at address ``base``."""
    size = max(constants.channels, constants.dimensions)
    if size > descriptor.channels:
        raise InputError(
            f"descriptor of {size} channels or dimensions; allowed: 1..{descriptor.channels}"
            f"{_setting('descriptor_channels', _power_of_two(size), DESCRIPTOR_CHANNELS_MAX)}"
        )
    if constants.whitening is not None and not descriptor.whitening:
        raise InputError(
            "descriptor with whitening; allowed: none, the unit was made without, "
            "or --set descriptor_whitening=true"
        )
    regions = [
        word
        for region in constants.regions
        for word in pack_record(
            REGION_FIELDS, REGION_WORDS,
            {"top": region.top, "left": region.left, "height": region.height, "width": region.width},
        )
    ]  # fmt: skip
    thresholds = [int(value) & MASK for value in constants.thresholds]
    whitening = (
        [] if constants.whitening is None else _encode_whitening(constants.whitening, descriptor.matrix_rows)
    )
    regions_base = base + DESCRIPTOR_HEADER_WORDS
    thresholds_base = regions_base + len(regions)
    whitening_base = thresholds_base + len(thresholds)
    header = pack_record(
        DESCRIPTOR_FIELDS, DESCRIPTOR_HEADER_WORDS,
        {
            "magic": DESCRIPTOR_MAGIC,
            "version": DESCRIPTOR_VERSION,
            "whitening": int(constants.whitening is not None),
            "pairs": int(constants.whitening is not None and constants.whitening.pairs),
            "more": int(constants.following is not None),
            "channels": constants.channels,
            "dimensions": constants.dimensions,
            "height": constants.height,
            "width": constants.width,
            "regions": len(constants.regions),
            "low": constants.low & MASK,
            "gain": constants.gain,
            "regions_base": regions_base,
            "thresholds_base": thresholds_base,
            "whitening_base": whitening_base if whitening else 0,
            "words": whitening_base + len(whitening),
        },
    )  # fmt: skip
    return [*header, *regions, *thresholds, *whitening]


def fit_descriptor(config: EngineConfig, constants: DescriptorConstants) -> EngineConfig:
    """``config`` with the smallest descriptor unit that holds these constants: vectors, ROM, and a whitening
    only if they have one. Raises InputError for constants that none holds."""
    sizes = [size for part in constants.maps for size in (part.channels, part.dimensions)]
    channels = max(CHANNELS_MIN, _power_of_two(max(sizes)))
    unit = replace(descriptor_unit(config), channels=DESCRIPTOR_CHANNELS_MAX, rom_words=DESCRIPTOR_WORDS_MAX,
                   whitening=True, maps=DESCRIPTOR_MAPS_MAX)
    words = len(encode_descriptor(constants, unit))
    return config.with_options(
        descriptor_channels=channels, descriptor_words=max(DESCRIPTOR_WORDS_MIN, words),
        descriptor_whitening=any(part.whitening is not None for part in constants.maps),
        descriptor_maps=len(constants.maps),
    )  # fmt: skip


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _setting(name: str, value: int, largest: int) -> str:
    """The rest of an error: what makes the unit large enough, if any is."""
    return f", or --set {name}={value}" if value <= largest else ""


def _encode_whitening(whitening: IntegerWhitening, at_once: int) -> list[int]:
    count, channels = whitening.matrix.shape
    words: list[int] = []
    for first in range(0, count, at_once):
        rows = np.zeros((at_once, channels), dtype=np.int8)
        part = whitening.matrix[first : first + at_once]
        rows[: len(part)] = part
        words += [int.from_bytes(column.tobytes(), "little") for column in rows.T]
        for row in range(first, first + at_once):
            offset = int(whitening.offsets[row]) if row < count else 0
            scale = int(whitening.scales[row]) if row < count else 0
            words += [abs(offset) | (SIGN if offset < 0 else 0), scale]
    return words


def decode_descriptor(words: Words) -> DescriptorConstants:
    """Inverse of ``encode_descriptor``. Raises InputError for words that it does not write."""
    values = words.to_ints()
    widths = [DESCRIPTOR_MATRIX_BITS * rows for rows in WHITENING_ROWS]
    if words.word_bits not in widths or len(values) < DESCRIPTOR_HEADER_WORDS:
        raise InputError(
            f"descriptor ROM of {len(values)} words of {words.word_bits} bits; "
            f"allowed: {DESCRIPTOR_HEADER_WORDS} at least, of {', '.join(map(str, widths))} bits"
        )
    rows = words.word_bits // DESCRIPTOR_MATRIX_BITS
    constants = _decode_map(values, 0, rows)
    unit = DescriptorConfig(rom_words=DESCRIPTOR_WORDS_MAX, matrix_rows=rows, maps=DESCRIPTOR_MAPS_MAX)
    if encode_descriptor(constants, unit) != words:
        raise InputError("descriptor ROM: words that mean nothing are not 0; allowed: an image as written")
    return constants


def _decode_map(values: list[int], base: int, rows: int, before: int = 0) -> DescriptorConstants:
    """The constants of the map whose header lies at ``base``, and of those that follow. ``before``: how many
    maps come before it. ``rows`` rows of the matrix lie in a word."""
    header = unpack_record(DESCRIPTOR_FIELDS, _words(values, base, DESCRIPTOR_HEADER_WORDS))
    end = header["words"] if header["more"] else len(values)
    for name, expected in (
        ("magic", DESCRIPTOR_MAGIC), ("version", DESCRIPTOR_VERSION), ("words", end),
    ):  # fmt: skip
        if header[name] != expected:
            raise InputError(f"descriptor ROM: {name} = {header[name]:#x}; allowed: {expected:#x}")
    if header["more"] and (before + 1 >= DESCRIPTOR_MAPS_MAX or not base < end < len(values)):
        raise InputError(
            f"descriptor ROM: map {before + 1} ends at {end} and another one follows; "
            f"allowed: an end within {base + 1}..{len(values) - 1}, and {DESCRIPTOR_MAPS_MAX} maps"
        )
    channels, dimensions = header["channels"], header["dimensions"]
    base += DESCRIPTOR_HEADER_WORDS
    regions = []
    for _ in range(header["regions"]):
        regions.append(GridRegion(**unpack_record(REGION_FIELDS, _words(values, base, REGION_WORDS))))
        base += REGION_WORDS
    thresholds = np.array([_signed(word) for word in _words(values, base, dimensions)], dtype=np.int64)
    whitening = None
    if header["whitening"]:
        whitening = _decode_whitening(
            values, base + dimensions, dimensions, channels, bool(header["pairs"]), rows
        )
    following = _decode_map(values, end, rows, before + 1) if header["more"] else None
    return DescriptorConstants(
        channels, header["height"], header["width"], tuple(regions), _signed(header["low"]), header["gain"],
        thresholds, whitening, following,
    )  # fmt: skip


def _decode_whitening(
    values: list[int], base: int, dimensions: int, channels: int, pairs: bool, at_once: int
) -> IntegerWhitening:
    count = dimensions * (1 + pairs)
    if not count:
        raise InputError("descriptor ROM: a whitening to 0 dimensions; allowed: 1 or more")
    matrix: list[np.ndarray] = []
    offsets: list[int] = []
    scales: list[int] = []
    for _ in range(0, count, at_once):
        columns = b"".join(word.to_bytes(at_once, "little") for word in _words(values, base, channels))
        matrix.append(np.frombuffer(columns, np.int8).reshape(channels, at_once).T)
        rows = _words(values, base + channels, 2 * at_once)
        offsets += [-(word - SIGN) if word & SIGN else word for word in rows[0::2]]
        scales += [word & ((1 << DESCRIPTOR_SCALE_BITS) - 1) for word in rows[1::2]]
        base += channels + 2 * at_once
    return IntegerWhitening(
        np.concatenate(matrix)[:count],
        np.array(offsets[:count], dtype=np.int64),
        np.array(scales[:count], dtype=np.int64),
        pairs,
    )


def _words(values: list[int], base: int, count: int) -> list[int]:
    if base + count > len(values):
        raise InputError(f"descriptor ROM: ends after {len(values)} words; expected: {base + count} at least")
    return values[base : base + count]


def _signed(word: int) -> int:
    return word - (1 << DESCRIPTOR_WORD_BITS) if word & SIGN else word
