"""Weights, compression, the reference and retraining from Python: paths, arrays and tensors alike."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors import safe_open

import kestrel
from kestrel.sw.model.compressed import same
from kestrel.sw.model.storage.save import save_weights

NAME = "vgg16/32:pool2"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return kestrel.write_scenes(tmp_path_factory.mktemp("scenes") / "s", groups=2, views=2, size=(24, 32))


@pytest.fixture(scope="module")
def weights():
    return kestrel.load_weights("random:3", NAME)


@pytest.fixture(scope="module")
def network(weights):
    return kestrel.compress(weights, size=16)[0]


@pytest.fixture
def progress():
    """A Progress, and what it was told: description -> [total, steps done]."""
    seen = {}

    @contextmanager
    def note(description, total):
        counted = seen.setdefault(description, [total, 0])

        def advance(steps):
            counted[1] += steps

        yield advance

    return note, seen


@pytest.mark.parametrize("kind", [torch.from_numpy, lambda array: array.astype(np.float64)])
def test_a_state_dictionary_is_as_good_as_a_file(weights, kind):
    state = {"classifier.0.weight": kind(np.zeros((2, 2), np.float32))}
    for index, weight, bias in zip(weights.shape.features, weights.weights, weights.biases, strict=True):
        state |= {f"features.{index}.weight": kind(weight), f"features.{index}.bias": kind(bias)}
    found = kestrel.load_weights(state, NAME)
    wanted = (*weights.weights, *weights.biases)
    for mine, theirs in zip((*found.weights, *found.biases), wanted, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, theirs)
    assert not found.untrained


@pytest.mark.parametrize("kind", [torch.from_numpy, lambda array: array.astype(np.float64)])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_a_state_dictionary_of_a_residual_network(prefix, kind, tmp_path):
    """Batch norm is folded in, the blocks are counted, and what is not used is named."""
    floats = kestrel.load_weights("random:3", "resnet_1_1_1_2/16")
    save_weights(floats, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    bias = state.pop("layer1.0.conv1.bias")
    norm = {"weight": np.full(4, 2), "bias": bias, "running_mean": np.zeros(4), "running_var": np.ones(4)}
    state |= {f"layer1.0.bn1.{part}": value.astype(np.float32) for part, value in norm.items()}
    state |= {"fc.weight": np.zeros((3, 32), np.float32)}
    found = kestrel.load_weights({prefix + key: kind(value) for key, value in state.items()}, "resnet/16")
    assert found.shape.name == "resnet_1_1_1_2/16"
    assert found.origin.unused == (f"{prefix}fc.weight",)
    gain = [2 / np.sqrt(1 + 1e-5) if layer.name == "layer1_0_conv1" else 1 for layer in found.shape.layers]
    for mine, theirs, factor in zip(found.weights, floats.weights, gain, strict=True):
        np.testing.assert_allclose(mine, theirs * factor, rtol=1e-6)
    for mine, theirs in zip(found.biases, floats.biases, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("change", "message"), [
    ({"features.0.bias": None}, "layer conv1_1 is not whole (no key features.0.bias)"),
    ({"features.0.bias": np.zeros(3, np.float32)}, "features.0.bias (conv1_1) has shape 3; allowed: 2"),
    ({"features.0.bias": np.zeros(2, np.int64)}, "features.0.bias (conv1_1) has type int64"),
    ({"features.0.bias": "text"}, "features.0.bias (conv1_1) is a str"),
    ({"features.0.bias": np.full(2, np.nan)}, "features.0.bias (conv1_1) contains nan"),
])
def test_a_state_dictionary_that_does_not_fit_is_refused(change, message):
    state = {"features.0.weight": np.zeros((2, 3, 3, 3)), "features.0.bias": np.zeros(2),
             "features.2.weight": np.zeros((2, 2, 3, 3)), "features.2.bias": np.zeros(2)} | change
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(kestrel.InputError) as refused:
        kestrel.load_weights(state, "vgg16/32:conv1_2")
    assert message in str(refused.value)
    assert str(refused.value).startswith("state dictionary: ")


def test_pictures_may_be_a_folder_files_arrays_or_tensors(weights, scenes, progress):
    files = [scenes.folder / name for name in scenes.files]
    arrays = kestrel.load_pictures(files, (24, 32))
    assert (arrays.shape, arrays.dtype) == ((4, 24, 32, 3), np.uint8)
    given = [scenes.folder, str(scenes.folder), files, arrays, list(arrays), torch.from_numpy(arrays)]
    note, seen = progress
    first, report = kestrel.compress(weights, given[0], size=16, progress=note)
    assert seen["calibrate"] == [4, 4]
    assert report.calibration_pictures == 4
    for pictures in given[1:]:
        assert same(first, kestrel.compress(weights, pictures, size=16)[0])
    assert not same(first, kestrel.compress(weights, arrays[:1], size=16)[0]), "they do matter"


@pytest.mark.parametrize("mask_bits", ["3*2,1*2", (3, 3, 1, 1), [3, 3, 1, 1]])
def test_mask_bits_as_text_or_numbers(weights, mask_bits):
    network, _ = kestrel.compress(weights, mask_bits=mask_bits, size=16)
    assert [layer.mask_bits for layer in network.layers] == [3, 3, 1, 1]


@pytest.mark.parametrize(("pictures", "message"), [
    ([], "pictures: none"),
    (np.zeros((4, 4), np.uint8), r"picture 0: uint8 \[4\]"),
    (np.zeros((4, 4, 1), np.uint8), r"picture 0: uint8 \[4, 4, 1\]"),
    ([np.zeros((4, 4, 3), np.float32)], r"picture 0: float32 \[4, 4, 3\]"),
    (["a.png", np.zeros((4, 4, 3), np.uint8)], "files and pictures in memory"),
    ("nowhere.png", "nowhere.png: no such image file"),
])
def test_what_is_no_picture_is_refused(pictures, message):
    with pytest.raises(kestrel.InputError, match=message):
        kestrel.load_pictures(pictures, 16)


def test_the_reference_is_called_on_arrays_and_tensors(network, rng):
    reference = kestrel.Reference(network)
    pictures = rng.integers(0, 256, (3, 16, 20, 3), np.uint8)
    x = kestrel.network_input(network, pictures)
    assert (x.shape, x.dtype) == ((3, 3, 16, 20), np.uint8)
    wanted = reference.run(torch.from_numpy(x))[-1]
    found = reference(x)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, wanted.numpy())
    assert torch.equal(reference(torch.from_numpy(x)), wanted)
    with pytest.raises(kestrel.InputError, match="input is float32; allowed: uint8"):
        reference(x.astype(np.float32))
    with pytest.raises(kestrel.InputError, match="pictures of 2 sizes"):
        kestrel.network_input(network, [pictures[0], pictures[1, :8]])
    assert kestrel.network_input(network, [pictures[0], pictures[1, :8]], size=16).shape == (2, 3, 16, 16)


def test_mask_bits_are_chosen_for_a_size(weights, scenes):
    target = kestrel.AllocationTarget(bits_per_weight=2.5)
    settings = kestrel.AllocationSettings(size=16, pictures=2, rounds=1, trials=2)
    study = kestrel.allocate(weights, scenes.folder, target, settings, compare=["1", (2, 2, 2, 2)])
    assert study.allocation.found.bits <= 2.5 * study.costs.weights
    assert {(1, 1, 1, 1), (2, 2, 2, 2)} <= {study.mask_bits, *(plan.plan for plan in study.compared)}
    report = kestrel.compress(weights, mask_bits=study.mask_bits, size=16)[1]
    assert report.bits == study.allocation.found.bits
    with pytest.raises(kestrel.InputError, match="targets given: none"):
        kestrel.AllocationTarget()


def test_retraining_returns_the_network(network, scenes):
    settings = kestrel.RetrainSettings(
        kestrel.StudentSettings(network, weights="random:3"),
        kestrel.TeacherSettings("random:3"),
        train=kestrel.TrainSettings(1, rate=0.001),
        pictures=kestrel.PictureSettings(size=(16, 24), batch=2, held_out=0, augment=False),
        device="cpu",
    )
    made = kestrel.retrain(scenes.folder, settings)
    assert made is not None
    assert isinstance(made.network, kestrel.CompressedNetwork)
    assert made.result.steps == 1
    assert (made.images, made.held_out, made.unreadable) == (4, 0, {})
    assert not same(made.network, network), "one step changes some integer"
