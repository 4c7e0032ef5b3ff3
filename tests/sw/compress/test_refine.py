"""Rounding of scalars, and the first layer's fit by output."""

import numpy as np
import pytest

from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.hw.spec.widths import SCALAR_MAX
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.fit import fit_masks
from kestrel.sw.compress.refine import DAMPING, WindowFit, keep_masks, nearest_masks, pixel_moment
from kestrel.sw.model.preprocessing import find_preprocessing

SEED = 7


def example(mask_bits, coarse=40):
    """Weights [6, 3, 3, 3], their fit, and a unit at which the largest scalar is ``coarse``."""
    weights = np.random.default_rng(SEED).standard_normal((6, 3, 3, 3))
    fit = fit_masks(weights, mask_bits)
    return weights, fit, np.full(3, fit.alpha.max() / coarse)


def error(weights, mask, alpha, unit):
    return weights - mask * (alpha * unit)[:, :, None, None]


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_nearest_masks_never_lose_to_plain_rounding(mask_bits):
    """With scalars as coarse as 3 steps the masks must follow; a worse kernel means the choice is wrong."""
    weights, fit, unit = example(mask_bits, coarse=3)
    kept_mask, kept_alpha = keep_masks(weights, fit, unit, mask_bits)
    plain = (error(weights, kept_mask, kept_alpha, unit) ** 2).sum(axis=(2, 3))
    mask, alpha = nearest_masks(weights, fit, unit, mask_bits)
    refined = (error(weights, mask, alpha, unit) ** 2).sum(axis=(2, 3))
    assert (refined <= plain + 1e-12).all(), f"seed {SEED}"
    assert (alpha == np.floor(alpha)).all()
    assert set(np.unique(mask)) <= set(mask_values(mask_bits))


@pytest.fixture(scope="module")
def moment():
    return pixel_moment(generated_pictures(24, 20, seed=3, count=2), find_preprocessing("caffe"))


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_output_fit_lowers_the_output_error(mask_bits, moment):
    """Every channel's output error falls (it is what is minimised), most of all the error of flat areas,
    and what comes out is storable."""
    weights, fit, unit = example(mask_bits, coarse=200)
    mask, alpha = WindowFit(moment)(weights, fit, unit, mask_bits)
    damped = moment + np.eye(27) * DAMPING * np.trace(moment) / 27

    def output_error(mask, alpha):
        e = error(weights, mask, alpha, unit).reshape(6, 27)
        return np.einsum("oi,ij,oj->o", e, damped, e)

    kept_mask, kept_alpha = keep_masks(weights, fit, unit, mask_bits)
    before = output_error(kept_mask, kept_alpha)
    assert (output_error(mask, alpha) <= before).all(), f"seed {SEED}"
    assert output_error(mask, alpha).sum() < 0.7 * before.sum(), f"seed {SEED}"
    assert set(np.unique(mask)) <= set(mask_values(mask_bits))
    assert (alpha == np.floor(alpha)).all()
    assert alpha.min() >= 0
    assert alpha.max() <= SCALAR_MAX


def test_output_fit_ends_in_a_minimum(moment):
    """Starting again from its own result, nothing moves: breaks if a move's predicted gain is wrong."""
    weights, fit, unit = example(3, coarse=200)
    once = WindowFit(moment)(weights, fit, unit, 3)
    again = WindowFit(moment)(weights, type(fit)(once[0], once[1] * unit), unit, 3)
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])


def test_pixel_moment_counts_every_window():
    """Against plain loops, padding included."""
    pictures, caffe = generated_pictures(5, 4, seed=1, count=2), find_preprocessing("caffe")
    expected = np.zeros((27, 27))
    for n in range(2):
        x = np.pad(caffe.real_input(pictures.load(n)).astype(np.float64), ((0, 0), (1, 1), (1, 1)))
        for row in range(5):
            for column in range(4):
                window = x[:, row : row + 3, column : column + 3].ravel()
                expected += np.outer(window, window) / 40
    np.testing.assert_allclose(pixel_moment(pictures, caffe), expected, rtol=1e-9)
