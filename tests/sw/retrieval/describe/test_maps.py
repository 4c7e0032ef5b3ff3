"""Descriptors of several maps: names, and the whole chain against the maps one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import random_network as random_floats
from kestrel.sw.pictures.images import first_map, generate_picture
from kestrel.sw.retrieval.describe import backends
from kestrel.sw.retrieval.describe.backends import MapsBackend
from kestrel.sw.retrieval.describe.crops import cut_crops, join_views
from kestrel.sw.retrieval.describe.descriptor import check_comparable, load_descriptors, save_descriptors
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.maps import chosen_maps, map_names, parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, crop_vectors
from kestrel.sw.retrieval.search.query import describer_like
from kestrel.verif.cases.random_network import random_network

NAME = "resnet18/32:layer2.1"
MAPS = ("layer1.0", "layer2.0")
LAYERS = (2, 6)
SIZE = (40, 36)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    made = random_network(np.random.default_rng(3), parse_network(NAME).layers, 3, name=NAME, blocks=True)
    return replace(made, preprocessing="torchvision")


@pytest.fixture(scope="module")
def pictures():
    return [generate_picture(*size, n) for n, size in enumerate([(50, 60), (61, 47), (40, 36), (64, 48)])]


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "names"), [
    ("resnet18:layer1.1", ["conv1", "layer1_0_conv1", "layer1.0", "layer1_1_conv1", "layer1.1"]),
    ("vgg11:conv3_2", ["pool1", "pool2", "conv3_1", "conv3_2"]),
    ("vgg11:pool2", ["pool1", "pool2"]),
    ("repvgg_a0:stage1.1", ["stage0", "stage1_0", "stage1_1"]),
])
def test_every_map_has_a_name(network, names):
    layers = parse_network(network).layers
    assert map_names(layers) == names
    for number, name in enumerate(names[:-1]):
        assert chosen_maps(network, layers, [name]) == (number,)


def test_names_of_a_cut_are_those_of_its_network():
    layers = parse_network("resnet34:layer3.5").layers
    assert {name for name in map_names(layers) if "." in name} >= {"layer1.2", "layer2.3", "layer3.0"}


def test_maps_are_taken_in_the_order_of_the_network_and_the_last_alone_is_the_usual_one():
    layers = parse_network(NAME).layers
    assert chosen_maps(NAME, layers, MAPS[::-1]) == chosen_maps(NAME, layers, MAPS) == LAYERS
    assert chosen_maps(NAME, layers, ["layer2.1"]) == chosen_maps(NAME, layers, []) == ()
    assert parse_maps(None) == ()
    assert parse_maps("layer1.0,layer2.0") == MAPS


@pytest.mark.parametrize(("wanted", "message"), [
    (("layer3.0",), r"map 'layer3\.0' of network .*; allowed: conv1, layer1_0_conv1, layer1\.0, "),
    (("layer1.0", ""), r"map '' of network"),
    (("layer1.0", "layer1.0"), r"map 'layer1\.0' twice; allowed: each map once"),
])
def test_other_names_are_refused(wanted, message):
    with pytest.raises(InputError, match=message):
        chosen_maps(NAME, parse_network(NAME).layers, wanted)


# --- the chain --------------------------------------------------------------------------------------------


def one_by_one(describer, rgb, maps_of):
    """The descriptor from the maps of each layer alone, each through its own chain."""
    inputs = cut_crops(rgb, describer.crops)
    parts = []
    for number, layer in enumerate(describer.layers):
        whitening = None if describer.whitening is None else describer.whitening.maps[number]
        maps = [maps_of(crop)[layer] for crop in inputs.pictures]
        views = list(join_views(maps, inputs))
        vectors = [crop_vectors(view, describer.chain, whitening) for view in views]
        count = len(inputs.weights)
        turns = [vectors[n * count : (n + 1) * count] for n in range(inputs.rotations)]
        parts.append(combine(turns, inputs.weights, describer.chain, whitening).astype(float))
    joined = np.concatenate(parts)
    return joined / np.linalg.norm(joined)


@pytest.mark.parametrize("mode", [None, "roi", "after"])
@pytest.mark.parametrize("crops", ["whole,levels:2*0.5", "mosaic:1x2"])
def test_maps_are_pooled_whitened_and_joined(mode, crops, network, pictures):
    settings: dict[str, Any] = {"size": SIZE, "crops": crops, "rotations": 2, "pool_maps": MAPS}
    describer = make_describer(network, DescriptorOptions(**settings))
    assert describer.settings.maps == "layer1.0,layer2.0"
    assert (describer.layers, describer.dimensions) == (LAYERS, (2, 4))
    if mode is not None:
        learned = describer.fit_whitening(describer.map_regions_of_pictures(pictures), 2, mode)
        assert [part.projection.shape for part in learned.maps] == [(2, 2), (2, 4)]
        describer = make_describer(network, DescriptorOptions(**settings, whitening=learned))
    reference, preprocessing = Reference(network), find_preprocessing("torchvision")

    def maps_of(crop):
        x = torch.from_numpy(first_map(crop, preprocessing, 8, blocks=True))[None]
        return [y[0].numpy() for y in reference.run(x)]

    for picture in pictures:
        found = describer.describe_picture(picture)
        assert found.dtype == np.float32
        assert found.shape == (describer.dimension,) == (6 if mode is None else 4,)
        np.testing.assert_allclose(found, one_by_one(describer, picture, maps_of), rtol=0, atol=1e-6)
    together = np.stack(list(describer.describe_pictures(pictures)))
    np.testing.assert_array_equal(together, [describer.describe_picture(picture) for picture in pictures])


def test_maps_of_the_float_network(network, pictures):
    floats = random_floats(parse_network(NAME), 2)
    options = DescriptorOptions(size=SIZE, pool_maps=MAPS, backend="float", weights=floats)
    describer = make_describer(network, options)
    model, preprocessing = FloatModel(floats), find_preprocessing("torchvision")
    wanted = one_by_one(describer, pictures[0],
                        lambda crop: [y[0].numpy() for y in model.run(real_batch([crop], preprocessing))])
    np.testing.assert_allclose(describer.describe_picture(pictures[0]), wanted, rtol=0, atol=1e-5)


def test_an_inner_map_alone(network, pictures):
    cut = replace(network, layers=network.layers[: LAYERS[0] + 1])
    alone = make_describer(network, DescriptorOptions(size=SIZE, pool_maps=MAPS[:1]))
    last = make_describer(cut, DescriptorOptions(size=SIZE))
    assert (alone.settings.maps, last.settings.maps) == ("layer1.0", "")
    np.testing.assert_array_equal(alone.describe_picture(pictures[1]), last.describe_picture(pictures[1]))
    regions = list(alone.regions_of_pictures(pictures))
    np.testing.assert_array_equal(regions[0], next(last.regions_of_pictures(pictures)))


def test_regions_of_several_maps_are_no_single_array(network, pictures):
    describer = make_describer(network, DescriptorOptions(size=SIZE, pool_maps=MAPS))
    with pytest.raises(InputError, match=r"maps layer1\.0,layer2\.0; allowed here: one map"):
        describer.regions_of_pictures(pictures)


def test_a_descriptor_of_maps_that_are_there_already(network, pictures):
    describer = make_describer(network, DescriptorOptions(size=SIZE, pool_maps=MAPS))
    inputs = cut_crops(pictures[0], describer.crops)
    assert isinstance(describer.backend, MapsBackend)
    maps = [list(found) for found in describer.backend.maps(inputs.pictures, describer.layers)]
    np.testing.assert_array_equal(describer.describe_maps(maps, inputs),
                                  describer.describe_picture(pictures[0]))


def test_the_last_map_by_its_name_is_the_usual_descriptor(network, pictures):
    named = make_describer(network, DescriptorOptions(size=SIZE, pool_maps=("layer2.1",)))
    usual = make_describer(network, DescriptorOptions(size=SIZE))
    assert named.settings == usual.settings
    np.testing.assert_array_equal(named.describe_picture(pictures[0]), usual.describe_picture(pictures[0]))


def test_a_backend_that_gives_only_the_last_map_is_refused(network, monkeypatch):
    class LastOnly:
        arithmetic, digest = "integer", "0" * 64

        def __init__(self, request):
            self.request = request

        def batch(self, height, width):
            return 1

        def features(self, pictures):
            raise AssertionError("refused before")

    monkeypatch.setattr(backends, "LastOnly", LastOnly, raising=False)
    monkeypatch.setitem(backends.BUILT_IN, "last", "kestrel.sw.retrieval.describe.backends:LastOnly")
    with pytest.raises(InputError, match=r"backend last: maps layer1\.0, layer2\.0; allowed: the last "):
        make_describer(network, DescriptorOptions(size=SIZE, pool_maps=MAPS, backend="last"))
    make_describer(network, DescriptorOptions(size=SIZE, backend="last"))


# --- what is recorded ---------------------------------------------------------------------------------------


def test_files_and_indexes_know_the_maps(network, pictures, tmp_path):
    from kestrel.api.descriptors import describe
    from kestrel.api.retrieval import build_index
    from kestrel.sw.retrieval.search.index import DescriptorIndex

    options = DescriptorOptions(size=SIZE, pool_maps=MAPS)
    found = describe(network, pictures, options)
    usual = describe(network, pictures, replace(options, pool_maps=()))
    save_descriptors(found, tmp_path / "d.npz")
    save_descriptors(usual, tmp_path / "u.npz")
    assert load_descriptors(tmp_path / "d.npz").settings == found.settings
    assert load_descriptors(tmp_path / "u.npz").settings == usual.settings
    assert b"maps" not in np.load(tmp_path / "u.npz")["settings"].tobytes().replace(b"\0", b"")
    with pytest.raises(InputError, match=r"cannot be compared: maps is 'layer1\.0,layer2\.0' in the one"):
        check_comparable(found.settings, usual.settings, "a", "b")
    build_index(found).save(tmp_path / "i.index")
    index = DescriptorIndex.load(Path(tmp_path / "i.index"))
    assert index.settings == found.settings
    describer = describer_like(index.settings, network)
    np.testing.assert_array_equal(describer.describe_picture(pictures[0]), found.vectors[0])


def test_every_map_has_regions_of_its_own(network, pictures):
    """Level 1 of 10 x 9 and of 5 x 5 pixels: two squares, and one."""
    chain = NipSettings(levels=(1,), moment="max")
    describer = make_describer(network, DescriptorOptions(size=SIZE, pool_maps=MAPS, chain=chain))
    vectors = next(describer.map_regions_of_pictures(pictures))
    assert [part.shape for part in vectors] == [(2, 2), (1, 4)]
