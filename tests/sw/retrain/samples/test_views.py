"""Views of a place lie near each other and inside the picture, and are lit differently."""

import numpy as np
import pytest
import torch
from PIL import Image

from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.samples.views import ViewSettings, contrast, draw_crop, reductions, relight, two_views

STILL = ViewSettings(area=(0.25, 0.25), aspect=1.0, turn=0.0, bend=0.0, apart=0.0, light=0.0, tint=0.0)


@pytest.fixture(scope="module")
def sizes():
    return reductions(Image.fromarray(generate_picture(120, 160, 1)))


def test_a_pair_is_alike_and_depends_on_the_generator_alone(sizes):
    pairs = [two_views(sizes, sizes, 32, ViewSettings(), np.random.default_rng(n)) for n in (3, 3, 4)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for pair in pairs for view in pair)
    assert all(np.array_equal(a, b) for a, b in zip(pairs[0], pairs[1], strict=True))
    assert not np.array_equal(pairs[0][0], pairs[2][0])
    assert not np.array_equal(*pairs[0])


def test_without_any_change_both_views_are_the_same_part(sizes):
    for seed in range(8):
        first, second = two_views(sizes, sizes, 48, STILL, np.random.default_rng(seed))
        assert np.array_equal(first, second)


def test_crops_lie_inside_and_near(sizes, rng):
    picture, settings = sizes[0], ViewSettings()
    for _ in range(50):
        first = draw_crop(picture, None, settings, rng)
        second = draw_crop(picture, first, settings, rng)
        for crop in (first, second):
            share = crop.width * crop.height / (picture.width * picture.height)
            assert share <= settings.area[1] * 1.001
            assert crop.width / 2 <= crop.x <= picture.width - crop.width / 2
            assert crop.height / 2 <= crop.y <= picture.height - crop.height / 2
        # Nearer than that only where the picture ends.
        reach = settings.apart * first.width + abs(first.width - second.width) / 2
        assert abs(first.x - second.x) <= reach + 1e-9


def test_light_changes_brightness_and_keeps_the_picture(rng):
    pictures = torch.from_numpy(np.stack([generate_picture(24, 24, n) for n in range(6)]))
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(relight(pictures, STILL, generator), pictures)
    lit = relight(pictures, ViewSettings(), generator)
    assert lit.dtype == torch.uint8
    assert not torch.equal(lit, pictures)
    for before, after in zip(pictures, lit, strict=True):
        both = torch.stack([before.flatten().double(), after.flatten().double()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_contrast_is_the_cross_entropy_of_finding_the_partner():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(8, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0.0
    for n in range(8):
        partner = (n + 4) % 8
        scores = {m: np.exp(vectors[n] @ vectors[m] / 0.2) for m in range(8) if m != n}
        total -= np.log(scores[partner] / sum(scores.values()))
    assert float(contrast(torch.from_numpy(vectors), 0.2)) == pytest.approx(total / 8)
