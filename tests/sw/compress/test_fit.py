"""Mask fitting, against exhaustive search and worked examples."""

import itertools

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS, MASK_MAGNITUDES, mask_values
from kestrel.sw.compress import mask_rules
from kestrel.sw.compress.fit import FIT_RULES, fit_masks, sqnr_db

SEED = 20


def kernels(count, seed=SEED):
    return np.random.default_rng(seed).standard_normal((count, 1, 3, 3))


def squared_error(weights, fit):
    return ((weights - fit.weights()) ** 2).sum(axis=(1, 2, 3))


def best_error(kernel, magnitudes):
    """Least squared error over every choice of nine magnitudes (the sign of a tap is its weight's)."""
    size = np.abs(kernel.ravel())
    masks = np.array(list(itertools.product(magnitudes, repeat=9)), dtype=np.float64)
    dot, norm = masks @ size, (masks**2).sum(axis=1)
    return (size**2).sum() - (dot**2 / np.maximum(norm, 1)).max()


@pytest.mark.parametrize("mask_bits", [1, 2, 3])
def test_least_squares_finds_the_global_optimum(mask_bits):
    """Breaks if the search can stop in a local minimum, as an alternation from one start does."""
    weights = kernels(6 if mask_bits == 3 else 40)
    found = squared_error(weights, fit_masks(weights, mask_bits))
    for kernel, error in zip(weights, found, strict=True):
        wanted = best_error(kernel, MASK_MAGNITUDES[mask_bits])
        assert error == pytest.approx(wanted, rel=1e-9), f"seed {SEED}"


@pytest.mark.parametrize("mask_bits", [4, 5])
def test_least_squares_beats_every_step_on_a_grid(mask_bits):
    """Too many masks to enumerate: no step of a fine grid with its nearest masks may be better."""
    weights = kernels(50)
    found = squared_error(weights, fit_masks(weights, mask_bits))
    top = MASK_MAGNITUDES[mask_bits][-1]
    for step in np.linspace(0.02, 3.5, 500):
        level = np.clip(np.floor(np.abs(weights) / step + 0.5), 0, top)
        error = ((np.abs(weights) - step * level) ** 2).sum(axis=(1, 2, 3))
        assert (error >= found - 1e-9).all(), f"seed {SEED}"


@pytest.mark.parametrize("rule", FIT_RULES)
@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_masks_and_scalars_are_storable(rule, mask_bits):
    """Breaks if a rule yields a value without a code, a negative scalar or NaN (for kernels of zeros)."""
    weights = kernels(30).reshape(5, 6, 3, 3)
    weights[1] = 0
    weights[2, 0] = 1e-30
    weights[3, 0, 0, 0] = 0
    fit = fit_masks(weights.astype(np.float32), mask_bits, rule)
    assert fit.mask.shape == weights.shape
    assert fit.mask.dtype == np.int8
    assert set(np.unique(fit.mask)) <= set(mask_values(mask_bits))
    assert (fit.alpha >= 0).all()
    assert np.isfinite(fit.alpha).all()
    assert (fit.alpha[1] == 0).all()


@pytest.mark.parametrize("rule", FIT_RULES)
@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_fit_does_not_depend_on_scale(rule, mask_bits):
    """Masks are fitted before scales are known: a power of two must change the scalars and nothing else."""
    weights = kernels(40)
    one, other = fit_masks(weights, mask_bits, rule), fit_masks(weights * 0.125, mask_bits, rule)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.alpha * 0.125, other.alpha)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_equal_weights_are_exact(mask_bits):
    """All crossings coincide: breaks if the search cuts a group of ties."""
    fit = fit_masks(np.full((1, 1, 3, 3), -0.3), mask_bits)
    np.testing.assert_allclose(fit.weights(), -0.3, rtol=1e-12)
    assert (fit.mask <= -1).all()


def test_one_weight_leaves_the_others_zero():
    """Breaks if least squares spends taps on zero weights (more switching, worse scalar)."""
    weights = np.zeros((1, 1, 3, 3))
    weights[0, 0, 1, 2] = 0.7
    fit = fit_masks(weights, 3)
    assert np.count_nonzero(fit.mask) == 1
    np.testing.assert_allclose(fit.weights(), weights)


def test_slices_join_without_a_seam(monkeypatch):
    """Kernels are fitted in slices: breaks if one at a slice's end is lost or shifted."""
    weights = kernels(23)
    whole = fit_masks(weights, 3)
    monkeypatch.setattr(mask_rules, "KERNELS_AT_ONCE", 11)
    parts = fit_masks(weights, 3)
    np.testing.assert_array_equal(whole.mask, parts.mask)
    np.testing.assert_array_equal(whole.alpha, parts.alpha)


def fit_one(values, mask_bits, rule):
    fit = fit_masks(np.array(values, dtype=np.float64).reshape(1, 1, 3, 3), mask_bits, rule)
    return fit.mask.ravel().tolist(), float(fit.alpha[0, 0])


# mean|w| = 4; 4 / 4 = 1 is the threshold with two bits and the step with three.
EXAMPLE = [4, -1, 0.5, 0, -3, 2.5, 12, -10, 3]


def test_vendor_examples():
    """The vendor's rule, by hand."""
    assert fit_one(EXAMPLE, 1, "vendor") == ([1, -1, 1, 1, -1, 1, 1, -1, 1], 4.0)
    assert fit_one(EXAMPLE, 2, "vendor") == ([1, -1, 0, 0, -1, 1, 1, -1, 1], 4.0)
    assert fit_one(EXAMPLE, 3, "vendor") == ([4, -1, 0, 0, -4, 2, 4, -4, 4], 1.0)
    assert fit_one(EXAMPLE, 4, "vendor") == ([2, -1, 0, 0, -2, 1, 7, -6, 2], pytest.approx(12 / 7))
    assert fit_one(EXAMPLE, 5, "vendor") == ([5, -1, 1, 0, -4, 3, 15, -13, 4], pytest.approx(0.8))


def test_paper_examples():
    """Section 3.1 by hand; with a negative mean the product alpha * M is still the literal one."""
    mask, alpha = fit_one([4, 0, 0, 2, 1, 1, 1, 0, 0], 1, "paper")  # mean 1: only 4 and 2 are greater
    assert (mask, alpha) == ([1, -1, -1, 1, -1, -1, -1, -1, -1], 1.0)
    mask, alpha = fit_one([-4, 0, 0, -2, -1, -1, -1, 0, 0], 1, "paper")  # mean -1: 0 is greater, -1 is not
    assert [m * alpha for m in mask] == [-1.0 * m for m in (-1, 1, 1, -1, -1, -1, -1, 1, 1)]
    assert fit_one([4, 0, 0, 2, 1, 1, 1, 0, 0], 3, "paper") == ([4, 0, 0, 2, 1, 1, 1, 0, 0], 1.0)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_nearest_mask_is_nearest(mask_bits):
    ratio = np.linspace(-20, 20, 1601)
    found = mask_rules.nearest_mask(torch.from_numpy(ratio), mask_bits).numpy()
    values = np.array(mask_values(mask_bits))
    np.testing.assert_allclose(np.abs(ratio - found), np.abs(ratio[:, None] - values).min(axis=1))


def test_sums_of_taps_are_numpys(rng):
    """Scalars are equal to the last bit wherever they are fitted: NumPy adds nine numbers in this order."""
    values = rng.standard_normal((500, 9))
    np.testing.assert_array_equal(mask_rules.sum_taps(torch.from_numpy(values)).numpy(), values.sum(axis=1))


@pytest.mark.parametrize("mask_bits", [2, 3, 4, 5])
def test_improving_a_fit_never_raises_its_error(mask_bits, rng):
    """From scalars off by up to 30%, one alternation lies between their nearest masks and the optimum."""
    weights = torch.from_numpy(rng.standard_normal((40, 1, 3, 3)))
    best = fit_masks(weights.numpy(), mask_bits)
    start = torch.from_numpy(best.alpha * rng.uniform(0.7, 1.3, best.alpha.shape))
    before = mask_rules.nearest_mask(weights / start[:, :, None, None], mask_bits) * start[:, :, None, None]
    mask, alpha = mask_rules.improve(weights, start, mask_bits)
    after = mask * alpha[:, :, None, None]
    error_before, error_after = ((weights - q).square().sum(dim=(1, 2, 3)).numpy() for q in (before, after))
    assert (error_after <= error_before + 1e-12).all()
    assert (error_after >= squared_error(weights.numpy(), best) - 1e-12).all()
    assert (error_after < error_before - 1e-3).any()


def test_sqnr_is_ten_log_ten():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])) == pytest.approx(20.0)
    assert sqnr_db(np.ones(3), np.ones(3)) is None
    assert sqnr_db(np.zeros(3), np.ones(3)) is None


def test_unknown_rule_is_refused():
    with pytest.raises(InputError, match=r"fit 'lloyd'; .* least-squares, output, sequential, vendor, paper"):
        fit_masks(kernels(1), 3, "lloyd")
