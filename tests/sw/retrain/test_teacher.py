"""What a stronger network teaches."""

import numpy as np
import pytest
import torch

from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.teacher import Teacher

PICTURES = torch.from_numpy(np.stack([generate_picture(32, 32, n) for n in range(5)]))


def teacher(layer: str = "conv2_2", channels: int = 3, **settings: float) -> Teacher:
    torch.manual_seed(0)
    floats = FloatConvs(random_network(parse_network("vgg16/16:pool3"), 1), find_preprocessing("torchvision"))
    return Teacher(floats, layer, channels, **settings)


def test_only_the_head_is_trained():
    model = teacher()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert names == ["head.weight", "head.bias"]


def test_a_layer_that_the_teacher_lacks_is_refused():
    with pytest.raises(ValueError, match="conv9_9"):
        teacher("conv9_9")


def test_the_map_taught_has_mean_0_and_deviation_1_in_every_channel_that_varies():
    wanted, _ = teacher().teach(PICTURES)
    varies = wanted.std((0, 2, 3)) > 0
    assert int(varies.sum()) > 0
    torch.testing.assert_close(wanted.mean((0, 2, 3)), torch.zeros(wanted.shape[1]), atol=1e-5, rtol=0)
    deviation = wanted.var((0, 2, 3), correction=0).sqrt()[varies]
    torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-2, rtol=0)


def test_a_student_with_the_teachers_own_maps_has_nothing_left_to_learn():
    model = teacher(channels=8)
    taught = model.teach(PICTURES)
    last = model.teacher(PICTURES, [6])[6]
    same = model.describe(last)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        model.head.weight.copy_(torch.eye(8)[:, :, None, None])
    terms = model.terms(taught[0], same, taught)
    assert float(terms["map"].detach()) == 0
    assert abs(float(terms["relation"])) < 1e-6
    assert float(model.terms(taught[0], same.flip(0), taught)["relation"]) > 1e-3
    assert float(model.terms(taught[0].flip(0), same, taught)["map"].detach()) > 0.1


def test_each_distribution_over_the_other_pictures_adds_up_to_1():
    _, alike = teacher(temperature=0.3).teach(PICTURES)
    assert alike.shape == (5, 4)
    torch.testing.assert_close(alike.exp().sum(dim=1), torch.ones(5))


def test_a_students_map_of_another_size_is_compared_with_means():
    model = teacher()
    taught = model.teach(PICTURES)
    half = torch.rand(5, 3, taught[0].shape[2] // 2, taught[0].shape[3] // 2, generator=torch.manual_seed(1))
    assert float(model.terms(half, model.describe(half), taught)["map"].detach()) > 0
