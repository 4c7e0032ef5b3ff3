"""What augmentation may do to a picture, and what it must not."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import generate_picture, resize
from kestrel.sw.retrain.samples.augment import Augmentation, prepare

STILL = Augmentation(area=(1, 1), aspect=1, flip=False, brightness=0, contrast=0, saturation=0)


def test_without_augmentation_as_retrieval_sees_it(rng):
    picture = generate_picture(40, 30, 1)
    assert (prepare(picture, 24, 32, None, rng) == resize(picture, 24, 32)).all()


def test_the_whole_picture_unchanged_when_nothing_may_vary(rng):
    picture = generate_picture(32, 32, 1)
    assert (prepare(picture, 32, 32, STILL, rng) == picture).all()
    assert (prepare(picture, 16, 16, STILL, rng) == resize(picture, 16, 16)).all()


def test_half_the_pictures_are_mirrored(rng):
    picture = generate_picture(16, 16, 1)
    flip = Augmentation(area=(1, 1), aspect=1, brightness=0, contrast=0, saturation=0)
    found = [prepare(picture, 16, 16, flip, rng) for _ in range(100)]
    same = sum((f == picture).all() for f in found)
    assert sum((f == picture[:, ::-1]).all() for f in found) == 100 - same
    assert 25 < same < 75  # five standard deviations


def test_crops_keep_to_area_and_aspect(rng):
    """On a picture whose pixels tell their place, what a crop holds can be read off."""
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    picture = np.stack([rows, columns, rows], axis=2)
    crops = Augmentation(area=(0.25, 0.5), aspect=1.5, flip=False, brightness=0, contrast=0, saturation=0)
    areas = []
    for _ in range(200):
        found = prepare(picture, 64, 64, crops, rng).astype(float)
        height, width = (np.ptp(found[:, :, n]) + 1 for n in (0, 1))
        areas.append(height * width / 200**2)
        assert 1 / 1.65 < width / height < 1.65
    assert 0.2 < min(areas) < 0.3
    assert 0.45 < max(areas) < 0.55


def test_a_picture_too_narrow_for_any_crop_is_taken_whole(rng):
    line = generate_picture(4, 400, 1)
    found = prepare(line, 8, 8, replace(STILL, aspect=4 / 3), rng)
    assert (found == resize(line, 8, 8)).all()


def test_brightness_contrast_and_saturation(rng):
    picture = np.clip(generate_picture(32, 32, 1), 100, 150)
    means, spreads, colours = [], [], []
    for _ in range(60):
        means.append(prepare(picture, 32, 32, Augmentation((1, 1), 1, False, 0.5, 0, 0), rng).mean())
        spreads.append(prepare(picture, 32, 32, Augmentation((1, 1), 1, False, 0, 0.5, 0), rng).std())
        found = prepare(picture, 32, 32, Augmentation((1, 1), 1, False, 0, 0, 0.5), rng)
        colours.append(np.ptp(found.astype(float), axis=2).mean())
    for values, original in ((means, picture.mean()), (spreads, picture.std()),
                             (colours, np.ptp(picture.astype(float), axis=2).mean())):
        assert 0.45 * original < min(values) < 0.75 * original
        assert 1.25 * original < max(values) < 1.55 * original


@pytest.mark.parametrize(("options", "message"), [
    ({"area": (0.5, 0.2)}, "area of crops 0.5..0.2"),
    ({"area": (0, 1)}, "area of crops 0..1"),
    ({"aspect": 0.5}, "aspect of crops 0.5; allowed: 1..4"),
    ({"brightness": 1}, "brightness 1; allowed: 0 up to less than 1"),
    ({"saturation": -0.1}, "saturation -0.1"),
])
def test_impossible_augmentations_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        Augmentation(**options)
    assert message in str(caught.value)
