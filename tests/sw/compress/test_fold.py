"""From fitted masks and ranges to integers."""

import numpy as np
import pytest

from kestrel.hw.spec.widths import BIAS_FRACTION, BIAS_MAX, BIAS_MIN, SHIFT_MAX, SHIFT_MIN
from kestrel.sw.compress.fit import Fit, fit_masks
from kestrel.sw.compress.fold import InputScale, fold_layer, image_scale, largest_shift, map_scale
from kestrel.sw.compress.refine import keep_masks, nearest_masks
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import ConvShape
from kestrel.sw.model.preprocessing import PREPROCESSINGS, find_preprocessing
from kestrel.sw.pictures.images import quantise_pixels

SEED = 11
PLAIN = InputScale(np.ones(2), np.zeros(2))


def fold(weight, bias, cap, inputs=PLAIN, mask_bits=3, activation_bits=8, refine=nearest_masks, fit=None):
    weight = np.asarray(weight, dtype=np.float32)
    shape = ConvShape("conv1_1", weight.shape[1], weight.shape[0], pool=False)
    return fold_layer(shape, weight, np.asarray(bias, dtype=np.float32), fit or fit_masks(weight, mask_bits),
                      mask_bits, cap, inputs, activation_bits, refine)


def exact_weights(alpha, mask, unit):
    """Weights that masks of three bits hold without error."""
    return (np.asarray(alpha)[:, :, None, None] * mask * unit).astype(np.float32)


MASK = np.array([[4, 0, -1], [2, 1, 0], [-4, -2, 1]])


@pytest.mark.parametrize(("alpha_max", "shift"), [
    (255.0, SHIFT_MIN), (255.49 / 8, 3), (255.5 / 16, 3), (255.49 / 16, 4), (1.0, 7), (255.4 / 2**15, 15),
    (1e-9, SHIFT_MAX), (0.0, SHIFT_MAX), (1e9, SHIFT_MIN),
])
def test_shift_is_the_largest_that_fits(alpha_max, shift):
    """Breaks if a bit of the scalars is given away, or one overflows by rounding."""
    assert largest_shift(alpha_max) == shift


def test_storable_weights_are_stored_exactly():
    """Scalars 200, 100, 50, 25 times a power of two must come back as those numbers, without noise."""
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-9)
    found = fold(weight, [0, 0], cap=255.0)
    assert found.layer.shift == 9
    assert found.layer.alpha.tolist() == [[200, 100], [50, 25]]
    np.testing.assert_array_equal(found.layer.mask, np.broadcast_to(MASK, (2, 2, 3, 3)))
    assert found.sqnr_target_db is None
    assert (found.raised, found.saturated_biases, found.saturated_scalars) == (1, 0, 0)


def test_bias_counts_in_fractions_of_the_output_unit():
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-9)
    found = fold(weight, [10.0, -0.2], cap=510.0)  # unit 2: 5 and -0.1 units
    assert found.layer.scale == 2.0
    assert found.layer.bias.tolist() == [5 << BIAS_FRACTION, round(-0.1 * (1 << BIAS_FRACTION))]


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("bits", [5, 8])
def test_integers_follow_the_float_layer(name, bits, oracle):
    """Weights that are stored exactly, an image: what is left is the rounding of input, bias and output.
    Breaks if a mean, a scale, a channel or the pad is folded wrongly."""
    generator = np.random.default_rng(SEED)
    preprocessing = find_preprocessing(name)
    scale = np.asarray(preprocessing.scale)
    mask = generator.choice([-4, -2, -1, 0, 1, 2, 4], (4, 3, 3, 3))
    mask[:, :, 0, 0] = 4
    alpha = generator.integers(100, 200, (4, 3))
    weight = (alpha[:, :, None, None] * mask / scale[:, None, None]).astype(np.float32) / 2000
    bias = generator.normal(0, 5, 4).astype(np.float32)
    rgb = (generator.integers(0, 16, (6, 7, 3)) * 16).astype(np.uint8)  # exact in 5 bits, but for clamping

    x = preprocessing.real_input(rgb).astype(np.float64)
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    wanted = sum(np.einsum("oi,ihw->ohw", weight[:, :, r, c], framed[:, r : r + 6, c : c + 7])
                 for r in range(3) for c in range(3)) + bias[:, None, None]
    cap = float(wanted.max())
    found = fold(weight, bias, cap, image_scale(preprocessing, bits), activation_bits=bits)
    network = CompressedNetwork("one", bits, name, preprocessing.pad(bits), (found.layer,))
    (y,) = oracle(network, quantise_pixels(rgb, preprocessing, bits)[None])
    unit = found.layer.scale
    # Half a unit by the output, a sixteenth by the bias, and half a scalar step for every input.
    reach = (2.0 ** -found.layer.shift * 0.5 * np.abs(mask).sum(axis=(1, 2, 3)).max() * (1 << bits))
    inside = np.abs(y[0] - np.clip(wanted / unit, 0, (1 << bits) - 1))[:, 1:-1, 1:-1]
    assert inside.max() <= 0.5 + 1 / 16 + reach, f"seed {SEED}"
    assert inside.mean() <= 0.6, f"seed {SEED}"


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_the_mean_is_subtracted_exactly(bits, oracle):
    """A picture of the mean alone is real zero: whatever the masks' errors, each output must be its bias.
    Pads far from the mean (four bits: up to 8 steps) may only be felt at the border."""
    generator = np.random.default_rng(SEED)
    mean = (48.0, 96.0, 144.0)  # in whole units at every width
    inputs = InputScale(np.full(3, float(1 << (8 - bits))), np.array(mean) / (1 << (8 - bits)))
    weight = generator.normal(0, 0.3, (5, 3, 3, 3))
    bias = np.array([3.0, -4.0, 10.0, 0.0, 20.0])
    found = fold(weight, bias, cap=255.0, inputs=inputs, activation_bits=bits, mask_bits=1)
    x = np.broadcast_to(inputs.zero.astype(np.int64)[:, None, None], (3, 3, 3))[None]
    network = CompressedNetwork("one", bits, "none", np.zeros(3, np.uint8), (found.layer,))
    (y,) = oracle(network, x)
    exact = np.clip(bias / found.layer.scale, 0, None)
    np.testing.assert_allclose(y[0, :, 1, 1], exact, atol=0.5 + 1 / 16)


def test_later_layers_see_the_scale_of_the_one_before():
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-9)
    inputs = map_scale(fold(weight, [0, 0], cap=510.0).layer)
    assert inputs.scale.tolist() == [2.0, 2.0]
    assert inputs.zero.tolist() == [0.0, 0.0]
    again = fold(weight, [0, 0], cap=510.0, inputs=inputs)  # in and out alike: nothing to scale
    assert again.layer.alpha.tolist() == [[200, 100], [50, 25]]
    assert again.layer.shift == 9


def test_scalars_too_large_for_the_smallest_shift_raise_the_range():
    """A range far below the weights would need a scalar above 255 at shift 3."""
    found = fold(exact_weights([[200, 100], [50, 25]], MASK, 1.0), [0, 0], cap=255.0)
    assert found.layer.shift == SHIFT_MIN
    assert found.layer.alpha.max() <= 255
    assert found.raised == pytest.approx(200 * 8 / 255, rel=0.01)
    assert found.saturated_scalars == 0
    assert found.layer.scale == pytest.approx(found.raised)


def test_tiny_weights_stop_at_the_largest_shift():
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-19)
    found = fold(weight, [0, 0], cap=255.0)
    assert found.layer.shift == SHIFT_MAX
    assert found.layer.alpha.max() == 13  # 200 / 16, rounded half up


@pytest.mark.parametrize("sign", [1, -1])
def test_biases_beyond_twelve_bits_raise_the_range(sign):
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-9)
    found = fold(weight, [sign * 600.0, 0], cap=255.0)
    assert found.saturated_biases == 0
    assert found.raised == pytest.approx(600 * 8 / 2048, rel=0.01)
    assert found.layer.bias[0] == pytest.approx(BIAS_MAX if sign > 0 else BIAS_MIN, rel=0.01)


def test_hopeless_biases_saturate_and_are_counted():
    weight = exact_weights([[200, 100], [50, 25]], MASK, 2.0**-9)
    found = fold(weight, [1e6, -1e6], cap=255.0)
    assert found.saturated_biases == 2
    assert found.layer.bias.tolist() == [BIAS_MAX, BIAS_MIN]
    assert found.raised == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("mask_bits", [1, 2, 5])
def test_dead_kernels_rest(mask_bits):
    """A kernel a million times smaller than the largest gets scalar 0; its taps must not switch."""
    weight = np.random.default_rng(SEED).standard_normal((3, 2, 3, 3))
    weight[1, 0] *= 1e-6
    found = fold(weight, np.zeros(3), cap=100.0, mask_bits=mask_bits, refine=keep_masks)
    assert found.layer.alpha[1, 0] == 0
    if mask_bits > 1:
        assert (found.layer.mask[1, 0] == 0).all()


def test_all_zero_layer_folds_to_zero():
    found = fold(np.zeros((2, 2, 3, 3)), [0, 0], cap=1.0)
    assert not found.layer.alpha.any()
    assert found.sqnr_target_db is None


def test_prescribed_masks_are_kept():
    weight = np.random.default_rng(SEED).standard_normal((3, 2, 3, 3))
    fit = fit_masks(weight, 3, "vendor")
    found = fold(weight, np.zeros(3), cap=100.0, refine=keep_masks, fit=Fit(fit.mask, fit.alpha))
    np.testing.assert_array_equal(found.layer.mask, fit.mask)
