"""Constants of the chip's descriptor unit, from a whitening and a quantiser of the float chain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_CHANNELS_MAX,
    DESCRIPTOR_FRACTION,
    DESCRIPTOR_GAIN_SHIFT,
    DESCRIPTOR_MATRIX_BITS,
    DESCRIPTOR_MEAN_FRACTION,
    DESCRIPTOR_SCALE_BITS,
)
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.retrieval.describe.backends import network_digest
from kestrel.sw.retrieval.describe.crops import parse_crops
from kestrel.sw.retrieval.describe.descriptor import Descriptors, shown
from kestrel.sw.retrieval.describe.maps import parse_maps, pooled_layers
from kestrel.sw.retrieval.describe.whitening import MapWhitening, Whitening
from kestrel.sw.retrieval.pooling.bit_rows import bit_rows
from kestrel.sw.retrieval.pooling.grid import GridRegion
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, IntegerWhitening
from kestrel.sw.retrieval.pooling.nip import ACROSS, MOMENTS, NipSettings, map_regions
from kestrel.sw.retrieval.pooling.quantise import LEVELS, THRESHOLDS, Quantiser, fit_quantiser

GAIN_MAX = (1 << 32) - 1
OFFSET_MAX = (1 << 31) - 1
TOP = (1 << (DESCRIPTOR_MATRIX_BITS - 1)) - 1
SCALE_MAX = (1 << DESCRIPTOR_SCALE_BITS) - 1

_CHAIN = re.compile(
    rf"(?P<moment>{'|'.join(MOMENTS)}) over (?:levels (?P<levels>[0-9+]+)|the whole map)"
    rf"(?:, without a border of (?P<border>[0-9]+))?, (?P<norm>L2|no L2), (?P<across>{'|'.join(ACROSS)})"
)


def parse_chain(text: str) -> NipSettings:
    """The settings that ``NipSettings.text`` describes. Raises InputError."""
    match = _CHAIN.fullmatch(text)
    if match is None:
        raise InputError(f"pooling {text!r}; allowed: as describe writes it")
    levels = tuple(int(level) for level in (match["levels"] or "").split("+") if level)
    return NipSettings(
        match["moment"], levels, match["norm"] == "L2", match["across"], int(match["border"] or 0)
    )


def chip_regions(chain: NipSettings, height: int, width: int) -> tuple[GridRegion, ...]:
    """The regions of a map of height x width. Raises InputError for a chain that the chip does not have."""
    if chain.moment not in ("sqrt", "sqrt-sum") or not chain.region_norm or chain.across != "mean":
        raise InputError(
            f"pooling {chain.text!r}; allowed on the chip: sqrt or sqrt-sum, with L2 of every region, mean"
        )
    border = min(chain.border, (min(height, width) - 1) // 2)
    found = map_regions(height - 2 * border, width - 2 * border, chain)
    return tuple(GridRegion(r.top + border, r.left + border, r.height, r.width) for r in found)


def integer_whitening(whitening: MapWhitening, pairs: bool | None = None) -> IntegerWhitening:
    """Each row in steps of its largest element / 127 (a multiple of 2**-16 of the largest row's), rounded as
    ``round_rows`` says. With ``pairs`` a second row takes what rounding the first left over (None: if there
    are rows enough). An offset is the integer row times the mean, so rounding does not move the mean. Raises
    InputError for a whitening that is not applied after the average.
    """
    if whitening.mode != "after":
        raise InputError(
            f"whitening of mode {whitening.mode!r}; allowed on the chip: after (trained with --mode after)"
        )
    projection = whitening.projection.astype(np.float64)
    if pairs is None:
        pairs = 2 * len(projection) <= DESCRIPTOR_CHANNELS_MAX
    unit = np.abs(projection).max() / TOP / SCALE_MAX
    covered = np.zeros_like(projection)
    rows: list[np.ndarray] = []
    scales: list[np.ndarray] = []
    for last in (False, True) if pairs else (True,):
        left = projection - covered
        scale = np.clip(np.ceil(np.abs(left).max(axis=1) / TOP / unit - 1e-9), 1, SCALE_MAX)
        steps = scale * unit
        # A first row need only be near: the second one makes up for it.
        row = round_rows(projection, left, steps) if last else np.rint(left / steps[:, None])
        covered += row * steps[:, None]
        rows.append(row)
        scales.append(scale)
    matrix = np.stack(rows, axis=1).reshape(-1, projection.shape[1])
    # The chip's roots are rounded down: their average lies half a step lower.
    mean = whitening.mean.astype(np.float64) - 0.5 / (1 << DESCRIPTOR_FRACTION)
    offsets = np.rint(matrix @ mean * (1 << DESCRIPTOR_MEAN_FRACTION))
    if np.abs(offsets).max() > OFFSET_MAX:
        raise InputError(f"whitening with a mean of length {np.linalg.norm(whitening.mean):.3g}; allowed: 1")
    return IntegerWhitening(
        matrix.astype(np.int8),
        offsets.astype(np.int64),
        np.stack(scales, axis=1).ravel().astype(np.int64),
        pairs,
    )


def round_rows(projection: np.ndarray, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """float64 [D, C], [D] -> integers of 8 bits, float64 [D, C], times ``steps`` close to ``rows``, which are
    those of ``projection`` or a part of them.

    What counts is the error of the whitened vectors, e' S e for an error e of a row, S the covariance of the
    vectors; and S is known, since the rows of P whiten: its inverse is P'P (in directions that P does not
    keep vectors vary less than in any that it keeps). So a column's rounding error is made up for in the
    columns not yet rounded, by least squares: with S^-1 = R'R, R upper triangular, an error of w in column
    j moves column k by -w R[j,k] / R[j,j]. Columns that vary most come first.
    """
    _, spread, axes = np.linalg.svd(projection, full_matrices=True)
    kept = np.zeros(projection.shape[1])
    kept[: len(spread)] = np.maximum(spread, 1e-6 * spread[0])
    kept[len(spread) :] = spread[0]
    half = kept[:, None] * axes  # its square is S^-1
    variances = ((axes / kept[:, None]) ** 2).sum(axis=0)
    order = np.argsort(-variances, kind="stable")
    upper = np.linalg.cholesky(half[:, order].T @ half[:, order]).T
    left = rows[:, order] / steps[:, None]
    rounded = np.zeros_like(left)
    for column in range(left.shape[1]):
        rounded[:, column] = np.clip(np.rint(left[:, column]), -TOP, TOP)
        error = left[:, column] - rounded[:, column]
        left[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :] / upper[column, column])
    found = np.empty_like(rounded)
    found[:, order] = rounded
    return found


def with_bit_rows(whitening: MapWhitening | None, channels: int, quantiser: Quantiser) -> MapWhitening:
    """A whitening (None: none, of ``channels``) with a row for each bit: those that bits are the signs of
    (kestrel.sw.retrieval.pooling.bit_rows) times its matrix."""
    dimensions = channels if whitening is None else whitening.dimension
    rows = bit_rows(dimensions, quantiser.bits, quantiser.weights)
    if whitening is None:
        return MapWhitening(np.zeros(channels, np.float32), rows.astype(np.float32), "after")
    projection = (rows @ whitening.projection.astype(np.float64)).astype(np.float32)
    return replace(whitening, projection=projection)


def check_rotations(quantiser: Quantiser, rotations: int) -> None:
    """Raises InputError where the chip's maximum over rotations, which it takes of the rows, is not that of
    the dimensions, of which the float chain's bits are made."""
    if rotations > 1 and quantiser.bits != quantiser.dimension:
        raise InputError(
            f"{quantiser.bits} bits of {quantiser.dimension} dimensions with {rotations} rotations; "
            f"allowed on the chip: 1 rotation, or {quantiser.dimension} bits"
        )


@dataclass(frozen=True)
class MapShape:
    """Channels, height and width of a map that is pooled."""

    channels: int
    height: int
    width: int


def make_constants(
    channels: int,
    regions: Sequence[GridRegion],
    height: int,
    width: int,
    quantiser: Quantiser,
    whitening: Whitening | MapWhitening | None = None,
) -> DescriptorConstants:
    """For maps of ``channels`` x height x width; see ``chip_regions``. With another number of bits than
    dimensions the chip's vector is what the bits are the signs of (``with_bit_rows``); its bytes then have
    the quantiser's range, shortened as the vector's elements are on the average. Raises InputError."""
    white = whitening.single if isinstance(whitening, Whitening) else whitening
    dimensions = channels if white is None else white.dimension
    if quantiser.dimension != dimensions:
        raise InputError(
            f"thresholds of {quantiser.dimension} dimensions; allowed: {dimensions}, the descriptor's"
        )
    if quantiser.bits > DESCRIPTOR_CHANNELS_MAX:
        raise InputError(
            f"bits {quantiser.bits}; allowed on the chip: 1..{DESCRIPTOR_CHANNELS_MAX}, one a row"
        )
    low, high = quantiser.low, quantiser.high
    if quantiser.bits != dimensions:
        white = with_bit_rows(white, channels, quantiser)
        shorter = (dimensions / quantiser.bits) ** 0.5
        low, high = low * shorter, high * shorter
    made = None if white is None else integer_whitening(white)
    one = 1 << DESCRIPTOR_FRACTION
    step = (high - low) / LEVELS
    gain = round((1 << DESCRIPTOR_GAIN_SHIFT) / (one * step))
    thresholds = np.floor(quantiser.thresholds.astype(np.float64) * one).astype(np.int64)
    return DescriptorConstants(
        channels=channels,
        height=height,
        width=width,
        regions=tuple(regions),
        low=min(max(round(low * one), -one), one),
        gain=min(max(gain, 1), GAIN_MAX),
        thresholds=np.clip(thresholds, -one, one),
        whitening=made,
    )


def joined_constants(
    maps: Sequence[MapShape], chain: NipSettings, quantiser: Quantiser, whitening: Whitening | None = None
) -> DescriptorConstants:
    """For frames of which several maps are pooled, or one. The chip sends each map's vector by itself, of
    unit length; joined, the M vectors are shorter by the root of M, and so each map has the part of the
    quantiser that is its own, lengthened by as much. Raises InputError."""
    whitenings = [None] * len(maps) if whitening is None else list(whitening.maps)
    if len(whitenings) != len(maps):
        raise InputError(f"whitening of {len(whitenings)} maps; allowed: of {len(maps)}, as the descriptor")
    dimensions = [m.channels if w is None else w.dimension for m, w in zip(maps, whitenings, strict=True)]
    if len(maps) > 1 and quantiser.bits != sum(dimensions):
        raise InputError(
            f"{quantiser.bits} bits of {len(maps)} maps with {sum(dimensions)} dimensions together; "
            f"allowed on the chip: {sum(dimensions)} bits, or one map"
        )
    longer = len(maps) ** 0.5
    made: DescriptorConstants | None = None
    for number in reversed(range(len(maps))):
        shape, first = maps[number], sum(dimensions[:number])
        part = quantiser
        if len(maps) > 1:
            own = quantiser.thresholds[first : first + dimensions[number]]
            part = Quantiser(quantiser.low * longer, quantiser.high * longer, own * np.float32(longer), "")
        constants = make_constants(
            shape.channels, chip_regions(chain, shape.height, shape.width), shape.height, shape.width,
            part, whitenings[number],
        )  # fmt: skip
        made = replace(constants, following=made)
    assert made is not None, "at least one map"
    return made


def map_shapes(
    network: CompressedNetwork, layers: Sequence[int], height: int, width: int
) -> list[MapShape]:
    """Of the outputs of ``layers``, for images of height x width."""
    sizes = network.map_sizes(height, width)
    return [MapShape(network.layers[n].shape.out_channels, *sizes[n]) for n in layers]


def plain_quantiser(dimension: int, whitened: bool) -> Quantiser:
    """Ranges and thresholds for want of learned ones: those of a vector whose elements are alike."""
    even = dimension**-0.5
    low, middle = (-4 * even, 0.0) if whitened else (0.0, even)
    return Quantiser(low, 4 * even, np.full(dimension, middle, dtype=np.float32), "")


def trained_constants(
    network: CompressedNetwork,
    descriptors: Descriptors,
    name: str,
    height: int,
    width: int,
    whitening: Whitening | None = None,
    threshold: str | None = None,
) -> DescriptorConstants:
    """For images of height x width: range and thresholds of ``descriptors``, those of training photographs
    (their own, if they have codes; ``threshold`` is then None). They also say which chain it is. name:
    theirs, for errors. Raises InputError if they were made with another network, image size or whitening, or
    with a chain that the chip does not have."""
    settings = descriptors.settings
    digest = "" if whitening is None else whitening.digest
    for what, found, wanted in (
        ("arithmetic", settings.arithmetic, "integer"),
        ("network", settings.network, network_digest(network)),
        ("height", settings.height, height),
        ("width", settings.width, width),
        ("whitening", settings.whitening, digest),
    ):
        if found != wanted:
            raise InputError(f"{name}: {what} is {shown(found)}; allowed: {shown(wanted)}, as of the chip")
    shapes = [layer.shape for layer in network.layers]
    layers = pooled_layers(network.name, shapes, parse_maps(settings.maps))
    terms = parse_crops(settings.crops)
    if any(term.kind == "mosaic" or term.weight != 1 for term in terms):
        raise InputError(f"{name}: crops {settings.crops!r}; allowed on the chip: no mosaic, no weights")
    codes = descriptors.codes
    if codes is not None and threshold is not None:
        raise InputError(f"threshold {threshold} with {name}, whose codes have their own; allowed: with "
                         "descriptors without codes")
    quantiser = (
        fit_quantiser(descriptors.vectors, threshold or THRESHOLDS[0]) if codes is None else codes.quantiser
    )
    check_rotations(quantiser, settings.rotations)
    maps = map_shapes(network, layers, height, width)
    return joined_constants(maps, parse_chain(settings.pooling), quantiser, whitening)
