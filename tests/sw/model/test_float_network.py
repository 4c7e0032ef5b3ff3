"""The float network against plain loops."""

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import generate_picture


def plain_layer(x, weight, bias, pool):
    height, width = x.shape[1:]
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.empty((len(weight), height, width))
    for row in range(height):
        for column in range(width):
            window = framed[:, row : row + 3, column : column + 3]
            y[:, row, column] = np.maximum((weight * window).sum(axis=(1, 2, 3)) + bias, 0)
    if not pool:
        return y
    return np.stack([[[c[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for j in range(width // 2)]
                      for i in range(height // 2)] for c in y])


def test_every_layer_equals_plain_loops():
    """Layer order, padding, ReLU, pooling of odd sizes: breaks if one differs from the network's."""
    network = random_network(parse_network("vgg16/32:conv3_1"), 3)
    picture = generate_picture(9, 11, 2)
    caffe = find_preprocessing("caffe")
    found = FloatModel(network).run(real_batch([picture], caffe))
    x = caffe.real_input(picture).astype(np.float64)
    layers = zip(network.shape.layers, network.weights, network.biases, strict=True)
    for (layer, weight, bias), y in zip(layers, found, strict=True):
        x = plain_layer(x, weight.astype(np.float64), bias, layer.pool)
        # float32 sums of at most 9 * 16 products of one sign or the other
        np.testing.assert_allclose(y[0].numpy(), x, rtol=1e-4, atol=1e-4 * x.max())


def test_both_sides_of_the_pool_are_given():
    network = random_network(parse_network("vgg11/32:pool1"), 0)
    (result,) = FloatModel(network).layers(torch.ones(2, 3, 6, 8))
    assert result.relu.shape == (2, 2, 6, 8)
    torch.testing.assert_close(result.output, torch.nn.functional.max_pool2d(result.relu, 2))


def test_too_small_an_image_is_refused():
    network = random_network(parse_network("vgg11/64:pool3"), 0)
    with pytest.raises(InputError, match=r"7 x 20 is too small for vgg11/64:pool3; allowed: at least 8 x 8"):
        FloatModel(network).run(torch.ones(1, 3, 7, 20))
