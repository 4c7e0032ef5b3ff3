"""ONNX models: what is folded equals what onnxruntime computes, and every other node is named."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import load_weights

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAME = "vgg16/32:pool2"


class Graph:
    """A model under construction: a chain of nodes with their constants."""

    def __init__(self, rng, kind=np.float32):
        self.rng, self.kind = rng, kind
        self.nodes, self.constants = [], []
        self.last, self.count = "image", 0
        self.rank = ["n", "c", "rows", "columns"]

    def constant(self, array, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, *constants, after=None, **attributes):
        self.count += 1
        output = f"t{self.count}"
        self.nodes.append(helper.make_node(op, [after or self.last, *constants], [output], f"n{self.count}",
                                           **attributes))
        self.last = output
        return output

    def conv(self, c_in, c_out, bias=True, **attributes):
        weight = self.rng.standard_normal((c_out, c_in, 3, 3)) * np.sqrt(2 / 9 / c_in)
        names = [self.constant(weight.astype(self.kind))]
        if bias:
            names.append(self.constant(self.rng.standard_normal(c_out).astype(self.kind)))
        self.add("Conv", *names, **{"pads": [1, 1, 1, 1], "kernel_shape": [3, 3], **attributes})

    def norm(self, channels, **attributes):
        draw = self.rng.standard_normal((3, channels)).astype(self.kind)
        spread = (self.rng.random(channels) + 0.2).astype(self.kind)
        self.add("BatchNormalization", *(self.constant(a) for a in (*draw, spread)), **attributes)

    def save(self, path, opset=13):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.kind))
        graph = helper.make_graph(
            self.nodes, "test",
            [helper.make_tensor_value_info("image", kind, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info(self.last, kind, self.rank)], self.constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return str(path)


def plain(g, c_in, c_out):
    g.conv(c_in, c_out)


def normalised(g, c_in, c_out):
    g.conv(c_in, c_out, bias=False)
    g.norm(c_out, epsilon=0.01)


def padded(g, c_in, c_out):
    """Padding as a node of its own, partly."""
    g.add("Pad", g.constant(np.array([0, 0, 1, 0, 0, 0, 1, 1], np.int64)))
    g.conv(c_in, c_out, pads=[0, 1, 0, 0])


def automatic(g, c_in, c_out):
    g.conv(c_in, c_out, pads=None, auto_pad="SAME_UPPER")


def added(g, c_in, c_out):
    g.conv(c_in, c_out, bias=False)
    g.add("Add", g.constant(g.rng.standard_normal((c_out, 1, 1)).astype(g.kind)))
    g.add("Identity")


def computed(g, c_in, c_out):
    """Constants out of nodes."""
    weight = g.rng.standard_normal((c_out, c_in, 3, 3)).astype(g.kind)
    g.nodes.append(helper.make_node("Constant", [], [f"w{g.count}"], value=numpy_helper.from_array(weight)))
    g.nodes.append(helper.make_node("Identity", [f"w{g.count}"], [f"v{g.count}"]))
    half = numpy_helper.from_array(np.full(1, 0.5, g.kind))
    g.nodes.append(helper.make_node(
        "ConstantOfShape", [g.constant(np.array([c_out]))], [f"b{g.count}"], value=half))
    g.add("Conv", f"v{g.count}", f"b{g.count}", pads=[1, 1, 1, 1])


def build(g, layer, *, swapped=False):
    shape = parse_network(NAME)
    for conv in shape.layers:
        layer(g, conv.in_channels, conv.out_channels)
        last = [("Relu", {})] + [("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]})] * conv.pool
        for op, attributes in last[::-1] if swapped else last:
            g.add(op, **attributes)
    return shape


def tail(g):
    """A classifier."""
    g.rank = ["n", "classes"]
    g.add("Flatten")
    g.add("Gemm", g.constant(np.ones((4 * 2 * 3, 5), g.kind)))
    g.add("Softmax")


@pytest.mark.parametrize("layer", [plain, normalised, padded, automatic, added, computed])
@pytest.mark.parametrize("swapped", [False, True])
def test_the_stack_computes_what_the_graph_does(tmp_path, rng, layer, swapped):
    g = Graph(rng)
    shape = build(g, layer, swapped=swapped)
    path = g.save(tmp_path / "model.onnx")
    x = rng.standard_normal((2, 3, 9, 14)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = np.asarray(session.run(None, {"image": x})[0])
    network = load_weights(path, shape)
    found = FloatModel(network).run(torch.from_numpy(x))[-1].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert wanted.any()
    assert len(network.origin.batch_norm) == 4 * (layer is normalised)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floating_types_are_converted(tmp_path, rng, kind):
    g = Graph(rng, kind)
    shape = build(g, plain)
    weight = numpy_helper.to_array(g.constants[0])
    network = load_weights(g.save(tmp_path / "model.onnx"), shape)
    np.testing.assert_array_equal(network.weights[0], weight.astype(np.float32))


@pytest.mark.parametrize("name", ["model.onnx", "model.bin", "MODEL"])
def test_the_tail_is_left_out_by_name(tmp_path, rng, name):
    g = Graph(rng)
    shape = build(g, plain)
    tail(g)
    network = load_weights(g.save(tmp_path / name), shape)
    assert network.origin.kind == "ONNX"
    assert network.origin.unused == ("Flatten node 'n11'", "Gemm node 'n12'", "Softmax node 'n13'")
    cut = load_weights(str(tmp_path / name), parse_network("vgg16/32:conv1_2"))
    assert cut.origin.unused[:2] == ("Conv node 'n6'", "Conv node 'n8'")
    np.testing.assert_array_equal(cut.weights[1], network.weights[1])


def other(op, *constants, **attributes):
    return lambda g: g.add(op, *[g.constant(c) for c in constants], **attributes)


def before_relu(g):
    g.conv(2, 2)
    before = g.last
    g.add("Relu")
    g.conv(2, 2)
    g.add("Add", before)


def finished(make):
    """With a Relu of its own."""
    def both(g):
        make(g)
        g.add("Relu")

    return both


def computed_weight(g):
    weight = g.add("Sqrt", after=g.constant(np.ones((2, 3, 3, 3), np.float32)))
    g.add("Conv", weight, after="image", pads=[1] * 4)


SPOILT = {
    "kernel": (lambda g: g.add("Conv", g.constant(np.ones((2, 2, 5, 5), np.float32)), pads=[2] * 4),
               r"Conv node 'n3' has kernel 5, 5 \(allowed: 1, 1; 3, 3; 7, 7\)"),
    "1x1 kernel": (finished(other("Conv", np.ones((2, 2, 1, 1), np.float32))),
                   r"Conv node 'n3' \(conv1_2\) has kernel 1, 1; allowed: 3, 3, as vgg16/32:conv1_2 has"),
    "stride": (finished(lambda g: g.conv(2, 2, strides=[2, 2])),
               r"'n3' \(conv1_2\) has strides 2, 2; allowed: 1, 1"),
    "stride of three": (lambda g: g.conv(2, 2, strides=[3, 3]),
                        r"'n3' has strides 3, 3 \(allowed: 1, 1; 2, 2\)"),
    "automatic padding with a stride": (
        lambda g: g.conv(2, 2, strides=[2, 2], pads=None, auto_pad="SAME_UPPER"),
        r"'n3' has auto_pad SAME_UPPER with a stride"),
    "dilation": (lambda g: g.conv(2, 2, dilations=[2, 2], pads=[2] * 4), r"'n3' has dilations 2, 2"),
    "groups": (lambda g: g.conv(1, 2, group=2), r"'n3' has group 2"),
    "padding": (lambda g: g.conv(2, 2, pads=[0] * 4), r"'n3' has pads 0, 0, 0, 0 \(allowed: 1, 1, 1, 1\)"),
    "activation": (other("LeakyRelu"), r"LeakyRelu node 'n3' is not one of Conv, "),
    "average": (other("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), r"AveragePool node 'n3'"),
    "pooling of three": (other("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
                         r"'n3' has pads 0, 0, 0, 0 \(allowed: 1, 1, 1, 1\)"),
    "pooling of four": (other("MaxPool", kernel_shape=[4, 4], strides=[2, 2]),
                        r"'n3' has kernel_shape 4, 4 \(allowed: 2, 2; 3, 3\)"),
    "ceil": (other("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), r"'n3' has ceil_mode 1"),
    "late norm": (lambda g: g.norm(2), "no Relu between BatchNormalization node 'n3' and Conv node 'n4'"),
    "late bias": (other("Add", np.ones((2, 1, 1), np.float32)), r"Add node 'n3' does not directly follow"),
    "branch before a Relu": (before_relu, r"'t3' goes to 2 nodes \(Relu node 'n4', Add node 'n6'\) before a"),
    "padding with ones": (other("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(1)),
                          r"Pad node 'n3' does not pad with zeros"),
    "padding of channels": (other("Pad", np.array([0, 1, 0, 0, 0, 0, 0, 0])), r"has pads 0, 1, 0"),
    "reflection": (other("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect"),
                   "does not pad with zeros"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_every_other_node_is_refused_by_name(tmp_path, rng, what):
    """Behind one good layer of two channels."""
    spoil, message = SPOILT[what]
    g = Graph(rng)
    g.conv(3, 2)
    g.add("Relu")
    spoil(g)
    g.conv(2, 2)
    g.add("Relu")
    path = g.save(tmp_path / "model.onnx")
    with pytest.raises(InputError, match=message) as caught:
        load_weights(path, parse_network("vgg16/32:conv1_2"))
    assert str(caught.value).isprintable()
    assert load_weights(path, parse_network("vgg16/32:conv1_1")).origin.unused


def no_relu(g):
    g.conv(3, 2)
    g.conv(2, 2)
    g.add("Relu")


def column_bias(g):
    g.conv(3, 2)
    g.add("Add", g.constant(np.ones(8, np.float32)))


def scaled_first(g):
    g.add("Mul", g.constant(np.float32(2)))
    g.conv(3, 2)


WHOLE = {
    "no activation": (no_relu, "no Relu between Conv node 'n1' and Conv node 'n2'"),
    "bias by column": (column_bias, r"Add node 'n2' takes an array of shape 8 \(allowed: one number a "),
    "scaled input": (scaled_first, r"Mul node 'n1' multiplies the image \(allowed: a map by a constant\)"),
    "computed constant": (computed_weight, "Conv node 'n2': 't1' is not a constant"),
    "nothing": (lambda g: g.add("Relu"), "Relu node 'n1' does not follow a convolution"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_models_without_a_first_layer_are_refused(tmp_path, rng, what):
    make, message = WHOLE[what]
    g = Graph(rng)
    make(g)
    with pytest.raises(InputError, match=message):
        load_weights(g.save(tmp_path / "model.onnx"), parse_network("vgg16/32:conv1_1"))


def test_poolings_must_be_where_the_network_has_them(tmp_path, rng):
    g = Graph(rng)
    build(g, plain)
    path = g.save(tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"Conv node 'n1' \(conv1_1\) is not followed by a pooling"):
        load_weights(path, parse_network("vgg11/32:pool1"))
    with pytest.raises(InputError, match=r"\(conv1_1\) has weights 2 x 3 x 3 x 3; allowed: 64 x 3 x 3 x 3"):
        load_weights(path, parse_network("vgg16:pool1"))
    with pytest.raises(InputError, match=r"layer conv3_1 of vgg16/32 is missing; .*--network vgg16/32:pool2"):
        load_weights(path, parse_network("vgg16/32"))


def test_numbers_that_are_not_finite_are_refused(tmp_path, rng):
    g = Graph(rng)
    build(g, plain)
    weight = numpy_helper.to_array(g.constants[2]).copy()
    weight[0, 0, 0, 0] = np.nan
    g.constants[2].CopyFrom(numpy_helper.from_array(weight, g.constants[2].name))
    with pytest.raises(InputError, match=r"Conv node 'n3': 'c2' .* not finite"):
        load_weights(g.save(tmp_path / "model.onnx"), parse_network(NAME))


def test_more_than_one_input_is_refused(tmp_path, rng):
    g = Graph(rng)
    g.conv(3, 2)
    g.add("Relu")
    path = g.save(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"a model of 2 inputs \(image, other\)"):
        load_weights(path, parse_network("vgg16/32:conv1_1"))


# --------------------------------------------------------------------------------------------------------
# Published networks, as the onnx package ships them, their weights replaced by constants
# --------------------------------------------------------------------------------------------------------


def test_a_published_vgg19_is_read():
    network = load_weights(str(LIGHT / "light_vgg19.onnx"), parse_network("vgg19"))
    assert [w.shape[0] for w in network.weights] == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert all((w == np.float32(0.02)).all() for w in network.weights[:3])
    assert network.origin.unused[:2] == ("Reshape node 'n37'", "Gemm node 'n38'")
    with pytest.raises(InputError, match=r"\(conv3_3\) is not followed .*the graph is that of vgg19"):
        load_weights(str(LIGHT / "light_vgg19.onnx"), parse_network("vgg16"))
    shared = load_weights(str(LIGHT / "light_vgg19.onnx"), parse_network("vgg16:conv3_3"))
    assert "the graph is that of vgg19" in shared.origin.remarks[0]


REFUSED = {
    "resnet50": "Conv node 'n0' (conv1_1) has kernel 7, 7; allowed: 3, 3, as vgg16 has",
    "bvlc_alexnet": "Conv node 'n0' has kernel 11, 11",
    "squeezenet": "Conv node 'n0' has pads 0, 0, 0, 0 (allowed: 1, 1, 1, 1)",
    "densenet121": "Mul node 'n3': 'r2' is not a constant, and no Relu follows Conv node 'n0'",
    "inception_v1": "Conv node 'n0' (conv1_1) has kernel 7, 7",
    "shufflenet": "Conv node 'n0' (conv1_1) has strides 2, 2; allowed: 1, 1, as vgg16 has",
    "zfnet512": "Conv node 'n0' has pads 0, 0, 0, 0 (allowed: 3, 3, 3, 3)",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_published_networks_are_refused_by_the_node(name):
    with pytest.raises(InputError, match=re.escape(REFUSED[name])):
        load_weights(str(LIGHT / f"light_{name}.onnx"), parse_network("vgg16"))
