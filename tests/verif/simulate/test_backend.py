"""Descriptors from the simulated chip equal those of the reference, to the last bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.pictures.images import generate_picture, quantise_pixels
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.describe.backends import BackendRequest, SimulatedBackend
from kestrel.sw.retrieval.describe.crops import CropSettings, cut_crops
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, to_bits, to_bytes
from kestrel.verif.cases.random_network import random_network
from kestrel.verif.simulate.backend import RtlBackend
from kestrel.verif.simulate.frame import FrameRun

NAME = "vgg16/16:pool3"
HEIGHT, WIDTH = 56, 56
OPTIONS = {"config": "nano", "processes": "2"}
RTL: dict[str, Any] = {"backend": "rtl", "backend_options": OPTIONS}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    """Seven layers with three poolings, of random integers, for pictures of three colours."""
    made = random_network(np.random.default_rng(7), parse_network(NAME).layers, 3, name=NAME)
    return replace(made, preprocessing="caffe")


def test_rnip_of_a_picture_through_the_rtl(network):
    """Feature maps of all five crops, the float descriptor, its bytes and its bits."""
    picture = generate_picture(96, 128, 11)
    crops = CropSettings("square:1+2", HEIGHT, WIDTH)
    inputs = cut_crops(picture, crops).pictures
    assert len(inputs) == 5
    rtl = RtlBackend(BackendRequest(network, HEIGHT, WIDTH, options=OPTIONS))
    maps = rtl.features(inputs)
    preprocessing = find_preprocessing("caffe")
    x = np.stack([quantise_pixels(rgb, preprocessing, network.activation_bits) for rgb in inputs])
    wanted = Reference(network).last(torch.from_numpy(x)).numpy()
    assert maps.shape == (5, 16, HEIGHT // 8, WIDTH // 8)
    assert maps.dtype == np.uint8
    np.testing.assert_array_equal(maps, wanted)
    assert len(np.unique(maps)) > 50, "features that say something"
    assert not np.array_equal(maps[0], maps[1])
    assert isinstance(rtl, SimulatedBackend)
    plan = make_plan(network, NAMED["nano"], HEIGHT, WIDTH)
    assert (rtl.frames, rtl.cycles) == (5, 5 * frame_cycles(plan).total), "as the cycle model says"

    settings: dict[str, Any] = {"size": (HEIGHT, WIDTH), "pooling": "rnip5x"}
    simulated = make_describer(network, DescriptorOptions(**settings, **RTL))
    reference = make_describer(network, DescriptorOptions(**settings, backend="reference"))
    assert simulated.settings == reference.settings, "so that their descriptors may be compared"
    found = simulated.describe_picture(picture)[None]
    expected = reference.describe_picture(picture)[None]
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    training = [reference.describe_picture(generate_picture(60, 80, seed)) for seed in range(5)]
    quantiser = fit_quantiser(np.stack(training))
    np.testing.assert_array_equal(to_bytes(found, quantiser), to_bytes(expected, quantiser))
    np.testing.assert_array_equal(to_bits(found, quantiser), to_bits(expected, quantiser))


def test_the_descriptor_comes_from_the_simulation(network, monkeypatch):
    """Breaks if the rtl backend quietly used the reference: one element changed on the way shows."""
    from kestrel.verif.simulate import backend as retrieval

    run_frame = retrieval.run_frame

    def with_a_fault(*arguments, **keywords) -> FrameRun:
        run = run_frame(*arguments, **keywords)
        run.output[3, 2, 1] ^= 0x40
        return run

    picture = generate_picture(HEIGHT, WIDTH, 3)
    describer = make_describer(network, DescriptorOptions(size=(HEIGHT, WIDTH), **RTL))
    good = describer.describe_picture(picture)
    monkeypatch.setattr(retrieval, "run_frame", with_a_fault)
    assert not np.array_equal(describer.describe_picture(picture), good)


def test_what_the_chip_cannot_take_is_refused(network):
    with pytest.raises(InputError, match="allowed"):
        make_describer(network, DescriptorOptions(size=(HEIGHT, 4000), **RTL))
    with pytest.raises(InputError, match="configuration 'tiny'"):
        make_describer(network, DescriptorOptions(backend="rtl", backend_options={"config": "tiny"}))


def test_a_residual_network_with_fields_of_the_configuration_as_options():
    """The image in blocks; a tall crop and a wide one."""
    shapes = parse_network("resnet18/32:layer2.0").layers
    made = random_network(np.random.default_rng(8), shapes, 3, name="resnet18/32:layer2.0", blocks=True)
    made = replace(made, preprocessing="torchvision")
    options = {"backend": "rtl", "backend_options": {**OPTIONS, "residual": "true"}}
    settings: dict[str, Any] = {"size": (32, 32), "fit": "keep"}
    simulated = make_describer(made, DescriptorOptions(**settings, **options))
    reference = make_describer(made, DescriptorOptions(**settings))
    assert simulated.settings == reference.settings
    for size in ((30, 44), (44, 30)):
        picture = generate_picture(*size, 4)
        found, expected = simulated.describe_picture(picture), reference.describe_picture(picture)
        assert found.tobytes() == expected.tobytes()
        assert len(np.unique(found)) > 2
    with pytest.raises(InputError, match=r"allowed: --backend-set residual=true"):
        make_describer(made, DescriptorOptions(**settings, **RTL))
    with pytest.raises(InputError, match=r"--backend-set residual=yes: value 'yes'; allowed: true, false"):
        make_describer(made, DescriptorOptions(backend="rtl", backend_options={"residual": "yes"}))


def test_a_configuration_of_ones_own(network):
    config = replace(NAMED["nano"], input_lanes=1)
    assert RtlBackend(BackendRequest(network, HEIGHT, WIDTH), config).batch(HEIGHT, WIDTH) >= 1
