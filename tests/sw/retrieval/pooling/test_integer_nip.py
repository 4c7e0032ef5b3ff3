"""The chip's descriptor against the definition in whole numbers of any size, and against the float chain."""

from math import isqrt

import numpy as np
import pytest

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import (
    DESCRIPTOR_OUTPUT_BITS,
    DESCRIPTOR_OUTPUT_BYTES,
    DESCRIPTOR_OUTPUT_SUMS,
    DESCRIPTOR_SUMMED_MAX,
)
from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.chip_constants import (
    check_rotations,
    chip_regions,
    integer_whitening,
    make_constants,
    parse_chain,
    round_rows,
)
from kestrel.sw.retrieval.describe.descriptor import DescriptorSettings
from kestrel.sw.retrieval.describe.whitening import Scatter
from kestrel.sw.retrieval.pooling.bit_rows import bit_values
from kestrel.sw.retrieval.pooling.cycles import descriptor_cycles, nip_stages
from kestrel.sw.retrieval.pooling.grid import GridRegion, roi_grid
from kestrel.sw.retrieval.pooling.integer_nip import (
    DescriptorConstants,
    IntegerNip,
    IntegerWhitening,
    describe,
    normalise,
    output_length,
    region_squares,
    unit,
    vector_of,
    whiten,
)
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, crop_vectors
from kestrel.sw.retrieval.pooling.quantise import Quantiser, fit_quantiser, to_bits, to_bytes

SETTINGS = DescriptorSettings("n", "integer", 56, 56, "caffe", "whole", NipSettings().text, 1, "")


def exact_unit(squares):
    """Section 10 of docs/arithmetic.md, with Python's numbers."""
    total = sum(squares)
    if not total:
        return [0] * len(squares)
    place = total.bit_length() - 1
    reciprocal = (2**48 - 1) // ((total << 31) >> place)
    return [isqrt((((s << 31) >> place) * reciprocal) >> 16) for s in squares]


def exact_normalise(vector):
    amount = max(abs(v) for v in vector).bit_length() + 15
    upper = [(abs(v) << 31) >> amount for v in vector]
    return [(-1 if v < 0 else 1) * u for v, u in zip(vector, exact_unit([z * z for z in upper]), strict=True)]


def exact_whiten(sums, summed, whitening):
    k = summed.bit_length() - 1
    means = [(s << 3) >> k for s in sums]
    times = summed << 16 >> k + 1
    rows = []
    for weights, offset, scale in zip(
        whitening.matrix.tolist(), whitening.offsets.tolist(), whitening.scales.tolist(), strict=True
    ):
        value = sum(w * x for w, x in zip(weights, means, strict=True))
        value -= (1 if offset > 0 else -1) * ((abs(offset) * times) >> 15)
        rows.append((1 if value > 0 else -1) * (((abs(value) >> 3) * scale) >> 16))
    step = whitening.rows_each
    return [sum(rows[n : n + step]) for n in range(0, len(rows), step)]


def random_squares(rng, channels):
    kind = rng.integers(5)
    if kind == 0:
        return np.full(channels, (1 << 32) - 1)
    if kind == 1:
        return np.zeros(channels, dtype=np.int64)
    squares = rng.integers(0, 1 << int(rng.integers(1, 33)), channels)
    if kind == 2:
        squares[:] = 0
        squares[rng.integers(channels)] = rng.integers(1, 1 << 32)
    return squares


def test_unit_is_the_definition(rng):
    for _ in range(300):
        squares = random_squares(rng, int(rng.choice([1, 2, 7, 256, 512])))
        assert unit(squares).tolist() == exact_unit(squares.tolist())


def test_unit_is_within_its_bound_of_the_real_one(rng):
    for _ in range(200):
        squares = random_squares(rng, 512)
        if squares.any():
            real = np.sqrt(squares / squares.sum()) * 2**16
            below = real - unit(squares)
            assert below.min() >= -(2**-15)
            assert (below <= 1 + np.sqrt(3) + real * 2**-17).all()
            assert (unit(squares) ** 2).sum() < 1 << 32


def test_normalise_is_the_definition(rng):
    for _ in range(200):
        channels = int(rng.choice([1, 3, 512]))
        vector = rng.integers(-(1 << int(rng.integers(1, 32))), 1 << int(rng.integers(1, 32)), channels)
        assert normalise(vector).tolist() == exact_normalise(vector.tolist())
    assert not normalise(np.zeros(5, dtype=np.int64)).any()


@pytest.mark.parametrize("pairs", [False, True])
def test_whiten_is_the_definition(rng, pairs):
    for _ in range(60):
        channels, dimensions = rng.integers(1, 40, 2).tolist()
        count = dimensions * (1 + pairs)
        whitening = IntegerWhitening(
            rng.integers(-128, 128, (count, channels), dtype=np.int8),
            rng.integers(-(2**31) + 1, 2**31, count),
            rng.integers(0, 2**16, count),
            pairs,
        )
        summed = int(rng.choice([1, 2, 3, 20, 1000, DESCRIPTOR_SUMMED_MAX]))
        sums = rng.integers(0, summed << 16, channels) // int(np.ceil(np.sqrt(channels)))
        assert whiten(sums, summed, whitening).tolist() == exact_whiten(sums.tolist(), summed, whitening)


def photograph_like(rng, channels=48, height=12, width=12):
    """Channels of very different means, correlated over the map."""
    base = rng.gamma(0.7, 20, channels)[:, None, None]
    low = rng.normal(size=(channels, 3, 3)).repeat(4, axis=1).repeat(4, axis=2)
    values = base * np.exp(0.7 * low[:, :height, :width] + 0.3 * rng.normal(size=(channels, height, width)))
    return np.clip(values, 0, 255).astype(np.uint8)


def trained(rng, chain, channels=48, pictures=60):
    scatter = Scatter(channels)
    base = np.random.default_rng(7)
    mean = base.gamma(0.7, 20, channels)[:, None, None]
    maps = [np.clip(photograph_like(rng, channels) * 0.5 + mean, 0, 255).astype(np.uint8)
            for _ in range(pictures)]  # fmt: skip
    for features in maps:
        scatter.add(crop_vectors(features, chain, None))
    return maps, scatter.fit(32, "after", SETTINGS)


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("rotations", [1, 2])
def test_descriptors_are_those_of_the_float_chain(rng, whitened, rotations):
    chain = NipSettings()
    maps, whitening = trained(rng, chain)
    chosen = whitening if whitened else None

    def of(n):
        return [[maps[n], maps[n + 1]] for n in range(n, n + 2 * rotations, 2)]

    floats = np.stack([
        combine([[crop_vectors(f, chain, None) for f in crops] for crops in of(n)], [1, 1], chain, chosen)
        for n in range(20)
    ])  # fmt: skip
    quantiser = fit_quantiser(floats)
    constants = make_constants(48, chip_regions(chain, 12, 12), 12, 12, quantiser, chosen)
    for n in range(20):
        squares = [
            np.stack([region_squares(f, r) for f in crops for r in constants.regions]) for crops in of(n)
        ]
        vector = vector_of(squares, 2 * len(constants.regions), constants) / 2**16
        assert vector @ floats[n] / np.linalg.norm(vector) / np.linalg.norm(floats[n]) > 0.9999
        sent = np.frombuffer(describe(of(n), constants, DESCRIPTOR_OUTPUT_BYTES), np.uint8)
        assert np.abs(sent.astype(int) - to_bytes(floats[n : n + 1], quantiser)[0]).max() <= 1
        flipped = np.frombuffer(describe(of(n), constants, DESCRIPTOR_OUTPUT_BITS), np.uint8)
        flipped = np.unpackbits(flipped ^ to_bits(floats[n : n + 1], quantiser)[0])
        assert flipped.sum() <= 2


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("bits", [20, 96, 150])
def test_bits_as_many_as_wanted_are_rows_of_the_chips_matrix(rng, whitened, bits):
    """Those of the float chain but where a value lies at its threshold, by the rows that the unit has."""
    chain = NipSettings()
    maps, whitening = trained(rng, chain)
    chosen = whitening if whitened else None
    floats = np.stack([combine([[crop_vectors(m, chain, None)]], [1], chain, chosen) for m in maps])
    quantiser = fit_quantiser(floats, bits=bits)
    constants = make_constants(48, chip_regions(chain, 12, 12), 12, 12, quantiser, chosen)
    assert constants.dimensions == bits
    sent = [describe([[m]], constants, DESCRIPTOR_OUTPUT_BITS) for m in maps]
    found = np.stack([np.frombuffer(code, np.uint8) for code in sent])
    assert found.shape[1] == output_length(constants, DESCRIPTOR_OUTPUT_BITS) == -(-bits // 8)
    flipped = np.unpackbits(found ^ to_bits(floats, quantiser), axis=1).mean()
    assert flipped < 0.02
    # Its bytes are of the same values, in a range shorter by the share that the dimensions have in the rows.
    sent = np.frombuffer(describe([[maps[0]]], constants, DESCRIPTOR_OUTPUT_BYTES), np.uint8)
    shorter = (floats.shape[1] / bits) ** 0.5
    step = shorter * (quantiser.high - quantiser.low) / 256
    values = bit_values(floats[:1], bits, quantiser.weights)[0]
    inside = (values > shorter * quantiser.low) & (values < shorter * quantiser.high)
    np.testing.assert_allclose((shorter * quantiser.low + (sent + 0.5) * step)[inside], values[inside],
                               atol=2 * step)


def test_bits_that_the_chip_cannot_do_are_refused(rng):
    floats = np.abs(rng.normal(size=(30, 48)))
    regions = chip_regions(NipSettings(), 12, 12)
    with pytest.raises(InputError, match=r"bits 600; allowed on the chip: 1\.\.512"):
        make_constants(48, regions, 12, 12, fit_quantiser(floats, bits=600))
    with pytest.raises(InputError, match="thresholds of 40 dimensions; allowed: 48"):
        make_constants(48, regions, 12, 12, fit_quantiser(floats[:, :40], bits=48))
    check_rotations(fit_quantiser(floats), 4)
    check_rotations(fit_quantiser(floats, bits=96), 1)
    with pytest.raises(InputError, match="96 bits of 48 dimensions with 2 rotations; allowed on the chip: 1"):
        check_rotations(fit_quantiser(floats, bits=96), 2)


def test_sums_are_those_before_whitening(rng):
    chain = NipSettings(levels=(1, 2))
    maps, whitening = trained(rng, chain, pictures=40)
    quantiser = Quantiser(-0.5, 0.5, np.zeros(32, dtype=np.float32), "")
    constants = make_constants(48, chip_regions(chain, 12, 12), 12, 12, quantiser, whitening)
    sent = describe([[maps[0], maps[1]], [maps[2], maps[3]]], constants, DESCRIPTOR_OUTPUT_SUMS)
    turns = [
        np.sum([unit(region_squares(f, r)) for f in crops for r in constants.regions], axis=0)
        for crops in (maps[0:2], maps[2:4])
    ]
    assert np.frombuffer(sent, "<u4").tolist() == np.maximum(*turns).tolist()
    assert len(sent) == output_length(constants, DESCRIPTOR_OUTPUT_SUMS) == 4 * 48


def test_a_whitening_in_pairs_of_rows_is_nearer(rng):
    _, whitening = trained(rng, NipSettings())
    exact = whitening.projection.astype(np.float64)
    covariance = np.linalg.pinv(exact.T @ exact)

    def error(made):
        steps = np.abs(exact).max() / 127 / 65535 * made.scales
        rows = (made.matrix * steps[:, None]).reshape(32, made.rows_each, 48).sum(axis=1)
        difference = rows - exact
        return np.trace(difference @ covariance @ difference.T) / 32

    one = whitening.single
    single, double = integer_whitening(one, False), integer_whitening(one, True)
    assert integer_whitening(one).pairs
    assert (len(single.matrix), len(double.matrix)) == (32, 64)
    assert error(double) < error(single) / 100


def test_rounding_makes_up_for_itself(rng):
    _, whitening = trained(rng, NipSettings())
    exact = whitening.projection.astype(np.float64)
    steps = np.abs(exact).max(axis=1) / 127
    covariance = np.linalg.pinv(exact.T @ exact)

    def error(rounded):
        difference = rounded * steps[:, None] - exact
        return np.trace(difference @ covariance @ difference.T)

    assert error(round_rows(exact, exact, steps)) < 0.7 * error(np.rint(exact / steps[:, None]))


@pytest.mark.parametrize(
    "chain",
    [
        NipSettings(), NipSettings("sqrt-sum", (2, 3)), NipSettings(levels=()), NipSettings(border=2),
        NipSettings("max", (1,), False, "std", 3),
    ],
)  # fmt: skip
def test_a_chain_is_read_from_its_text(chain):
    assert parse_chain(chain.text) == chain


def test_regions_are_those_of_the_float_chain(rng):
    for chain in (NipSettings(), NipSettings(levels=()), NipSettings(border=1), NipSettings(border=9)):
        for height, width in ((7, 7), (5, 9), (1, 1)):
            features = rng.integers(0, 256, (6, height, width), dtype=np.uint8)
            found = [unit(region_squares(features, r)) / 2**16 for r in chip_regions(chain, height, width)]
            assert np.allclose(found, crop_vectors(features, chain, None), atol=5e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moment": "std"}, "allowed on the chip"), ({"region_norm": False}, "allowed on the chip"),
        ({"across": "std"}, "allowed on the chip"),
    ],
)  # fmt: skip
def test_chains_that_the_chip_does_not_have_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        chip_regions(NipSettings(**change), 7, 7)


def constants(**changes):
    values = {
        "channels": 4, "height": 5, "width": 6, "regions": (GridRegion(0, 0, 5, 6),), "low": 0,
        "gain": 1 << 16,
        "thresholds": np.zeros(4, dtype=np.int64),
    }  # fmt: skip
    return DescriptorConstants(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0, "thresholds": np.zeros(0)}, "channels = 0"),
        ({"channels": 513, "thresholds": np.zeros(513)}, "channels = 513"),
        ({"thresholds": np.zeros(3)}, "thresholds = 3"),
        ({"regions": ()}, "number of regions = 0"),
        ({"regions": (GridRegion(0, 0, 1, 1),) * 257}, "number of regions = 257"),
        ({"regions": (GridRegion(3, 0, 3, 1),)}, "rows 3..5"),
        ({"regions": (GridRegion(0, 0, 1, 0),)}, "columns 0..-1"),
        ({"regions": (GridRegion(0, 0, 257, 256),), "height": 300, "width": 300}, "pixels of region 0"),
        ({"low": 65537}, "low = 65537"),
        ({"gain": 0}, "gain = 0"),
        ({"gain": 1 << 32}, "gain = 4294967296"),
    ],
)
def test_constants_that_the_format_cannot_hold_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        constants(**changes)


def test_a_map_of_another_size_and_too_many_regions_are_refused():
    nip = IntegerNip(constants())
    with pytest.raises(InputError, match="allowed: "):
        nip.frame(np.zeros((4, 5, 5), dtype=np.uint8))
    many = IntegerNip(constants(regions=(GridRegion(0, 0, 1, 1),) * 256))
    for crop in range(128):
        many.frame(np.zeros((4, 5, 6), dtype=np.uint8), first_crop=crop == 0, last_crop=False)
    with pytest.raises(InputError, match="32768"):
        many.frame(np.zeros((4, 5, 6), dtype=np.uint8), first_crop=False)


def test_a_map_of_zeros_is_a_descriptor_of_zeros():
    sent = describe([[np.zeros((4, 5, 6), dtype=np.uint8)]], constants(gain=1 << 24), DESCRIPTOR_OUTPUT_BYTES)
    assert sent == bytes(4)


@pytest.mark.parametrize("name", ["edge", "asic"])
def test_a_frame_of_vgg16_spends_less_than_three_per_cent_on_it(name):
    """Whitening of 512 x 512 included; the cycles of the layers alone, without their drains, are counted."""
    config = NAMED[name]
    layers = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56),
              (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14),
              (512, 512, 14)]  # fmt: skip
    into, out = config.input_lanes, config.output_lanes
    frame = sum(-(-i // into) * -(-o // out) * side * side for i, o, side in layers)
    if config.row_groups:
        frame -= -(-64 // out) * (224 - 75) * 224
    whitening = IntegerWhitening(
        np.zeros((512, 512), dtype=np.int8), np.zeros(512, dtype=np.int64), np.zeros(512, dtype=np.int64)
    )
    made = DescriptorConstants(512, 7, 7, roi_grid(7, 7, (1, 2, 3)), 0, 1, np.zeros(512, dtype=np.int64),
                               whitening)  # fmt: skip
    cycles = descriptor_cycles(made, config)
    assert cycles == sum(nip_stages(made, config, True, True, DESCRIPTOR_OUTPUT_BYTES).values())
    assert cycles < 0.03 * frame
