"""Crops of pictures: how many, where, and what the engine gets."""

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.crops import (
    PRESETS,
    Crop,
    CropSettings,
    crop_grid,
    crop_views,
    cut_crops,
    join_views,
    parse_crops,
)
from kestrel.sw.retrieval.pooling.grid import GridRegion, roi_grid


@pytest.mark.parametrize(("crops", "size", "count"), [
    ("nip", (480, 640), 1), ("rnip5x", (480, 640), 5), ("rnip5x", (500, 500), 5),
    ("rnip14x", (480, 640), 14),
    ("rnip9x", (480, 640), 9), ("rnip9x", (640, 480), 9), ("rnip9x", (500, 500), 5),
    ("rnip3x3", (480, 640), 9), ("levels:1+2+3", (480, 640), 20), ("levels:2", (480, 640), 6),
    ("whole,grid:2x4", (480, 640), 9), ("rnip14x", (1, 1), 1), ("rnip3x3", (1, 1), 1),
    ("rnip3x3", (1, 9000), 3), ("rnip9x", (2, 9000), 1 + 7 + 2 * 8),
])
def test_numbers_of_crops(crops, size, count):
    assert len(crop_grid(crops, *size)) == count


def test_levels_are_the_region_grid_of_the_picture():
    assert tuple(crop.region for crop in crop_grid("levels:1+2+3", 480, 640)) == roi_grid(480, 640, (1, 2, 3))


def test_square_is_the_grid_of_a_square_stretched():
    """Breaks if a crop of 5x or 14x is missing on a picture that is not square."""
    on_square = [c.region for c in crop_grid("square:1+2+3", 300, 300)]
    assert tuple(on_square) == roi_grid(300, 300, (1, 2, 3))
    stretched = [c.region for c in crop_grid("square:1+2+3", 300, 600)]
    assert [(r.top, r.height) for r in stretched] == [(r.top, r.height) for r in on_square]
    assert [(r.left, r.width) for r in stretched] == [(2 * r.left, 2 * r.width) for r in on_square]


def test_tiles():
    rows = [(r.top, r.left, r.height, r.width) for r in (c.region for c in crop_grid("grid:1x3", 10, 90))]
    assert rows == [(0, 0, 10, 30), (0, 30, 10, 30), (0, 60, 10, 30)]
    rows = [(r.left, r.width) for r in (c.region for c in crop_grid("grid:1x3~50", 10, 80))]
    assert rows == [(0, 40), (20, 40), (40, 40)]


def test_weights_and_the_same_crop_once():
    assert crop_grid("whole*2,levels:1+2*0.5", 50, 50)[:2] == (
        Crop(GridRegion(0, 0, 50, 50), 2.0), Crop(GridRegion(0, 0, 33, 33), 0.5))


@pytest.mark.parametrize("size", [(480, 640), (1, 1), (1, 50), (33, 2), (7, 5000)])
@pytest.mark.parametrize("crops", [*PRESETS, "levels:1+2+3+4", "grid:4x5~30,square:3"])
def test_crops_lie_inside_and_cover_what_they_should(size, crops):
    seen = np.zeros(size, bool)
    for r in (region for view in crop_views(crops, *size) for region in view.regions):
        assert min(r.height, r.width) >= 1
        assert min(r.top, r.left) >= 0
        assert r.top + r.height <= size[0]
        assert r.left + r.width <= size[1]
        seen[r.top : r.top + r.height, r.left : r.left + r.width] = True
    if max(size) <= 2 * min(size) or "levels" not in crops:  # a very long one has gaps: seven squares
        assert seen.all()


@pytest.mark.parametrize("text", ["", "rnip7x", "levels:", "levels:0", "levels:17", "square:1+", "grid:0x3",
                                  "grid:3", "whole*0", "whole*x", "whole,,whole", "levels:1 ", "grid:33x1"])
def test_bad_specifications_are_refused(text):
    with pytest.raises(InputError, match=r"crops .*; allowed: "):
        parse_crops(text)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"rotations": 3}, "rotations 3; allowed: 1, 2, 4"),
    ({"fit": "pad"}, "fit 'pad'; allowed: stretch, keep"),
    ({"filter": "nearest"}, "filter 'nearest'; allowed: bicubic"), ({"height": 0}, "height 0; allowed: 1"),
    ({"width": 9000}, "width 9000"), ({"height": 7, "least": 8}, r"height 7; allowed: 8\.\.8192"),
])
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        CropSettings(**arguments)


def test_crops_are_cut_before_they_are_resized():
    """Nothing outside a crop may show in it: a picture with one half black has a pure white crop."""
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 255
    left, right = cut_crops(picture, CropSettings("grid:1x2", 33, 33)).pictures
    assert (left == 0).all()
    assert (right == 255).all()


@pytest.mark.parametrize("name", ["bicubic", "bilinear", "lanczos", "box"])
def test_crops_are_resized_from_the_picture(name):
    picture = generate_picture(60, 80, 1)
    made = cut_crops(picture, CropSettings("levels:2", 24, 16, filter=name)).pictures
    for found, region in zip(made, roi_grid(60, 80, (2,)), strict=True):
        part = picture[region.top :, region.left :][: region.height, : region.width]
        wanted = Image.fromarray(part).resize((16, 24), Image.Resampling[name.upper()])
        np.testing.assert_array_equal(found, np.asarray(wanted))


def test_rotations_turn_every_crop():
    """Rotation by rotation, in each all crops: what the pooling relies on."""
    picture = generate_picture(30, 40, 2)
    made = cut_crops(picture, CropSettings("levels:2", 20, 20, rotations=4))
    assert len(made.pictures) == 4 * 6
    assert len(made.weights) == 6
    for n, region in enumerate(roi_grid(30, 40, (2,))):
        part = picture[region.top :, region.left :][: region.height, : region.width]
        for turns in range(4):
            np.testing.assert_array_equal(made.pictures[6 * turns + n], np.rot90(part, turns))


@pytest.mark.parametrize(("size", "wanted"), [
    ((480, 640), (48, 64)), ((640, 480), (64, 48)), ((480, 480), (48, 48)), ((300, 900), (21, 64)),
    ((900, 300), (64, 21)), ((1, 5000), (8, 64)), ((24, 32), (48, 64)), ((427, 640), (43, 64)),
])
def test_crops_that_keep_their_proportions(size, wanted):
    settings = CropSettings(height=48, width=64, fit="keep", least=8)
    assert settings.input_size(*size) == wanted
    assert cut_crops(np.zeros((*size, 3), np.uint8), settings).pictures[0].shape == (*wanted, 3)


@pytest.mark.parametrize(("size", "layout"), [((60, 90), (2, 3)), ((90, 60), (3, 2)), ((60, 60), (2, 3))])
def test_a_mosaic_lies_along_the_longer_side(size, layout):
    views = crop_views("whole,mosaic:2x3*2", *size)
    found = [(v.rows, v.columns, len(v.regions), v.weight) for v in views]
    assert found == [(1, 1, 1, 1.0), (*layout, 6, 2.0)]


@pytest.mark.parametrize("size", [(60, 90), (90, 60)])
def test_a_mosaic_joined_again_is_the_turned_picture(size):
    """Crops that need no resizing stand for their own feature maps. Breaks if tiles are turned but not
    moved, or joined in another order than cut."""
    picture = generate_picture(size[0], size[1], 3)
    inputs = cut_crops(picture, CropSettings("whole,mosaic:2x3", 30, 30, rotations=4))
    assert len(inputs.pictures) == 4 * 7
    joined = list(join_views([crop.transpose(2, 0, 1) for crop in inputs.pictures], inputs))
    assert len(joined) == 4 * 2
    for turns in range(4):
        wanted = np.rot90(picture, turns).transpose(2, 0, 1)
        np.testing.assert_array_equal(joined[2 * turns + 1], wanted)


def test_a_mosaic_is_refused_where_it_cannot_be():
    with pytest.raises(InputError, match="allowed: stretch"):
        CropSettings("mosaic:2x3", 30, 30, fit="keep")
    with pytest.raises(InputError, match="no mosaic"):
        crop_grid("whole,mosaic:2x3", 60, 90)
