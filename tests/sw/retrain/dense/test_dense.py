"""Layers behind a frozen network: maps of crops are kept, regression finds layers, training continues."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.weights import FloatNetwork, random_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.dense.layers import DeepLayers, NormalisedConv
from kestrel.sw.retrain.dense.passes import FRONT, Pass, Sources, as_array, as_maps, make_pass
from kestrel.sw.retrain.dense.regression import explained, fit_layer
from kestrel.sw.retrain.dense.targets import TEACHER_LAYERS, Targets
from kestrel.sw.retrain.dense.training import PhaseSettings, train
from kestrel.sw.retrain.networks.floats import FloatConvs

CAFFE, TORCHVISION = find_preprocessing("caffe"), find_preprocessing("torchvision")


@pytest.fixture
def sources():
    front = FloatConvs(random_network(parse_network("vgg16/32:pool3"), 1), CAFFE)
    shape = parse_network("resnet_2_2_2_3/32:layer4.0")
    teacher = FloatConvs(random_network(shape, 2, min(TORCHVISION.scale)), TORCHVISION)
    return Sources(front.requires_grad_(requires_grad=False), teacher.requires_grad_(requires_grad=False),
                   TEACHER_LAYERS)


@pytest.fixture
def photographs(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(9)]
    for n, path in enumerate(paths):
        Image.fromarray(generate_picture(70, 90, n)).save(path)
    return paths


def test_a_pass_is_made_once_and_holds_maps_of_whole_pictures(tmp_path, sources, photographs, monkeypatch):
    made = make_pass(tmp_path / "pass", photographs, 64, None, sources)
    monkeypatch.setattr(Sources, "maps", None)  # what is there is not computed again
    given = make_pass(tmp_path / "pass", photographs, 64, None, sources)
    monkeypatch.undo()
    assert len(given) == len(photographs)
    picture = np.asarray(Image.open(photographs[8]).resize((64, 64), Image.Resampling.BICUBIC))
    wanted = sources.maps(torch.from_numpy(picture[None].copy()))
    for name in sources.names:
        assert np.array_equal(made.arrays[name], given.arrays[name])
        found = given.read([8], [name])[name]
        assert found.shape == wanted[name].shape
        torch.testing.assert_close(found, wanted[name], rtol=1e-2, atol=float(wanted[name].max()) / 50)


def test_crops_follow_the_seed(tmp_path, sources, photographs):
    first, again, other = (make_pass(tmp_path / name, photographs, 64, seed, sources).arrays[FRONT]
                           for name, seed in (("a", (1, 2)), ("b", (1, 2)), ("c", (1, 3))))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("pool", [False, True])
def test_regression_finds_the_layer_that_made_the_map(rng, pool):
    """Sums of a known convolution are explained, and the layer has its unit where it is pooled."""
    shape = parse_network("vgg16/128:conv4_3").layers[-1]
    shape = type(shape)(shape.name, 5, 4, pool)
    known = nn.Conv2d(5, 4, 3, padding=1)
    front = torch.from_numpy(rng.random((16, 5, 12, 12), np.float32))
    given = Pass({"x": as_array(front)})
    with torch.no_grad():
        wanted = known(as_maps(given.arrays["x"]))
    given = Pass({**given.arrays, "y": as_array(wanted)})
    layer = NormalisedConv(shape).eval()
    targets = {"y": lambda maps: maps["y"]}["y"]
    assert explained(layer, "x", ["y"], targets, given) < 0.5
    fit_layer(layer, "x", ["y"], targets, [given], seed=3)
    assert explained(layer, "x", ["y"], targets, given) > 0.98
    with torch.no_grad():
        sums = layer.sums(as_maps(given.arrays["x"]))
    expected = wanted.std((0, 2, 3)) if pool else torch.ones(4)
    torch.testing.assert_close(sums.std((0, 2, 3)), expected, rtol=0.05, atol=0.0)


def test_targets_have_the_size_of_what_the_layers_read(tmp_path, sources, photographs):
    given = make_pass(tmp_path / "pass", photographs, 64, None, sources)
    shapes = parse_network("vgg16/32").layers[7:]
    targets = Targets(sources.teacher, torch.ones(8), torch.eye(8)[:2])
    maps, side = given.read([0, 1], sources.names), 8
    for number, shape in enumerate(shapes):
        assert targets.of(number, maps).shape == (2, shape.out_channels, side, side)
        side //= 2 if shape.pool else 1
    # A block's sums, behind their ReLU, are what the teacher makes of it.
    torch.testing.assert_close(targets.of(4, maps).relu(), targets.of(5, maps), rtol=0.02, atol=0.02)


def test_the_folded_network_does_what_the_layers_do(sources, photographs):
    shape, frozen = parse_network("vgg16/32"), sources.front.export()
    torch.manual_seed(1)
    model = DeepLayers(shape, 7)
    nn.init.uniform_(model.scale, 0.5, 2)
    pictures = torch.from_numpy(np.stack([generate_picture(64, 64, n) for n in range(4)]))
    front = sources.front(pictures, [6])[6]
    for layer in model.convs():
        nn.init.uniform_(layer.norm.weight, 0.5, 2)
        nn.init.normal_(layer.norm.bias)
    for _ in range(3):  # running figures that are no longer 0 and 1
        _run(model, front)
    model.eval()
    expected = _run(model, front)
    whole = model.network(shape, frozen)
    assert isinstance(whole, FloatNetwork)
    assert float(expected.detach().abs().max()) > 0
    found = FloatConvs(whole, CAFFE)(pictures, [12])[12]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def _run(model, front):
    x = model.scaled(front)
    for layer in model.convs():
        x = layer(x)
    return x


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, rng):
    shapes = parse_network("vgg16/128:pool4").layers[-2:]
    given = Pass({"x": rng.random((8, 8, 8, 4)).astype(np.float16),
                  "y": rng.random((8, 4, 4, 4)).astype(np.float16)})

    def layers():
        torch.manual_seed(4)
        return nn.Sequential(*(NormalisedConv(shape) for shape in shapes))

    class StoppedError(Exception):
        pass

    def stop(figures):
        if figures["step"] == 4:
            raise StoppedError

    settings = PhaseSettings(steps=6, batch=4, warmup=1, save_every=2)
    whole, parts, lines = layers(), layers(), []
    train(whole, "x", "y", [given], given, settings, tmp_path / "whole", lines.append)
    with pytest.raises(StoppedError):  # before the second checkpoint is written
        train(parts, "x", "y", [given], given, settings, tmp_path / "parts", stop)
    continued = layers()
    train(continued, "x", "y", [given], given, settings, tmp_path / "parts", lambda figures: None)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, continued.state_dict()[name]), name
    assert lines[-1]["map"] < lines[0]["map"]
