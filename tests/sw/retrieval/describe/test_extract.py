"""Pictures to descriptors: backends, batches, workers, stopped runs, bad files."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.pictures.images import generate_picture, open_image, quantise_pixels
from kestrel.sw.retrieval.describe import extract, shards
from kestrel.sw.retrieval.describe.backends import network_digest
from kestrel.sw.retrieval.describe.crops import CropSettings, cut_crops
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.shards import remove_shards
from kestrel.sw.retrieval.describe.whitening import save_whitening
from kestrel.sw.retrieval.pooling.grid import roi_grid
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
NETWORK = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
SMALL: dict[str, Any] = {"size": (40, 36)}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path):
    """Pictures of different sizes and what may be odd about them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, size in enumerate([(50, 60), (61, 47), (40, 36), (33, 33), (90, 41), (52, 70)]):
        Image.fromarray(generate_picture(*size, n)).save(folder / f"{n}.png")
    return sorted(folder.iterdir())


def names(paths):
    return [path.name for path in paths]


def whitened(tmp_path, mode, **settings):
    paths = []
    for n in range(8):
        paths.append(tmp_path / f"train{n}.png")
        Image.fromarray(generate_picture(48, 64, 100 + n)).save(paths[-1])
    describer = make_describer(NETWORK, DescriptorOptions(**settings))
    made = describer.train_whitening(paths, names(paths), dimension=3, mode=mode)
    save_whitening(made, tmp_path / f"{mode}.safetensors")
    return tmp_path / f"{mode}.safetensors"


# --- the whole way, against a direct implementation ------------------------------------------------------


def direct(picture, rotations, crops, matrix=None, mean=None, mode=None):
    """Crops of the picture, rotated; reference; root mean square in 14 regions; averages; maximum."""
    unit = lambda x: x / (np.linalg.norm(x) or 1.0)  # noqa: E731
    reference = Reference(NETWORK)
    best = []
    for turns in range(0, 4, 4 // rotations):
        rows = []
        for top, left, h, w in crops:
            part = np.rot90(picture[top : top + h, left : left + w], turns)
            image = Image.fromarray(np.ascontiguousarray(part)).resize((36, 40), Image.Resampling.BICUBIC)
            x = quantise_pixels(np.asarray(image), find_preprocessing(NETWORK.preprocessing), 8)
            features = reference.last(torch.from_numpy(x[None]))[0].numpy().astype(float)
            for r in roi_grid(features.shape[1], features.shape[2], (1, 2, 3)):
                inside = features[:, r.top : r.top + r.height, r.left : r.left + r.width]
                vector = unit(np.sqrt((inside**2).mean(axis=(1, 2))))
                rows.append(unit(matrix @ (vector - mean)) if mode == "roi" else vector)
        average = np.mean(rows, axis=0)
        best.append(unit(matrix @ (average - mean)) if mode == "after" else average)
    return unit(np.max(best, axis=0))


@pytest.mark.parametrize("mode", [None, "roi", "after"])
@pytest.mark.parametrize("rotations", [1, 2, 4])
def test_rnip_against_a_direct_implementation(mode, rotations, photos, tmp_path):
    """Two crops that do not overlap, so that any mix-up of crops and rotations shows."""
    settings: dict[str, Any] = {**SMALL, "crops": "whole,levels:2", "rotations": rotations}
    path = None if mode is None else whitened(tmp_path, mode, **settings)
    describer = make_describer(NETWORK, DescriptorOptions(**settings, whitening=path))
    matrix, mean = (None, None) if describer.whitening is None else (
        describer.whitening.projection.astype(float), describer.whitening.mean.astype(float))
    found = describer.describe(photos, names(photos))
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape == (6, 3 if mode else 4) == (6, describer.dimension)
    for path, vector in zip(photos, found.vectors, strict=True):
        picture = open_image(path)
        crops = [(0, 0, picture.shape[0], picture.shape[1])]
        crops += [(r.top, r.left, r.height, r.width) for r in roi_grid(*crops[0][2:], (2,))]
        wanted = direct(picture, rotations, crops, matrix, mean, mode)
        np.testing.assert_allclose(vector, wanted, rtol=0, atol=1e-6)


KINDS = [(pooling, fit) for pooling in POOLINGS for fit in ("stretch", "keep")
         if fit == "stretch" or "mosaic" not in POOLINGS[pooling][0]]  # which cannot keep proportions


@pytest.mark.parametrize(("pooling", "fit"), KINDS)
def test_a_descriptor_does_not_depend_on_its_batch(pooling, fit, photos):
    """Equal to the last bit: alone, together, in another order, read by other processes."""
    describer = make_describer(NETWORK, DescriptorOptions(**SMALL, pooling=pooling, rotations=2, fit=fit))
    together = describer.describe(photos, names(photos)).vectors
    backwards = describer.describe(photos[::-1], names(photos[::-1])).vectors[::-1]
    np.testing.assert_array_equal(together, backwards)
    for path, vector in zip(photos, together, strict=True):
        np.testing.assert_array_equal(describer.describe_picture(open_image(path)), vector)
    inputs = cut_crops(open_image(photos[0]), describer.crops)
    maps = [describer.backend.features([crop])[0] for crop in inputs.pictures]
    np.testing.assert_array_equal(describer.describe_maps([maps], inputs), together[0])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)


def test_whitened_descriptors_do_not_depend_on_their_batch_either(photos, tmp_path):
    for mode in ("roi", "after"):
        path = whitened(tmp_path, mode, **SMALL, pooling="rnip5x")
        describer = make_describer(NETWORK, DescriptorOptions(**SMALL, pooling="rnip5x", whitening=path))
        together = describer.describe(photos, names(photos)).vectors
        for picture, vector in zip(photos, together, strict=True):
            np.testing.assert_array_equal(describer.describe_picture(open_image(picture)), vector)


def test_worker_processes_change_nothing(photos, monkeypatch):
    describer = make_describer(NETWORK, DescriptorOptions(**SMALL, pooling="rnip5x"))
    alone = describer.describe(photos, names(photos), workers=0)
    np.testing.assert_array_equal(describer.describe(photos, names(photos), workers=2).vectors, alone.vectors)


def test_odd_pictures_have_descriptors(tmp_path):
    """One pixel, one line, very long: finite, unit length, for every preset."""
    paths = []
    for size in ((1, 1), (1, 700), (3, 2), (900, 7)):
        paths.append(tmp_path / f"{size}.png")
        Image.fromarray(generate_picture(*size, 1)).save(paths[-1])
    for pooling, fit in KINDS:
        describer = make_describer(NETWORK, DescriptorOptions(**SMALL, pooling=pooling, fit=fit))
        vectors = describer.describe(paths, names(paths)).vectors
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


# --- backends --------------------------------------------------------------------------------------------


def test_float_backend_is_the_float_network(photos):
    options = DescriptorOptions(**SMALL, backend="float", weights="random:3", pooling="sqrt")
    describer = make_describer(NETWORK, options)
    assert describer.settings.arithmetic == "float"
    found = describer.describe(photos, names(photos)).vectors
    other = make_describer(NETWORK, replace(options, weights="random:4"))
    assert other.settings.network != describer.settings.network
    model = torch.nn.Sequential()
    from kestrel.sw.model.storage.load import load_weights

    shape = parse_network(NAME)
    preprocessing = find_preprocessing(NETWORK.preprocessing)
    network = load_weights("random:3", shape, min(preprocessing.scale))
    for layer, weight, bias in zip(shape.layers, network.weights, network.biases, strict=True):
        convolution = torch.nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
        convolution.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
        model.extend([convolution, torch.nn.ReLU(), *([torch.nn.MaxPool2d(2)] if layer.pool else [])])
    for path, vector in zip(photos, found, strict=True):
        crop = cut_crops(open_image(path), CropSettings(height=40, width=36)).pictures[0]
        with torch.no_grad():
            features = model(torch.from_numpy(preprocessing.real_input(crop)[None]))[0].numpy()
        wanted = np.sqrt((features.astype(float) ** 2).mean(axis=(1, 2)))
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"backend": "gpu"}, "backend 'gpu'; allowed: board, float, reference, rtl"),
    ({"backend": "float"}, "backend float needs the float weights"),
    ({"backend_options": {"config": "nano"}}, "backend reference has no option config"),
    ({"pooling": "gem"}, "pooling 'gem'; allowed: nip, rnip5x"),
    ({"crops": "rnip7x"}, "crops 'rnip7x'"), ({"rotations": 3}, "rotations 3"),
    ({"size": (3, 36)}, "height 3"), ({"size": (0, 36)}, "size 0x36; allowed: height and width of 1 or more"),
    ({"whitening": "nowhere"}, "nowhere: no such file"),
    ({"backend": "rtl", "backend_options": {"lanes": "2"}}, "backend rtl has no option lanes"),
    ({"backend": "rtl", "backend_options": {"processes": "none"}}, "processes 'none'; allowed: 1"),
])
def test_impossible_describers_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_describer(NETWORK, DescriptorOptions(**arguments))


def test_a_network_without_three_channels_is_refused():
    other = random_network(np.random.default_rng(1), parse_network(NAME).layers[1:], 3)
    with pytest.raises(InputError, match=r"2 input channels; allowed for pictures: 3"):
        make_describer(other)


def test_a_whitening_of_other_settings_is_refused(tmp_path):
    path = whitened(tmp_path, "roi", **SMALL)
    make_describer(NETWORK, DescriptorOptions(**SMALL, rotations=4, whitening=path))
    for other in ({"size": 36}, {"pooling": "rnip5x"}, {"backend": "float", "weights": "random:1"}):
        with pytest.raises(InputError, match="allowed: a whitening trained with the same settings"):
            make_describer(NETWORK, DescriptorOptions(**{**SMALL, **other}, whitening=path))


def test_everything_that_changes_a_descriptor_is_in_the_settings():
    changed: list[dict[str, Any]] = [
        {}, {"pooling": "rnip5x"}, {"pooling": "rmac"}, {"rotations": 4}, {"size": (44, 36)},
        {"size": (40, 44)},
        {"fit": "keep"}, {"resize_filter": "box"}, {"backend": "float", "weights": "random:1"},
        {"backend": "float", "weights": "random:2"},
    ]  # fmt: skip
    settings = {make_describer(NETWORK, DescriptorOptions(**{**SMALL, **arguments})).settings
                for arguments in changed}
    assert len(settings) == len(changed)
    preset = make_describer(NETWORK, DescriptorOptions(**SMALL, pooling="rnip5x")).settings
    crops = make_describer(NETWORK, DescriptorOptions(**SMALL, crops="square:1+2")).settings
    assert preset == crops, "the name does not matter"


def test_the_networks_digest_is_of_its_integers():
    other = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name="another name")
    assert network_digest(other) == network_digest(NETWORK)
    other.layers[1].bias[0] ^= 1
    assert network_digest(other) != network_digest(NETWORK)


# --- bad files, stopped runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_are_told_of_and_left_out(photos, workers):
    bad = photos[0].with_name("bad.jpg")
    bad.write_bytes(b"no picture")
    cut = photos[0].with_name("cut.png")
    cut.write_bytes(photos[0].read_bytes()[:300])
    paths = [photos[0], bad, photos[1], cut]
    describer = make_describer(NETWORK, DescriptorOptions(**SMALL))
    with pytest.raises(InputError, match=r"bad\.jpg: not a readable image"):
        describer.describe(paths, names(paths), workers=workers)
    told = []
    found = describer.describe(paths, names(paths), workers=workers,
                               skip=lambda name, error: told.append((name, str(error))))
    assert found.names == ("0.png", "1.png")
    assert [name for name, _ in told] == ["bad.jpg", "cut.png"]
    np.testing.assert_array_equal(found.vectors, describer.describe(photos[:2], ["a", "b"]).vectors)
    with pytest.raises(InputError, match="no picture that can be described among 1"):
        describer.describe([bad], ["bad"], skip=lambda name, error: None)


class Stopped(Exception):
    pass


def stopping_after(monkeypatch, count):
    """Reading stops, as when a user ends the run, after so many pictures. Returns those read."""
    read = []

    def stops(paths, settings, workers):
        for path in paths:
            if count is not None and len(read) == count:
                raise Stopped
            read.append(path.name)
            yield cut_crops(open_image(path), settings)

    monkeypatch.setattr(extract, "read_inputs", stops)
    return read


def test_a_stopped_run_continues(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PICTURES", 2)
    describer = make_describer(NETWORK)  # batches of eight
    parts = tmp_path / "d.npz.parts"
    many = [*photos, *(photos[0].with_name(f"{n}.png") for n in range(6, 20))]
    for n in range(6, 20):
        Image.fromarray(generate_picture(20, 20, n)).save(many[n])
    whole = describer.describe(many, names(many)).vectors
    stopping_after(monkeypatch, 17)
    with pytest.raises(Stopped):
        describer.describe(many, names(many), shards=parts)
    done = sum(len(load_descriptors(part).names) for part in parts.glob("part-*.npz"))
    assert done >= 8, "batches that were finished are kept"
    os.utime(many[1], ns=(1, 1))  # replaced in between
    read = stopping_after(monkeypatch, None)
    found = describer.describe(many, names(many), shards=parts)
    np.testing.assert_array_equal(found.vectors, whole)
    assert found.names == tuple(names(many))
    assert read == [many[1].name, *names(many[done:])]
    other = make_describer(NETWORK, DescriptorOptions(rotations=2))
    with pytest.raises(InputError, match=r"cannot be compared: rotations .* a stopped run, removed"):
        other.describe(many, names(many), shards=parts)
    remove_shards(parts)
    assert not parts.exists()
    remove_shards(parts)


def test_remaining_parts_are_the_only_thing_removed(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "part-000000.npz").touch()
    (tmp_path / "p" / "mine.txt").touch()
    remove_shards(tmp_path / "p")
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["mine.txt"]


def test_workers_out_of_range_are_refused(photos):
    with pytest.raises(InputError, match=r"workers -1; allowed: 0\.\.64"):
        make_describer(NETWORK, DescriptorOptions(**SMALL)).describe(photos, names(photos), workers=-1)
