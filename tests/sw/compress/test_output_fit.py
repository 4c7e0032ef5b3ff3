"""The rule ``output``: what it minimises must fall, and its result must be storable."""

import numpy as np
import pytest

from kestrel.hw.spec.masks import MASK_BITS, mask_values
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.fit import fit_masks
from kestrel.sw.compress.output_fit import DAMPING, ChannelFit, measure_moments
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import random_network

SEED = 13
CHANNELS = 4


def example():
    """Weights [5, 4, 3, 3] and the moment of positive, correlated inputs."""
    generator = np.random.default_rng(SEED)
    common = generator.standard_normal((2000, 1))
    windows = np.maximum(common + 0.7 * generator.standard_normal((2000, 9 * CHANNELS)), 0)
    return generator.standard_normal((5, CHANNELS, 3, 3)), windows.T @ windows / len(windows)


def output_error(weight, q, moment):
    damped = moment + np.eye(len(moment)) * DAMPING * np.trace(moment) / len(moment)
    e = (weight - q).reshape(len(weight), -1)
    return np.einsum("oi,ij,oj->o", e, damped, e)


@pytest.mark.parametrize("mask_bits", MASK_BITS)
def test_output_error_falls_for_every_channel(mask_bits):
    """Breaks if a predicted gain is wrong, a block is transposed, or a scalar's sign is lost."""
    weight, moment = example()
    start = fit_masks(weight, mask_bits)
    found = ChannelFit(moment).fit(weight, start, mask_bits)
    before, after = (output_error(weight, f.weights(), moment) for f in (start, found))
    assert (after <= before).all(), f"seed {SEED}"
    assert after.sum() < 0.7 * before.sum(), f"seed {SEED}"
    assert set(np.unique(found.mask)) <= set(mask_values(mask_bits))
    assert (found.alpha >= 0).all()


@pytest.mark.parametrize("mask_bits", [1, 3])
def test_no_single_change_is_left(mask_bits):
    """At the end, with scalars rounded, no tap's move to a neighbouring level lowers the error: by brute
    force."""
    weight, moment = example()
    channels = ChannelFit(moment)
    fit = channels.fit(weight, fit_masks(weight, mask_bits), mask_bits)
    unit = np.full(CHANNELS, fit.alpha.max() / 200)
    mask, alpha = channels(weight, fit, unit, mask_bits)
    assert (alpha == np.floor(alpha)).all()
    values = mask_values(mask_bits)
    error = output_error(weight, mask * (alpha * unit)[:, :, None, None], moment)
    for tap in np.ndindex(CHANNELS, 3, 3):
        for o in range(len(weight)):
            for step in (-1, 1):
                level = values.index(mask[(o, *tap)]) + step
                if 0 <= level < len(values):
                    other = mask.copy()
                    other[(o, *tap)] = values[level]
                    changed = output_error(weight, other * (alpha * unit)[:, :, None, None], moment)
                    assert changed[o] >= error[o] * (1 - 1e-6), f"seed {SEED}"


def test_without_correlation_least_squares_is_kept():
    """Windows like white noise: output error is weight error, which the start has already minimised."""
    weight, _ = example()
    start = fit_masks(weight, 3)
    found = ChannelFit(np.eye(9 * CHANNELS)).fit(weight, start, 3)
    np.testing.assert_array_equal(found.mask, start.mask)
    np.testing.assert_allclose(found.alpha, start.alpha, rtol=1e-9)


def test_silent_channels_do_no_harm():
    """Input channels that are always zero make H singular."""
    weight, moment = example()
    moment[:9], moment[:, :9] = 0, 0
    found = ChannelFit(moment).fit(weight, fit_masks(weight, 2), 2)
    assert np.isfinite(found.alpha).all()
    assert np.isfinite(ChannelFit(moment * 0).fit(weight, fit_masks(weight, 2), 2).alpha).all()


def test_moments_are_those_of_each_layers_input():
    """All windows of small maps, against plain loops: breaks if a layer sees its own output."""
    network = random_network(parse_network("vgg16/32:pool2"), 5)
    caffe, pictures = find_preprocessing("caffe"), generated_pictures(12, 10, seed=4, count=2)
    moments = measure_moments(network, caffe, pictures)
    maps = [[], [], [], []]
    for n in range(2):
        x = real_batch([pictures.load(n)], caffe)
        for entry, value in zip(maps, [x, *FloatModel(network).run(x)], strict=False):
            entry.append(np.pad(value[0].numpy().astype(np.float64), ((0, 0), (1, 1), (1, 1))))
    for moment, framed in zip(moments, maps, strict=True):
        wanted = np.zeros(moment.shape)
        for x in framed:
            windows = [x[:, r : r + 3, c : c + 3].ravel()
                       for r in range(x.shape[1] - 2) for c in range(x.shape[2] - 2)]
            wanted += np.mean([np.outer(w, w) for w in windows], axis=0) / 2
        np.testing.assert_allclose(moment, wanted, rtol=1e-4, atol=1e-5 * wanted.max())


def test_few_bits_profit_most():
    """One mask bit everywhere, without retraining: the output's error must fall to a fraction."""
    network = random_network(parse_network("vgg16/8:pool3"), 1)
    pictures = generated_pictures(48, 48, seed=2, count=4)
    caffe = find_preprocessing("caffe")
    x = real_batch([generated_pictures(48, 48, seed=9).load(0)], caffe)
    wanted = FloatModel(network).run(x)[-1].flatten()
    cosines = {}
    for fit in ("least-squares", "output"):
        integers, _ = compress(network, (1,) * 7, pictures, preprocessing="caffe", fit=fit)
        weights = tuple((layer.mask * layer.alpha[:, :, None, None] * 2.0**-layer.shift).astype(np.float32)
                        for layer in integers.layers)
        # The integers' weights in units of the layers' scales; a float run needs the real ones.
        scales = [1.0, *(layer.scale for layer in integers.layers)]
        weights = tuple(w * np.float32(b / a) for w, a, b in zip(weights, scales, scales[1:], strict=False))
        found = FloatModel(type(network)(network.shape, weights, network.biases)).run(x)[-1].flatten()
        cosines[fit] = float(found @ wanted / (found.norm() * wanted.norm()))
    assert 1 - cosines["output"] < 0.6 * (1 - cosines["least-squares"])
