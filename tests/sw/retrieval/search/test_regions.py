"""Regions that agree: their vectors are the descriptor's, and they lie where the pictures are alike."""

from dataclasses import replace

import numpy as np
import pytest

from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.sw.retrieval.search.regions import (
    LARGE_SHARE,
    OVERLAP_MAX,
    Box,
    MapRegions,
    PictureRegions,
    agreements,
    picture_regions,
)
from kestrel.verif.cases.random_network import random_network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    name = "vgg16/16:pool2"
    return random_network(np.random.default_rng(5), parse_network(name).layers, 3, name=name)


@pytest.fixture(scope="module")
def residual():
    name = "resnet18/32:layer2.0"
    made = random_network(np.random.default_rng(8), parse_network(name).layers, 3, name=name, blocks=True)
    return replace(made, preprocessing="torchvision")


def pictures(count, seed):
    return [generate_picture(70, 90, seed + n) for n in range(count)]


@pytest.mark.parametrize("options", [
    {}, {"pooling": "rnip9x", "rotations": 2}, {"pooling": "rnip18m"},
    {"fit": "keep", "crops": "whole,grid:2x3"},
    {"chain": NipSettings(border=2)}, {"pooling": "rmac"}, {"pooling": "sqrt"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("mode", [None, "roi", "after"])
def test_the_descriptor_is_the_describers(network, options, mode, seed):
    options = DescriptorOptions(size=32, **options)
    describer = make_describer(network, options)
    if mode is not None:
        regions = describer.map_regions_of_pictures(pictures(8, 50))
        whitening = describer.fit_whitening(regions, 5, mode)
        describer = make_describer(network, replace(options, whitening=whitening))
    picture = generate_picture(60, 90, seed % 1000)
    found = picture_regions(describer, picture)
    np.testing.assert_array_equal(found.vector, describer.describe_picture(picture))
    (of_map,) = found.maps
    assert len(of_map.boxes) == len(of_map.vectors)
    np.testing.assert_allclose(np.linalg.norm(of_map.vectors, axis=1), 1, atol=1e-6)
    for box in of_map.boxes:
        assert min(box.left, box.top) >= 0
        assert max(box.left + box.width, box.top + box.height) <= 1 + 1e-9
        assert min(box.width, box.height) > 0


def test_of_several_maps_each_has_its_regions(residual):
    describer = make_describer(residual, DescriptorOptions(size=64, pool_maps=("layer1.0", "layer2.0")))
    first, second = pictures(2, 9)
    found = picture_regions(describer, first)
    np.testing.assert_array_equal(found.vector, describer.describe_picture(first))
    assert [of_map.vectors.shape[1] for of_map in found.maps] == list(describer.dimensions)
    assert len(agreements(found, picture_regions(describer, second), 3)) > 0


def test_a_score_is_made_of_the_pairs_of_regions(network):
    """Without whitening and rotations a score is the mean of all pairs' cosines, but for the lengths."""
    describer = make_describer(network, DescriptorOptions(size=32, pooling="rnip5x"))
    query, match = (picture_regions(describer, picture) for picture in pictures(2, 3))
    ours, theirs = query.maps[0].vectors.astype(float), match.maps[0].vectors.astype(float)
    length = np.linalg.norm(ours.mean(axis=0)) * np.linalg.norm(theirs.mean(axis=0))
    score = float(query.vector.astype(float) @ match.vector.astype(float))
    assert (ours @ theirs.T).mean() / length == pytest.approx(score, abs=1e-5)


def test_the_regions_show_where_the_same_thing_is():
    """A quarter of one picture lies elsewhere in the other; all else is unlike. By a trained network, as
    random weights see nothing in particular."""
    describer = make_describer("resnet18-retrieval", DescriptorOptions(size=128))
    for seed in (0, 1, 3):
        same = generate_picture(48, 48, 77 + seed)
        first, second = generate_picture(96, 96, 1 + seed), generate_picture(96, 96, 200 + seed)
        first[:48, :48], second[48:, 48:] = same, same
        best = agreements(picture_regions(describer, first), picture_regions(describer, second), 1)[0]
        assert (best.query, best.match) == (corner(0, 0, 0.5), corner(0.5, 0.5, 0.5)), seed


def corner(left, top, side):
    return Box(left, top, side, side)


def of(*pairs):
    boxes, vectors = zip(*pairs, strict=True)
    values = np.array(vectors, dtype=np.float32)
    return PictureRegions(values.mean(axis=0), (MapRegions(boxes, values),))


def test_large_regions_and_those_in_one_place_are_passed_over():
    a, b, c = np.eye(3)
    query = of((Box(0, 0, 1, 1), a), (corner(0, 0, 0.4), a), (corner(0.05, 0, 0.4), a),
               (corner(0.6, 0.6, 0.4), b))
    match = of((Box(0, 0, 1, 1), a), (corner(0.6, 0, 0.4), a), (corner(0, 0.6, 0.4), 0.6 * b + 0.8 * c))
    found = agreements(query, match, 3)
    assert [(pair.query, pair.match) for pair in found] == [
        (corner(0, 0, 0.4), corner(0.6, 0, 0.4)), (corner(0.6, 0.6, 0.4), corner(0, 0.6, 0.4))]
    assert [pair.cosine for pair in found] == pytest.approx([1, 0.6])
    assert len(agreements(query, match, 1)) == 1
    # Where there are only large ones, they are shown.
    whole = of((Box(0, 0, 1, 1), a))
    assert agreements(whole, whole, 3)[0].query == Box(0, 0, 1, 1)
    assert 0 < OVERLAP_MAX < LARGE_SHARE < 1


def test_pictures_without_anything_alike_have_no_pairs():
    a, b, _ = np.eye(3)
    assert agreements(of((corner(0, 0, 0.4), a)), of((corner(0, 0, 0.4), b)), 3) == ()
