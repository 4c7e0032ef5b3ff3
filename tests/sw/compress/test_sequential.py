"""The rule ``sequential``: each layer must compensate for what the layers before it have lost."""

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.dequantise import real_parameters
from kestrel.sw.compress.fit import sqnr_db
from kestrel.sw.compress.layer_fits import LayerFits
from kestrel.sw.compress.output_fit import DAMPING
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.sequential import SequentialFit, corrected_weights
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.validation import validate
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import quantise_pixels

SEED = 7
CAFFE = find_preprocessing("caffe")


def test_corrected_weights_are_the_minimum():
    """Of the stated error: no step away from them lowers it."""
    generator = np.random.default_rng(SEED)
    x = np.maximum(generator.standard_normal((500, 18)), 0)
    seen = x + 0.3 * generator.standard_normal(x.shape)
    weight = generator.standard_normal((3, 2, 3, 3)).astype(np.float32)
    inputs, pairs = seen.T @ seen / len(x), seen.T @ x / len(x)
    damping = DAMPING * np.trace(inputs) / len(inputs)

    def error(candidate):
        q, w = candidate.reshape(3, -1).astype(np.float64), weight.reshape(3, -1).astype(np.float64)
        return ((x @ w.T - seen @ q.T) ** 2).mean(axis=0) + damping * ((w - q) ** 2).sum(axis=1)

    found = corrected_weights(weight, inputs, pairs)
    assert (error(found) < error(weight)).all(), f"seed {SEED}"
    for _ in range(50):
        step = 1e-3 * generator.standard_normal(weight.shape)
        assert (error(found + step) > error(found)).all(), f"seed {SEED}"


def test_an_exact_input_needs_no_correction():
    generator = np.random.default_rng(SEED)
    x = generator.standard_normal((500, 9))
    weight = generator.standard_normal((2, 1, 3, 3)).astype(np.float32)
    moment = x.T @ x / len(x)
    np.testing.assert_allclose(corrected_weights(weight, moment, moment), weight, rtol=1e-5)
    np.testing.assert_array_equal(corrected_weights(weight, moment * 0, moment * 0), weight)


@pytest.mark.parametrize("activation_bits", [8, 5])
def test_moments_pair_the_integers_with_the_float_maps(activation_bits):
    """Small maps, all windows, by plain loops from the exact reference: breaks if a layer is fitted to its
    own output, to float inputs, or to pixels and not to maps."""
    network = random_network(parse_network("vgg16/32:pool2"), SEED)
    pictures = generated_pictures(12, 10, seed=4, count=2)
    seen = {}

    class Watched(SequentialFit):
        def _moments(self, position, maps, added, scale):
            seen[position] = super()._moments(position, maps, added, scale)
            return seen[position]

    layers = [c.folded.layer for c in Watched(network, CAFFE, activation_bits, pictures, 99.99).run((2,) * 4)]
    integers, _ = compress(network, (2,) * 4, pictures, preprocessing="caffe", fit="sequential",
                           activation_bits=activation_bits)
    for mine, other in zip(layers, integers.layers, strict=True):
        np.testing.assert_array_equal(mine.mask, other.mask)
    assert set(seen) == {1, 2, 3}
    for position, (inputs, pairs, rest) in seen.items():
        assert rest is None
        wanted = np.zeros((2, *inputs.shape))
        for n in range(2):
            rgb = pictures.load(n)
            pixels = torch.from_numpy(quantise_pixels(rgb, CAFFE, activation_bits))[None]
            quantised = Reference(integers).run(pixels)[position - 1][0].numpy() * layers[position - 1].scale
            real = FloatModel(network).run(real_batch([rgb], CAFFE))[position - 1][0].numpy()
            a, b = (np.pad(v.astype(np.float64), ((0, 0), (1, 1), (1, 1))) for v in (quantised, real))
            places = [(r, c) for r in range(a.shape[1] - 2) for c in range(a.shape[2] - 2)]
            for r, c in places:
                one, two = (v[:, r : r + 3, c : c + 3].ravel() for v in (a, b))
                wanted += np.stack([np.outer(one, one), np.outer(one, two)]) / len(places) / 2
        for found, right in zip((inputs, pairs), wanted, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5 * right.max())


def test_errors_do_not_add_up():
    """One mask bit everywhere: on a picture not calibrated on, the last map is much nearer to float than with
    every layer fitted for itself."""
    network = random_network(parse_network("vgg16/8:pool3"), 1)
    pictures = generated_pictures(48, 48, seed=2, count=8)
    rgb = generated_pictures(48, 48, seed=9).load(0)
    wanted = FloatModel(network).run(real_batch([rgb], CAFFE))[-1].numpy()
    errors = {}
    for fit in ("output", "sequential"):
        integers, report = compress(network, (1,) * 7, pictures, preprocessing="caffe", fit=fit)
        validate(integers)
        assert report.fit == fit
        pixels = torch.from_numpy(quantise_pixels(rgb, CAFFE, 8))[None]
        found = Reference(integers).last(pixels).numpy() * integers.layers[-1].scale
        errors[fit] = float(((found - wanted) ** 2).sum() / (wanted**2).sum())
    assert errors["sequential"] < 0.6 * errors["output"], errors


def test_fits_made_beforehand_are_refused():
    network = random_network(parse_network("vgg16/32:pool1"), 1)
    with pytest.raises(InputError, match="layers before; allowed here: least-squares, output, vendor"):
        LayerFits(network, CAFFE, generated_pictures(8, 8), "sequential")


def test_the_report_tells_target_and_float_weights_apart():
    """Breaks if the weights that a layer was fitted to, which make up for the layers before, pass for the
    float ones."""
    network = random_network(parse_network("vgg16/16:pool2"), SEED)
    pictures = generated_pictures(24, 24, count=4)
    integers, report = compress(network, (1,) * 4, pictures, preprocessing="caffe", fit="sequential")
    for n, (entry, (stored, _)) in enumerate(zip(report.layers, real_parameters(integers), strict=True)):
        assert entry.sqnr_float_db is not None
        assert entry.sqnr_float_db == sqnr_db(network.weights[n], stored)
        if n == 0:
            assert entry.sqnr_target_db == pytest.approx(entry.sqnr_float_db)
        else:
            assert entry.sqnr_target_db is not None
            assert abs(entry.sqnr_target_db - entry.sqnr_float_db) > 0.01
