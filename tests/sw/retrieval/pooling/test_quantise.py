"""Bytes and bits of descriptors."""

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.pooling.quantise import Quantiser, fit_quantiser, from_bytes, to_bits, to_bytes


def quantiser(low=-1.0, high=1.0, thresholds=(0.0,)):
    return Quantiser(low, high, np.array(thresholds, np.float32), "test")


def test_bytes_are_uniform_over_the_range_and_saturate():
    q = quantiser(0.0, 256.0)
    values = np.array([[-5, 0, 0.99, 1, 254.5, 255.5, 256, 300]], np.float32)
    assert to_bytes(values, q).tolist() == [[0, 0, 0, 1, 254, 255, 255, 255]]
    assert from_bytes(to_bytes(values, q), q).tolist() == [[0.5, 0.5, 0.5, 1.5, 254.5, 255.5, 255.5, 255.5]]


def test_bytes_come_back_as_themselves_and_within_half_a_step(rng):
    x = rng.normal(size=(50, 17)).astype(np.float32)
    q = fit_quantiser(x)
    codes = to_bytes(x, q)
    np.testing.assert_array_equal(to_bytes(from_bytes(codes, q), q), codes)
    assert np.abs(from_bytes(codes, q) - x).max() <= (q.high - q.low) / 512 * (1 + 1e-5)
    assert codes.min() == 0
    assert codes.max() == 255


def test_bits_in_order_lowest_first():
    """FAISS' order: dimension 0 is bit 0 of byte 0; what is missing in the last byte is 0."""
    x = np.zeros((1, 11), np.float32)
    x[0, [0, 3, 8, 10]] = 1
    q = quantiser(thresholds=[0.5] * 11)
    assert to_bits(x, q).tolist() == [[0b00001001, 0b00000101]]
    assert to_bits(np.full((1, 11), 0.5, np.float32), q).tolist() == [[0, 0]], "equal is not above"


@pytest.mark.parametrize("threshold", ["median", "mean"])
def test_thresholds_are_each_dimensions_own(threshold, rng):
    x = (rng.normal(size=(101, 9)) * np.arange(1, 10) + np.arange(9)).astype(np.float32)
    q = fit_quantiser(x, threshold, "here")
    middle = {"median": lambda c: sorted(c)[50], "mean": lambda c: sum(map(float, c)) / 101}[threshold]
    wanted = [middle(column) for column in x.T]
    np.testing.assert_allclose(q.thresholds, wanted, rtol=1e-6)
    assert (q.low, q.high, q.source) == (x.min(), x.max(), "here")


def test_the_same_value_everywhere_can_be_coded():
    x = np.full((3, 4), 0.5, np.float32)
    q = fit_quantiser(x)
    np.testing.assert_allclose(from_bytes(to_bytes(x, q), q), x, atol=1 / 256)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="threshold 'mode'; allowed: median, mean"):
        fit_quantiser(np.zeros((2, 2)), "mode")
    for bad in (np.zeros((0, 4)), np.zeros(4), np.full((1, 4), np.nan)):
        with pytest.raises(InputError, match="allowed: at least one, of finite numbers"):
            fit_quantiser(bad)
    with pytest.raises(InputError, match="descriptors of 3 dimensions and thresholds for 1"):
        to_bits(np.zeros((2, 3)), quantiser())
