"""Activation ranges against NumPy's percentile."""

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.compress.calibrate import (
    CalibrationPictures,
    folder_pictures,
    generated_pictures,
    measure_ranges,
)
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork, random_network

CAFFE = find_preprocessing("caffe")
NETWORK = random_network(parse_network("vgg11/16:pool2"), 4)
PICTURES = generated_pictures(20, 24, seed=1, count=3)


@pytest.fixture(scope="module")
def activations():
    """All activations of each layer, before pooling."""
    runs = [[result.relu.numpy().ravel() for result in FloatModel(NETWORK).layers(x)]
            for x in (real_batch([PICTURES.load(n)], CAFFE) for n in range(3))]
    return [np.concatenate(values) for values in zip(*runs, strict=True)]


@pytest.mark.parametrize("percentile", [80, 99, 99.9, 99.99])
def test_percentile_is_numpys_within_a_cell(percentile, activations):
    """Breaks if cells are off by one, zeros are not counted, or only one picture is."""
    ranges = measure_ranges(NETWORK, CAFFE, PICTURES, percentile)
    for cap, clipped, values in zip(ranges.cap, ranges.clipped, activations, strict=True):
        wanted = np.percentile(values, percentile, method="inverted_cdf")
        assert wanted * (1 - 1e-6) <= cap <= wanted * (1 + 2.0**-10)
        assert clipped == pytest.approx((values > cap).mean(), abs=1e-9)


def test_hundred_is_the_maximum(activations):
    ranges = measure_ranges(NETWORK, CAFFE, PICTURES, 100)
    assert ranges.cap == ranges.maximum == pytest.approx([values.max() for values in activations])
    assert ranges.clipped == (0, 0)


def test_mostly_zero_layers_keep_their_maximum():
    """A bias so low that hardly anything fires: the percentile is 0, which is no scale."""
    largest = measure_ranges(NETWORK, CAFFE, PICTURES, 100).maximum[0]
    bias = (NETWORK.biases[0] - np.float32(0.95 * largest), NETWORK.biases[1] + 1)
    ranges = measure_ranges(FloatNetwork(NETWORK.shape, NETWORK.weights, bias), CAFFE, PICTURES, 60)
    assert ranges.cap[0] == ranges.maximum[0] > 0


def test_dead_layers_are_refused_by_name():
    weights = (NETWORK.weights[0], np.zeros_like(NETWORK.weights[1]))
    biases = (NETWORK.biases[0], -np.ones_like(NETWORK.biases[1]))
    with pytest.raises(InputError, match=r"layer conv2_1: largest activation 0 on 3 generated pictures"):
        measure_ranges(FloatNetwork(NETWORK.shape, weights, biases), CAFFE, PICTURES)


def test_infinite_activations_are_refused():
    weights = (NETWORK.weights[0] * np.float32(1e37), NETWORK.weights[1] * np.float32(1e37))
    with pytest.raises(InputError, match=r"layer conv\d_1: largest activation (inf|nan)"):
        measure_ranges(FloatNetwork(NETWORK.shape, weights, NETWORK.biases), CAFFE, PICTURES)


@pytest.mark.parametrize("percentile", [49.9, 100.1, float("nan"), -1])
def test_bad_percentiles_are_refused(percentile):
    with pytest.raises(InputError, match=r"percentile .* allowed: 50\.\.100"):
        measure_ranges(NETWORK, CAFFE, PICTURES, percentile)


def test_bad_pictures_are_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        measure_ranges(NETWORK, CAFFE, folder_pictures(tmp_path, 16, 16))


def test_too_small_a_size_is_refused():
    with pytest.raises(InputError, match="3 x 9 is too small"):
        measure_ranges(NETWORK, CAFFE, generated_pictures(3, 9))


def test_progress_counts_pictures():
    steps = []

    class Bar:
        def __init__(self, description, total):
            steps.append(total)

        def __enter__(self):
            return steps.append

        def __exit__(self, *_):
            pass

    measure_ranges(NETWORK, CAFFE, PICTURES, progress=Bar)
    assert steps == [3, 1, 1, 1]


def test_batches_of_pictures_keep_their_size():
    pictures = CalibrationPictures("one", 16, 18, ("a",), lambda n: np.full((16, 18, 3), n, np.uint8))
    assert real_batch([pictures.load(0)], CAFFE).shape == torch.Size([1, 3, 16, 18])
