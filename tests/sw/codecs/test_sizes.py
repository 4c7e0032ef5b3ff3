"""Sizes of streams against the papers' formulas, and what the quantisers are worth."""

import numpy as np
import pytest

from kestrel.hw.spec.widths import kernel_bits
from kestrel.sw.codecs import batch_norm, binary, masks, product, pruned, rates, residual, scalar, svd, vector
from kestrel.sw.codecs.coding.codebooks import lloyd_max, nearest, uniform
from kestrel.sw.codecs.coding.stream import frame_bytes


def noise(weights, found):
    return float(((weights - found) ** 2).sum())


@pytest.fixture
def matrix(rng):
    return rng.laplace(size=(48, 24)).astype(np.float32)


def test_binary_is_a_bit_a_weight(matrix):
    stream = binary.encode(matrix)
    assert 8 * (len(stream) - binary.header_bytes(2)) == matrix.size
    assert rates.binary_rate() == 32


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_kmeans_is_the_logarithm_of_its_centres(bits, matrix):
    stream = scalar.encode(matrix, scalar.ScalarOptions("kmeans", bits))
    codebook = 4 * (1 << bits)
    body = 8 * (len(stream) - frame_bytes(2) - 2 - codebook)
    assert 32 * matrix.size / body == pytest.approx(rates.kmeans_rate(1 << bits))


@pytest.mark.parametrize("axis", product.AXES)
@pytest.mark.parametrize("segment", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("codewords", [4, 8, 16])
def test_product_quantisation_is_its_formula(codewords, segment, axis, matrix):
    stream = product.encode(matrix, product.ProductOptions(codewords, segment, axis))
    m, n = matrix.shape if axis == "x" else matrix.shape[::-1]
    bits = rates.product_bits(m, n, codewords, -(-n // segment))
    assert len(stream) - product.HEADER_BYTES == -(-bits // 8)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_residual_quantisation_is_the_corrected_formula(stages, matrix):
    stream = residual.encode(matrix, residual.ResidualOptions(16, stages))
    assert len(stream) - residual.HEADER_BYTES == -(-rates.residual_bits(48, 24, 16, stages) // 8)


@pytest.mark.parametrize("rank", [1, 7, 24])
def test_svd_is_its_formula(rank, matrix):
    stream = svd.encode(matrix, svd.SvdOptions(rank))
    assert 8 * (len(stream) - svd.HEADER_BYTES) == rates.svd_bits(48, 24, rank)


def test_svd_of_full_rank_is_the_matrix(matrix):
    found = svd.decode(svd.encode(matrix, svd.SvdOptions(24)))
    assert noise(matrix, found) < 1e-9 * noise(matrix, 0 * matrix)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_masks_are_as_long_as_on_the_chip(bits, rng):
    weights = rng.standard_normal((8, 4, 3, 3)).astype(np.float32)
    stream = masks.encode(weights, masks.MaskOptions(bits))
    # The frame; bits, unit and coding.
    assert len(stream) - frame_bytes(4) - 6 == 32 * kernel_bits(bits) // 8


def test_a_codebook_of_blocks_is_counted(rng):
    weights = rng.standard_normal((40, 40)).astype(np.float32)
    stream = vector.encode(weights, vector.VectorOptions(4, 64))
    assert len(stream) - frame_bytes(2) - 4 == 4 * 4 * 64 + 400 * 6 // 8


@pytest.mark.parametrize("bits", range(1, 9))
def test_lloyd_max_is_never_worse_than_uniform(bits, rng):
    values = rng.laplace(size=5000).astype(np.float32)
    best, plain = (noise(values, levels[nearest(values, levels)])
                   for levels in (lloyd_max(values, 1 << bits), uniform(values, 1 << bits)))
    assert best <= plain * (1 + 1e-6)


def test_lloyd_max_finds_the_levels_of_a_normal_distribution(rng):
    """Max (1960), table 1, four levels: .4528 and 1.510."""
    levels = lloyd_max(rng.standard_normal(400_000).astype(np.float32), 4)
    np.testing.assert_allclose(levels, [-1.510, -0.4528, 0.4528, 1.510], atol=0.02)


def test_lloyd_max_finds_few_values_exactly():
    values = np.repeat(np.array([-1.0, 0.25, 2.0], np.float32), 7)
    np.testing.assert_array_equal(scalar.decode(scalar.encode(values, scalar.ScalarOptions(bits=4))), values)


@pytest.mark.parametrize("gap_bits", [1, 2, 4, 8])
def test_long_runs_of_zeros_are_bridged_by_fillers(gap_bits):
    weights = np.zeros(2000, np.float32)
    weights[[0, 1, 700, 1999]] = [1, -1, 0.5, 2]
    options = pruned.PrunedOptions(0, 8, gap_bits)
    found = pruned.quantise(weights, options)
    span = 1 << gap_bits
    assert len(found.gaps) == 4 + 698 // span + 1298 // span
    assert found.codebook[0] == 0
    np.testing.assert_array_equal(pruned.decode(pruned.encode(weights, options)), weights)


def test_the_threshold_counts_in_standard_deviations(rng):
    weights = rng.standard_normal(20_000).astype(np.float32)
    kept = pruned.keep(weights, 1.0).mean()
    assert kept == pytest.approx(0.3173, abs=0.01)  # of a normal distribution beyond one deviation


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_variances_stay_positive(bits, rng):
    vectors = np.abs(rng.standard_normal((4, 100))).astype(np.float32) + 1e-6
    assert (batch_norm.quantise(vectors, bits)[3] > 0).all()
