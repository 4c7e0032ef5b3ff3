"""Residual networks from ONNX: what torch's exporter writes computes what torch computes, whatever the
names."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from kestrel.export.exchange.float_onnx import float_model
from kestrel.export.exchange.model_file import write_model
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.load import find_network, load_weights
from kestrel.sw.model.weights import FloatNetwork, random_network

WIDTHS = (4, 8, 16, 32)


class Block(nn.Module):
    """A basic block as torchvision has it."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride == 2:
            point = nn.Conv2d(given, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(point, nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Branches(nn.Module):
    """A block of RepVGG as its authors train it."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width))
        self.small = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.same = nn.BatchNorm2d(width) if stride == 1 and given == width else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        same = 0 if self.same is None else self.same(x)
        return torch.relu(self.large(x) + self.small(x) + same)


def trained(*modules: nn.Module) -> nn.Sequential:
    """With batch norms that are not the identity."""
    torch.manual_seed(3)
    made = nn.Sequential(*modules).eval()
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            for parameter, low in ((module.weight, 0.3), (module.bias, -0.2), (module.running_mean, -0.2),
                                   (module.running_var, 0.5)):  # fmt: skip
                assert parameter is not None
                nn.init.uniform_(parameter, low, low + 0.6)
    return made


def resnet(*counts: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    given = WIDTHS[0]
    for stage, (count, width) in enumerate(zip(counts, WIDTHS, strict=False)):
        for block in range(count):
            blocks.append(Block(given, width, 2 if stage and not block else 1))
            given = width
    return trained(nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                   *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, 3))  # fmt: skip


def exported(module: nn.Module, path: Path, *, folded: bool = True) -> str:
    """By torch's own exporter, with batch norm folded or as nodes of their own."""
    # PRESERVE keeps batch norm in nodes of its own.
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(module, (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, training=mode,
                      do_constant_folding=folded, dynamic_axes={"image": {2: "h", 3: "w"}},
                      input_names=["image"])  # fmt: skip
    return str(path)


def picture(height: int = 37, width: int = 42) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(2))


EXPORTER = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""torch's exporter of ONNX models without a further package says that it will go."""


@EXPORTER
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(
    ("counts", "cut"), [((1, 2, 1, 2), ""), ((1, 2, 1, 2), ":layer2.1"), ((2, 1), ":layer2.0")]
)
def test_a_resnet_of_torch(tmp_path: Path, folded: bool, counts: tuple[int, ...], cut: str) -> None:
    module = resnet(*counts)
    path = exported(module, tmp_path / "x.onnx", folded=folded)
    shape = find_network(f"resnet/16{cut}", path)
    blocks = (*counts, 1, 1)[:4]
    assert shape.name == f"resnet_{'_'.join(map(str, blocks))}/16{cut}"
    network = load_weights(path, shape)
    assert network.origin.kind == "ONNX"
    assert len(network.origin.batch_norm) == (0 if folded else len(shape.layers))
    assert any("GlobalAveragePool" in node for node in network.origin.unused)
    found = FloatModel(network).run(picture())[-1]
    last = len(module) - 3 if not cut else 4 + (3 if cut == ":layer2.1" else sum(counts))
    wanted = module[:last](picture()).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@EXPORTER
@pytest.mark.parametrize("folded", [True, False])
def test_the_branches_of_a_repvgg(tmp_path: Path, folded: bool) -> None:
    module = trained(Branches(3, 3, 2), Branches(3, 3, 2), Branches(3, 3, 1))
    path = exported(module, tmp_path / "x.onnx", folded=folded)
    found = FloatModel(load_weights(path, parse_network("repvgg_a0/16:stage1.1"))).run(picture())[-1]
    torch.testing.assert_close(found, module(picture()).detach(), rtol=1e-4, atol=1e-5)


def assert_same(found: FloatNetwork, wanted: FloatNetwork) -> None:
    for part in ("weights", "biases", "shortcuts"):
        for mine, theirs in zip(getattr(found, part), getattr(wanted, part), strict=True):
            if theirs is None:
                assert mine is None
            else:
                np.testing.assert_array_equal(mine, theirs)


def with_factors(network: FloatNetwork) -> FloatNetwork:
    """With identities that are scaled by channel."""
    for factor in network.shortcuts:
        if factor is not None and factor.ndim == 1:
            factor[::2] = 0.75
    return network


@pytest.mark.parametrize(
    "name", ["resnet18/16:layer2.1", "shared_resnet/16:layer2.2", "repvgg_b0/16:stage2.0"]
)
@pytest.mark.parametrize("change", [lambda network: network, with_factors])
def test_models_of_our_own(tmp_path: Path, name: str, change) -> None:
    """Read again they are equal, and onnxruntime computes from them what the network does."""
    network = change(random_network(parse_network(name), 3))
    path = tmp_path / "x.onnx"
    write_model(float_model(network, "torchvision"), path)
    assert_same(load_weights(str(path), network.shape), network)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(None, {"image": picture().numpy()})[0])
    wanted = FloatModel(network).run(picture())[-1].numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_a_stem_that_is_no_7x7_convolution_is_exported_on_blocks(tmp_path: Path) -> None:
    """Pictures of even and odd sides."""
    network = random_network(parse_network("resnet18/16:layer1.0"), 3)
    network.weights[0][:] += np.float32(0.1)
    write_model(float_model(network, "torchvision"), tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    for size in ((37, 42), (32, 31)):
        found = np.asarray(session.run(None, {"image": picture(*size).numpy()})[0])
        wanted = FloatModel(network).run(picture(*size))[-1].numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


# --------------------------------------------------------------------------------------------------------
# Refusals
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "wanted", "message"),
    [
        ("resnet18/16", "vgg16/16", r"'conv1_conv' \(conv1_1\) has kernel 7, 7; allowed: 3, 3, as vgg16/16"),
        ("vgg16/16", "resnet18/16", r"'conv1_1_conv' \(conv1\) has kernel 3, 3; allowed: 7, 7, as resnet18"),
        ("vgg16/16", "resnet/16", r"'conv1_1_conv' \(conv1\) has kernel 3, 3; allowed: 7, 7, as resnet_1_1_"),
        ("repvgg_a0/16:stage1.1", "repvgg_b0/16:stage1.1", r"has weights 3 x 3 x 3 x 3; allowed: 4 x 3 x 3"),
        ("resnet34/16:layer1.2", "resnet18/16:layer2.0",
         r"'layer1_2_conv1_conv' \(layer2_0_conv1\) has strides 1, 1; allowed: 2, 2, as resnet18/16:layer2"),
        ("resnet18/16:layer1.1", "resnet18/16:layer2.0",
         "the graph has 5 convolutions; allowed: 7 convolutions as resnet18/16:layer2.0 has, 5 were found"),
        ("resnet18/16:layer1.1", "shared_resnet/16:layer1.1",
         r"'layer1_1_conv1_conv' \(layer1_1_conv1\) differs from .* \(layer1_0_conv1\); allowed in shared_"),
        ("resnet18/16:layer2.1", "resnet/16", "behind a first layer of 4 channels none of 16, as layer3 of "
         "resnet/16 has; allowed: a ResNet of basic blocks"),
    ],
)  # fmt: skip
def test_another_network_is_refused(tmp_path: Path, written: str, wanted: str, message: str) -> None:
    path = tmp_path / "x.onnx"
    write_model(float_model(random_network(parse_network(written), 3), "torchvision"), path)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(str(path), find_network(wanted, str(path)))
    assert "\n" not in str(caught.value)


def edited(tmp_path: Path, change) -> str:
    """resnet18/16:layer2.0 with its nodes changed, which ``change`` gets by their names."""
    path = tmp_path / "x.onnx"
    write_model(float_model(random_network(parse_network("resnet18/16:layer2.0"), 3), "torchvision"), path)
    model = onnx.load(path)
    change({node.name: node for node in model.graph.node}, model.graph)
    onnx.save(model, path)
    return str(path)


def no_shortcut(nodes, graph):
    nodes["layer1_0_conv2"].input[0] = "layer1_0_conv2_conv"
    graph.node.remove(nodes["layer1_0_conv2_sum"])


def other_source(nodes, graph):
    nodes["layer1_1_conv2_sum"].input[1] = "conv1"


def other_pooling(nodes, graph):
    for attribute in nodes["conv1"].attribute:
        if attribute.name in ("kernel_shape", "pads"):
            attribute.ints[:] = [2, 2] if attribute.name == "kernel_shape" else [0] * 4


def two_shortcuts(nodes, graph):
    add = helper.make_node("Add", ["layer1_1_conv2_sum", "conv1"], ["more"], "more")
    nodes["layer1_1_conv2"].input[0] = "more"
    graph.node.insert(list(graph.node).index(nodes["layer1_1_conv2"]), add)


def wide_shortcut(nodes, graph):
    weight = np.zeros((8, 4, 3, 3), np.float32)
    graph.initializer.append(numpy_helper.from_array(weight, "wide"))
    nodes["layer2_0_conv2_shortcut_conv"].input[1] = "wide"
    for attribute in nodes["layer2_0_conv2_shortcut_conv"].attribute:
        if attribute.name in ("kernel_shape", "pads"):
            attribute.ints[:] = [3, 3] if attribute.name == "kernel_shape" else [1] * 4


EDITS = {
    "no shortcut": (no_shortcut, r"\(layer1_0_conv2\) has no shortcut; allowed: the output of Conv node "
                    "'conv1_conv' as its shortcut, as resnet18/16:layer2.0 has it"),
    "other source": (other_source, r"\(layer1_1_conv2\) has the output of Conv node 'conv1_conv' as its "
                     "shortcut; allowed: the output of Conv node 'layer1_0_conv2_conv' as its shortcut"),
    "other pooling": (other_pooling, r"\(conv1\) is followed by a pooling of 2x2; allowed: 3x3"),
    "two shortcuts": (two_shortcuts, r"Relu node 'layer1_1_conv2' follows the sum of 3 maps \(allowed: two"),
    "wide shortcut": (wide_shortcut, r"is added to Conv node .* \(allowed: one of them 1x1\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_what_the_network_has_not_is_named(tmp_path: Path, what: str) -> None:
    change, message = EDITS[what]
    path = edited(tmp_path, change)
    with pytest.raises(InputError, match=message):
        load_weights(path, parse_network("resnet18/16:layer2.0"))


def test_filling_up_is_for_stacks(tmp_path: Path) -> None:
    path = edited(tmp_path, lambda nodes, graph: None)
    with pytest.raises(InputError, match="filling up resnet18/16; allowed: VGG networks, or whole weights"):
        load_weights(path, parse_network("resnet18/16"), fill_seed=1)
