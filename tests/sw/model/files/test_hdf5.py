"""Keras files, written here as Keras 3 and 2 lay them out."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import random_network

SHAPE = parse_network("vgg16/32:pool2")

PATHS = {
    "Keras 3 model": ("model_weights/block{b}_conv{n}/functional/block{b}_conv{n}/", "kernel", "bias"),
    "Keras 3 weights": ("layers/conv2d{count}/vars/", "0", "1"),
    "nested model": ("layers/functional/layers/conv2d{count}/vars/", "0", "1"),
    "unnamed layers, later in a session": ("model_weights/conv2d_{later}/conv2d_{later}/", "kernel", "bias"),
    "Keras 2 weights": ("block{b}_conv{n}/block{b}_conv{n}/", "kernel:0", "bias:0"),
    "Keras 2 applications": ("block{b}_conv{n}/block{b}_conv{n}", "_W_1:0", "_b_1:0"),
}


def paths(layout):
    for count, layer in enumerate(SHAPE.layers):
        block, number = layer.name.removeprefix("conv").split("_")
        path, weight, bias = PATHS[layout]
        path = path.format(b=block, n=number, count=f"_{count}" * (count > 0), later=count + 17)
        yield path + weight, path + bias


def write(file, layout, extra=()):
    network = random_network(SHAPE, 5)
    with h5py.File(file, "w") as h5:
        for (weight_path, bias_path), weight, bias in zip(paths(layout), network.weights, network.biases,
                                                          strict=True):
            h5[weight_path] = weight.transpose(2, 3, 1, 0)
            h5[bias_path] = bias
        h5["optimizer/vars/0"] = np.zeros((3, 3, 3, 2), np.float32)
        h5["optimizer_weights/adam/block1_conv1/kernel"] = np.zeros((3, 3, 3, 2), np.float32)
        for path in extra:
            h5[path] = np.zeros(2, np.float32)


def layer(kind, name, **settings):
    return {"class_name": kind, "config": {"name": name, **settings}}


def conv(name, **settings):
    same = {"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "dilation_rate": [1, 1], "groups": 1,
            "activation": "relu"}  # fmt: skip
    return layer("Conv2D", name, **{**same, **settings})


def pool(name, **settings):
    same = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
    return layer("MaxPooling2D", name, **{**same, **settings})


def model(*layers):
    inner = {"name": "net", "layers": [layer("InputLayer", "in"), *layers]}
    return {"class_name": "Functional", "config": inner}


LAYERS = (conv("block1_conv1"), conv("block1_conv2"), pool("a"), conv("block2_conv1"), conv("block2_conv2"),
          pool("b"), layer("Flatten", "flatten"))  # fmt: skip


def archive(path, config):
    content = io.BytesIO()
    write(content, "Keras 3 weights")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", content.getvalue())


@pytest.mark.parametrize("layout", PATHS)
def test_kernels_are_turned_and_found(tmp_path, layout):
    write(tmp_path / "w.bin", layout)
    network = load_weights(str(tmp_path / "w.bin"), SHAPE)
    wanted = random_network(SHAPE, 5)
    for found, expected in zip(network.weights + network.biases, wanted.weights + wanted.biases, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert "optimizer/vars/0" in network.origin.unused


@pytest.mark.parametrize("config", [model(*LAYERS), model(model(*LAYERS))])
def test_archives_are_read_too(tmp_path, config):
    archive(tmp_path / "w.keras", config)
    network = load_weights(str(tmp_path / "w.keras"), SHAPE)
    np.testing.assert_array_equal(network.weights[3], random_network(SHAPE, 5).weights[3])


SETTINGS = {
    "stride": ([conv("c", strides=[2, 2])], r"layer c has strides \[2, 2\]; allowed: \[1, 1\]"),
    "padding": ([conv("c", padding="valid")], "layer c has padding valid; allowed: same"),
    "dilation": ([conv("c", dilation_rate=[2, 2])], "dilation_rate"),
    "groups": ([conv("c", groups=3)], "groups 3"),
    "no activation": ([conv("c", activation="linear")], "activation linear; allowed: relu"),
    "normalised": ([conv("c"), layer("BatchNormalization", "bn")], "layer bn is a BatchNormalization"),
    "depthwise": ([conv("c"), layer("DepthwiseConv2D", "d")], "layer d is a DepthwiseConv2D"),
    "no pooling": ([LAYERS[0], LAYERS[1], LAYERS[3], LAYERS[4]], "no pooling behind conv1_2"),
    "early pooling": ([LAYERS[0], LAYERS[2]], "a pooling behind conv1_1"),
    "pooling of three": ([*LAYERS[:2], pool("p", pool_size=[3, 3])], r"layer p has pool_size \[3, 3\]"),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_other_layers_than_the_chips_are_refused(tmp_path, what):
    layers, message = SETTINGS[what]
    archive(tmp_path / "w.keras", model(*layers))
    with pytest.raises(InputError, match=message):
        load_weights(str(tmp_path / "w.keras"), SHAPE)
    write(tmp_path / "w.h5", "Keras 3 weights")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file.attrs["model_config"] = json.dumps(model(*layers))
    with pytest.raises(InputError, match=message):
        load_weights(str(tmp_path / "w.h5"), SHAPE)


@pytest.mark.parametrize("extra", ["layers/batch_normalization/vars/0", "bn/bn/gamma", "bn/moving_mean:0"])
def test_batch_norm_is_not_ignored(tmp_path, extra):
    write(tmp_path / "w.h5", "Keras 3 weights", [extra])
    with pytest.raises(InputError, match="is a batch norm by a name that is not known"):
        load_weights(str(tmp_path / "w.h5"), SHAPE)


def test_damaged_files_are_refused(tmp_path):
    write(tmp_path / "w.h5", "Keras 3 weights")
    content = (tmp_path / "w.h5").read_bytes()
    (tmp_path / "w.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable HDF5 file") as caught:
        load_weights(str(tmp_path / "w.h5"), SHAPE)
    assert str(caught.value).isprintable()
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as file:
        file.writestr("model.weights.h5", content)
    with pytest.raises(InputError, match="not a readable Keras archive"):
        load_weights(str(tmp_path / "w.keras"), SHAPE)
