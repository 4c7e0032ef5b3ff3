"""Descriptors, whitening, indexes and their measurement from Python."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

import kestrel
from kestrel.sw.retrieval.describe import backends
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser

HERE = kestrel.DescribeRun(workers=0)
OPTIONS = kestrel.DescriptorOptions(size=(32, 40), pooling="rnip5x")
ROUNDED = 0.01
"""Bytes of a vector are not quite of unit length, so another's inner product with it may be the larger."""


@pytest.fixture(scope="module")
def network():
    return kestrel.compress(kestrel.load_weights("random:1", "vgg16/32:pool2"), size=16)[0]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return kestrel.write_scenes(tmp_path_factory.mktemp("scenes") / "s", groups=3, views=2, size=(48, 40))


@pytest.fixture(scope="module")
def described(network, scenes):
    return kestrel.describe(network, scenes.folder, OPTIONS, run=HERE)


def test_files_and_pictures_in_memory_give_the_same_descriptors(network, scenes, described):
    assert described.names == scenes.files
    assert described.vectors.dtype == np.float32
    pictures = kestrel.load_pictures(scenes.folder, (48, 40))
    describer = kestrel.make_describer(network, OPTIONS)
    for given in (pictures, list(pictures), torch.from_numpy(pictures)):
        found = kestrel.describe(describer, given, names=scenes.files)
        assert found.settings == described.settings
        assert found.names == scenes.files
        assert found.vectors.tobytes() == described.vectors.tobytes()
    assert kestrel.describe(describer, pictures[0]).names == ("0",)
    with pytest.raises(kestrel.InputError, match="1 names for 6 pictures"):
        kestrel.describe(describer, pictures, names=["a"])
    with pytest.raises(kestrel.InputError, match="options beside a describer"):
        kestrel.describe(describer, pictures, OPTIONS)


def test_a_bad_picture_is_skipped_only_when_asked_to(network, scenes, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "good.png").write_bytes((scenes.folder / scenes.files[0]).read_bytes())
    with pytest.raises(kestrel.InputError, match=r"bad\.png: not a readable image"):
        kestrel.describe(network, tmp_path, OPTIONS, run=HERE)
    skipped = []
    run = replace(HERE, skip=lambda name, error: skipped.append(name))
    assert kestrel.describe(network, tmp_path, OPTIONS, run=run).names == ("good.png",)
    assert skipped == ["bad.png"]
    with pytest.raises(kestrel.InputError, match=r"bad\.png: not a readable image"):
        kestrel.describe(network, tmp_path / "bad.png", OPTIONS, run=run)


@pytest.mark.parametrize("mode", ["roi", "after"])
def test_a_whitening_in_memory_is_the_one_in_its_file(network, scenes, tmp_path, mode):
    made = kestrel.fit_whitening(network, scenes.folder, OPTIONS, dimension=3, mode=mode, run=HERE)
    pictures = kestrel.load_pictures(scenes.folder, (48, 40))
    again = kestrel.fit_whitening(network, pictures, OPTIONS, dimension=3, mode=mode)
    assert again.digest == made.digest
    path = tmp_path / "w.safetensors"
    kestrel.save_whitening(made, path)
    assert kestrel.load_whitening(path).digest == made.digest
    first, second = (kestrel.describe(network, pictures, replace(OPTIONS, whitening=white))
                     for white in (made, path))
    assert first.settings == second.settings
    assert first.settings.whitening == made.digest
    assert first.vectors.shape == (6, 3)
    assert first.vectors.tobytes() == second.vectors.tobytes()


def test_transform_whitens_what_it_was_fitted_on(network, scenes):
    describer = kestrel.make_describer(network, OPTIONS)
    made = kestrel.fit_whitening(describer, scenes.folder, dimension=3, run=HERE)
    pictures = kestrel.load_pictures(scenes.folder, (48, 40))
    vectors = np.concatenate(list(describer.regions_of_pictures(pictures)))
    assert len(vectors) == made.vectors
    white = made.transform(vectors)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(3), atol=1e-3)
    with pytest.raises(kestrel.InputError, match=r"whitening of vectors \[2, 3\]; allowed: \[R, 4\]"):
        made.transform(white[:2])


@pytest.mark.parametrize("codes", ["floats", "bytes", "bits"])
def test_an_index_finds_each_picture_itself(described, scenes, tmp_path, codes):
    index = kestrel.build_index(described, kestrel.IndexOptions(codes=codes))
    index.save(tmp_path / "i")
    truth = kestrel.load_truth(scenes.folder)
    for result in kestrel.search(kestrel.DescriptorIndex.load(tmp_path / "i"), described, 6, truth=truth):
        own = next(match.score for match in result.matches if match.name == result.query)
        assert abs(own - result.matches[0].score) < ROUNDED
        assert (result.wanted, result.right) == (1, 1)
    by_vector = kestrel.search(index, described.vectors[:1], 6)[0]
    assert (by_vector.query, len(by_vector.matches)) == ("0", 6)
    with pytest.raises(kestrel.InputError, match="cannot be compared: height"):
        kestrel.search(index, replace(described, settings=replace(described.settings, height=9)))
    with pytest.raises(kestrel.InputError, match=r"allowed: 1\.\."):
        kestrel.search(index, described, 0)


def test_queries_are_described_as_the_index(network, described, scenes):
    index = kestrel.build_index(described)
    describer = kestrel.query_describer(index, network)
    assert describer.settings == described.settings
    bordered = replace(OPTIONS, chain=kestrel.NipSettings(border=1))
    index = kestrel.build_index(kestrel.describe(network, scenes.folder, bordered, run=HERE))
    assert kestrel.query_describer(index, network).settings == index.settings


@pytest.mark.parametrize("codes", ["floats", "bytes", "bits"])
def test_evaluation(network, described, scenes, codes):
    found = kestrel.evaluate(scenes.folder, described, codes=codes)
    assert (found.images, found.queries) == (6, 6)
    assert 0 < found.map <= 1
    benchmark = kestrel.load_benchmark(scenes.folder)
    benchmark, again = kestrel.describe_benchmark(network, benchmark, OPTIONS, run=HERE)
    assert kestrel.evaluate(benchmark, again, codes=codes) == found
    coded = kestrel.encode(described, "bits", fit_quantiser(described.vectors))
    assert kestrel.evaluate(benchmark, coded, codes=codes).queries == 6


def test_the_float_network_in_memory_is_a_backend(scenes):
    weights = kestrel.load_weights("random:1", "vgg16/32:pool2")
    network, _ = kestrel.compress(weights, size=16)
    options = replace(OPTIONS, backend="float")
    given, named = (kestrel.describe(network, scenes.folder, replace(options, weights=source), run=HERE)
                    for source in (weights, "random:1"))
    assert given.settings == named.settings
    assert given.vectors.tobytes() == named.vectors.tobytes()
    other = kestrel.load_weights("random:1", "vgg16/32:pool1")
    with pytest.raises(kestrel.InputError, match="of vgg16/32:pool1; allowed: of vgg16/32:pool2"):
        kestrel.make_describer(network, replace(options, weights=other))


class Brightness:
    """A backend of another distribution: one feature, the mean of the pixels."""

    arithmetic, digest = "float", "brightness"

    def __init__(self, request):
        self.channels = request.network.layers[-1].shape.out_channels

    def batch(self, height, width):
        return 4

    def features(self, pictures):
        return np.stack([np.full((self.channels, 2, 2), rgb.mean(), np.float32) for rgb in pictures])


def test_other_distributions_bring_backends(network, scenes, monkeypatch):
    group = backends.BACKEND_GROUP
    entries = [EntryPoint("brightness", f"{__name__}:Brightness", group),
               EntryPoint("rtl", "nothing:at_all", group)]
    assert kestrel.backend_names() == ["board", "float", "reference", "rtl"]
    monkeypatch.setattr(backends, "entry_points", lambda group: entries)
    monkeypatch.setattr(EntryPoint, "load", lambda entry: {"brightness": Brightness}[entry.name])
    assert kestrel.backend_names() == [
        "board", "brightness", "float", "reference", "rtl"], "rtl cannot be taken"
    found = kestrel.describe(network, scenes.folder, replace(OPTIONS, backend="brightness"), run=HERE)
    assert found.settings.network == "brightness"
    np.testing.assert_allclose(found.vectors, found.vectors[0, 0], rtol=1e-6)
