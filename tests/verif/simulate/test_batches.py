"""Batches through backend and chip: several pictures a frame give what each gives alone."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kestrel.api.simulation import simulate_descriptors
from kestrel.export.export import export_network, import_network
from kestrel.export.manifest import read_manifest
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import same
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.backends import BackendRequest
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.verif.cases.random_network import random_network, stack
from kestrel.verif.simulate.backend import RtlBackend
from kestrel.verif.simulate.compare import reference_maps

CONFIG = replace(
    NAMED["nano"], input_lanes=4, load_kernels=2, stream_bytes=3, descriptor_channels=16,
    descriptor_words=256, descriptor_whitening=False, batch=True,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network(rng):
    """Two poolings of odd heights at 21 rows: 21, 10, 5."""
    made = random_network(rng, stack((3, 6, 9, 8), (0, 1)), [3, 1, 2])
    return replace(made, preprocessing="caffe")


def test_the_backend_fills_frames_with_pictures(network):
    """Five pictures, two a frame: the last frame has one."""
    options = {"images": "2", "processes": "1"}
    backend = RtlBackend(BackendRequest(network, 21, 18, options=options), CONFIG)
    assert backend.batch(21, 18) == 2
    pictures = [generate_picture(21, 18, seed) for seed in range(5)]
    preprocessing = find_preprocessing("caffe")
    expected = [reference_maps(network, preprocessing.pixels(rgb)) for rgb in pictures]
    np.testing.assert_array_equal(backend.features(pictures), [maps[-1] for maps in expected])
    inner = backend.maps(pictures, [0, 1])
    for number in (0, 1):
        np.testing.assert_array_equal(inner[number], [maps[number] for maps in expected])


def test_images_are_a_number(network):
    with pytest.raises(InputError, match=r"images '0'; allowed: 1\.\.64"):
        RtlBackend(BackendRequest(network, 21, 18, options={"images": "0"}), CONFIG)


def test_crops_of_a_descriptor_in_batches(network):
    """RNIP of five crops at two rotations, in one frame each, and a crop a frame, from the same chip."""
    options = DescriptorOptions(size=(21, 18), pooling="rnip5x", rotations=2)
    batches = simulate_descriptors(network, ["random:3"], CONFIG, options, batch=5)
    alone = simulate_descriptors(network, ["random:3"], CONFIG, options)
    for proof, frames in ((batches, 2), (alone, 10)):
        assert proof.bit_exact
        assert proof.cycles_as_modelled
        assert {report.frames for report in proof.all_reports} == {frames}
    found = [[report.found for report in proof.all_reports] for proof in (batches, alone)]
    assert found[0] == found[1]
    with pytest.raises(InputError, match="5 crops in batches of 2; allowed: a divisor of 5"):
        simulate_descriptors(network, ["random:3"], CONFIG, options, batch=2)


def test_an_export_says_how_many(network, tmp_path):
    for images in (1, 3):
        folder = tmp_path / str(images)
        export_network(network, CONFIG, 21, 18, folder, images=images)
        manifest = read_manifest(folder)
        assert manifest.images == images
        assert (manifest.height, manifest.layers[1].height) == (21, 10)
        header = (folder / "kestrel.h").read_text(encoding="utf-8")
        assert ("KESTREL_IMAGES" in header) == (images > 1)
        assert re.search(rf"KESTREL_IMAGE_HEIGHT +{images * 21}\n", header)
        assert re.search(rf"KESTREL_OUTPUT_HEIGHT +{images * 5}\n", header)
        assert ('"images"' in (folder / "manifest.json").read_text(encoding="utf-8")) == (images > 1)
        assert same(import_network(folder), network)
    weights = [(tmp_path / str(images) / "weights.bin").read_bytes() for images in (1, 3)]
    assert weights[0] == weights[1], "the ROM is that of one image"
