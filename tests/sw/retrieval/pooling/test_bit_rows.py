"""Rows that bits are the signs of: rotations, fixed, and exact sums."""

import hashlib

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.bit_rows import BITS_MAX, bit_rows, bit_values
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, from_bits, to_bits


def unit(rng, count, dimension):
    x = rng.normal(size=(count, dimension))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 2, 20, 64])
def test_rows_are_the_identity_and_rotations(dimension):
    rows = bit_rows(dimension, 3 * dimension)
    np.testing.assert_array_equal(rows[:dimension], np.eye(dimension))
    for block in (rows[dimension : 2 * dimension], rows[2 * dimension :]):
        np.testing.assert_allclose(block @ block.T, np.eye(dimension), atol=1e-3)
        assert np.array_equal(block * 2**20, np.rint(block * 2**20))
    if dimension > 2:
        assert np.abs(rows[dimension : 2 * dimension] - rows[2 * dimension :]).max() > 0.1


def test_more_rows_begin_with_the_fewer():
    np.testing.assert_array_equal(bit_rows(20, 50)[:33], bit_rows(20, 33))


def test_rows_are_the_same_everywhere_and_always():
    """Files hold bits and not the rows: another rotation would make all of them wrong."""
    found = hashlib.sha256(np.rint(bit_rows(16, 48) * 2**20).astype("<i4").tobytes()).hexdigest()
    assert found[:16] == "6e17faf37f6884de"


def test_dimensions_that_do_not_vary_have_no_part_in_further_bits(rng):
    x = unit(rng, 60, 8)
    x[:, 3] = 0.25
    q = fit_quantiser(x, bits=20)
    assert q.weights is not None
    assert q.weights[3] == 0
    assert q.weights.max() == 1
    np.testing.assert_array_equal(bit_rows(8, 20, q.weights)[8:, 3], 0)
    assert fit_quantiser(x).weights is None


def test_values_are_exact_whatever_the_batch(rng):
    x = unit(rng, 37, 24)
    weights = rng.uniform(0, 1, 24).astype(np.float32)
    whole = bit_values(x, 60, weights)
    np.testing.assert_array_equal(whole, np.concatenate([bit_values(row[None], 60, weights) for row in x]))
    direct = np.array([[sum(int(a) * int(b) for a, b in zip(row, v, strict=True))
                        for row in np.rint(bit_rows(24, 60, weights) * 2**20)] for v in np.rint(x * 2.0**24)])
    direct = direct / np.linalg.norm(direct.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(whole, direct, rtol=1e-12)
    np.testing.assert_array_equal(bit_values(x, 24), x.astype(np.float64))
    np.testing.assert_array_equal(bit_values(np.zeros((1, 4)), 9), np.zeros((1, 9)))


@pytest.mark.parametrize("count", [0, BITS_MAX + 1])
def test_impossible_numbers_are_refused(count):
    with pytest.raises(InputError, match=rf"bits {count}; allowed: 1\.\.16384"):
        bit_rows(4, count)


def test_more_bits_and_levels_tell_more(rng):
    """What they are for: nearer to the floats' products, on vectors whose dimensions are alike."""
    base, asked = unit(rng, 400, 32), unit(rng, 40, 32)
    exact = asked.astype(float) @ base.T.astype(float)

    def agreement(scores):
        return np.corrcoef(scores.ravel(), exact.ravel())[0, 1]

    symmetric, asymmetric = [], []
    for bits in (32, 64, 128):
        q = fit_quantiser(base, bits=bits)
        codes = to_bits(base, q)
        signs = np.where(bit_values(base, bits, q.weights) > q.thresholds, 1.0, -1.0)
        values = bit_values(asked, bits, q.weights)
        symmetric.append(agreement(np.where(values > q.thresholds, 1.0, -1.0) @ signs.T))
        asymmetric.append(agreement(values @ from_bits(codes, q).T))
    assert symmetric == sorted(symmetric)
    assert asymmetric == sorted(asymmetric)
    assert all(a > s + 0.02 for a, s in zip(asymmetric, symmetric, strict=True))


def test_levels_are_the_means_on_each_side(rng):
    x = unit(rng, 50, 6)
    q = fit_quantiser(x, bits=10)
    values = bit_values(x, 10, q.weights)
    assert q.levels is not None
    for n in range(10):
        above = values[:, n] > q.thresholds[n]
        means = [values[~above, n].mean(), values[above, n].mean()]
        np.testing.assert_allclose(q.levels[:, n], means, rtol=1e-6)
    single = fit_quantiser(x[:1])
    np.testing.assert_allclose(from_bits(to_bits(x[:1], single), single), x[:1], rtol=1e-6)
