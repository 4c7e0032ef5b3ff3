"""Files of ResNet and RepVGG weights compute what torch computes from them, apart from rounding."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.float_network import FloatModel
from kestrel.sw.model.graph import check_graph
from kestrel.sw.model.network import map_sizes, parse_network
from kestrel.sw.model.residual_networks import RESIDUAL_FAMILIES
from kestrel.sw.model.storage.load import find_network, load_weights
from kestrel.sw.model.weights import random_network

State = dict[str, torch.Tensor]


def norm_keys(state: State, name: str, channels: int, draw: torch.Generator) -> None:
    state[f"{name}.weight"] = torch.rand(channels, generator=draw) + 0.5
    state[f"{name}.bias"] = torch.randn(channels, generator=draw) * 0.1
    state[f"{name}.running_mean"] = torch.randn(channels, generator=draw) * 0.1
    state[f"{name}.running_var"] = torch.rand(channels, generator=draw) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(3)


def conv_keys(state: State, name: str, norm: str, size: tuple[int, ...], draw: torch.Generator) -> None:
    fan_in = size[1] * size[2] * size[3]
    state[f"{name}.weight"] = torch.randn(size, generator=draw) * (2 / fan_in) ** 0.5
    norm_keys(state, norm, size[0], draw)


def normed(state: State, x: torch.Tensor, name: str) -> torch.Tensor:
    mean, variance, gain, offset = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.batch_norm(x, mean, variance, gain, offset)


RESNET_COUNTS, RESNET_WIDTHS = (2, 1, 1, 2), (4, 8, 16, 32)


def resnet_blocks() -> Iterator[tuple[str, int, int, int]]:
    """(name, input channels, output channels, stride) of every block of ``resnet_state``."""
    given = RESNET_WIDTHS[0]
    for stage, (count, width) in enumerate(zip(RESNET_COUNTS, RESNET_WIDTHS, strict=True), start=1):
        for block in range(count):
            yield f"layer{stage}.{block}", given, width, 2 if stage > 1 and not block else 1
            given = width


def resnet_state(prefix: str = "") -> State:
    draw, state = torch.Generator().manual_seed(4), {}
    conv_keys(state, "conv1", "bn1", (4, 3, 7, 7), draw)
    for name, given, width, stride in resnet_blocks():
        conv_keys(state, f"{name}.conv1", f"{name}.bn1", (width, given, 3, 3), draw)
        conv_keys(state, f"{name}.conv2", f"{name}.bn2", (width, width, 3, 3), draw)
        if stride == 2:
            conv_keys(state, f"{name}.downsample.0", f"{name}.downsample.1", (width, given, 1, 1), draw)
    state["fc.weight"] = torch.zeros(10, 32)
    return {prefix + key: value for key, value in state.items()}


def resnet_map(state: State, x: torch.Tensor, last: str) -> torch.Tensor:
    """What torch's own operators make of the file, as torchvision arranges them."""
    x = functional.conv2d(x, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(normed(state, x, "bn1").relu(), 3, 2, 1)
    for name, _, _, stride in resnet_blocks():
        y = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = normed(state, y, f"{name}.bn1").relu()
        y = functional.conv2d(y, state[f"{name}.conv2.weight"], padding=1)
        if stride == 2:
            x = functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2)
            x = normed(state, x, f"{name}.downsample.1")
        x = (normed(state, y, f"{name}.bn2") + x).relu()
        if name == last:
            break
    return x


@pytest.fixture
def resnet(tmp_path: Path) -> str:
    save_file(resnet_state(), tmp_path / "resnet.safetensors")
    return str(tmp_path / "resnet.safetensors")


def picture(height: int = 37, width: int = 42) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("cut", ["", ":layer1.1", ":layer3.0", ":layer4.1"])
def test_resnet(resnet: str, cut: str) -> None:
    """Blocks, stem and shortcuts, on a picture of odd height."""
    shape = find_network(f"resnet/16{cut}", resnet)
    assert shape.name == f"resnet_2_1_1_2/16{cut}"
    found = FloatModel(load_weights(resnet, shape)).run(picture())[-1]
    wanted = resnet_map(resnet_state(), picture(), cut[1:] or "layer4.1")
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_was_not_used_is_named(resnet: str) -> None:
    origin = load_weights(resnet, find_network("resnet/16", resnet)).origin
    assert origin.unused == ("fc.weight",)


def test_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(resnet_state("module."), path)
    network = load_weights(str(path), find_network("resnet/16", str(path)))
    assert network.origin.prefix == "module."


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


BAD = {
    "resnet18/16": (resnet_state, r"has layer1\.1\..*, which resnet18/16|layer2_1_conv1 .* not whole"),
    "resnet_1_1_1_2/16": (resnet_state,
                          r"has layer1\.1\..*, which resnet_1_1_1_2/16 does not have; .*resnet, w"),
    "resnet_3_1_1_2/16": (resnet_state,
                          r"layer1_2_conv1 of .* is not whole \(no key layer1\.2\.conv1\.weight\)"),
    "resnet/16": (lambda: without(resnet_state(), "layer2.0.downsample.1.bias"),
                  r"no key layer2\.0\.downsample\.1"),
    "resnet/16:layer2.0": (lambda: {"features.0.weight": torch.zeros(4, 3, 3, 3)}, r"blocks \[\] of layer1"),
    "resnet/8": (resnet_state, r"conv1\.weight \(conv1\) has shape 4 x 3 x 7 x 7; allowed: 8 x 3 x 7 x 7"),
    "resnet/16:layer9.0": (resnet_state, r"resnet_2_1_1_2/16:lay.*no block 'layer9\.0'; allowed cuts: lay"),
    "repvgg_a0/16": (resnet_state, r"no stage0\.rbr_dense\.conv\.weight of repvgg_a0/16"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    path = str(tmp_path / "x.safetensors")
    save_file(make(), path)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(path, find_network(name, path))
    assert "\n" not in str(caught.value)


def test_resnet_needs_a_file_to_count_its_blocks() -> None:
    with pytest.raises(InputError, match="counted in a file of weights"):
        find_network("resnet", "random:3")


# --------------------------------------------------------------------------------------------------------
# Shared layers
# --------------------------------------------------------------------------------------------------------


def shared_state() -> State:
    """shared_resnet/16:layer1.1, the second repetition's keys included, as a state dictionary has them."""
    draw, state = torch.Generator().manual_seed(4), {}
    conv_keys(state, "conv1", "bn1", (4, 3, 7, 7), draw)
    for n in (1, 2):
        conv_keys(state, f"layer1.0.conv{n}", f"layer1.0.bn{n}", (4, 4, 3, 3), draw)
    state |= {key.replace("1.0.", "1.1."): value.clone() for key, value in state.items() if "layer1" in key}
    return state


def test_shared_layers(tmp_path: Path) -> None:
    shape, path = parse_network("shared_resnet/16:layer1.1"), str(tmp_path / "x.safetensors")
    save_file(shared_state(), path)
    network = load_weights(path, shape)
    assert network.weights[3] is network.weights[1]
    save_file({key: value for key, value in shared_state().items() if "layer1.1" not in key}, path)
    assert np.array_equal(load_weights(path, shape).weights[4], network.weights[2])
    save_file(shared_state() | {"layer1.1.bn2.bias": torch.ones(4)}, path)
    with pytest.raises(InputError, match=r"layer1\.1\.conv2\.weight or its batch norm differs"):
        load_weights(path, shape)


# --------------------------------------------------------------------------------------------------------
# RepVGG
# --------------------------------------------------------------------------------------------------------

REPVGG_NAME = "repvgg_a0/16:stage1.1"
REPVGG_LAYERS = (
    ("stage0", "stem", 3, 3, 2),
    ("stage1.0", "stages.0.0", 3, 3, 2),
    ("stage1.1", "stages.0.1", 3, 3, 1),
)
"""(name, timm's name, input channels, output channels, stride)."""


def repvgg_state(*, timm: bool) -> State:
    draw, state = torch.Generator().manual_seed(4), {}
    for name, timm_name, given, width, stride in REPVGG_LAYERS:
        at = timm_name if timm else name
        for branch, size in ((("conv_kxk", "rbr_dense"), 3), (("conv_1x1", "rbr_1x1"), 1)):
            own = f"{at}.{branch[not timm]}"
            conv_keys(state, f"{own}.conv", f"{own}.bn", (width, given, size, size), draw)
        if stride == 1 and given == width:
            norm_keys(state, f"{at}.{'identity' if timm else 'rbr_identity'}", width, draw)
    return state


@pytest.mark.parametrize("timm", [False, True])
def test_repvgg(tmp_path: Path, timm: bool) -> None:
    """The three branches and their norms, each by itself, against the one convolution."""
    state, path = repvgg_state(timm=timm), str(tmp_path / "x.safetensors")
    save_file(state, path)
    found = FloatModel(load_weights(path, parse_network(REPVGG_NAME))).run(picture())
    x = picture()
    for layer, (name, timm_name, given, width, stride) in enumerate(REPVGG_LAYERS):
        at = timm_name if timm else name
        dense, point = (f"{at}.conv_kxk", f"{at}.conv_1x1") if timm else (f"{at}.rbr_dense", f"{at}.rbr_1x1")
        y = functional.conv2d(x, state[f"{dense}.conv.weight"], stride=stride, padding=1)
        z = functional.conv2d(x, state[f"{point}.conv.weight"], stride=stride)
        total = normed(state, y, f"{dense}.bn") + normed(state, z, f"{point}.bn")
        if stride == 1 and given == width:
            total = total + normed(state, x, f"{at}.{'identity' if timm else 'rbr_identity'}")
        x = total.relu()
        torch.testing.assert_close(found[layer], x, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------------
# Names and random weights
# --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [name for name in RESIDUAL_FAMILIES if name != "resnet"])
def test_every_family_is_a_valid_graph_and_runs(family: str) -> None:
    """Random activations neither die nor explode down to the last layer."""
    shape = parse_network(f"{family}/16")
    check_graph(shape.layers, blocks=shape.blocks)
    maps = FloatModel(random_network(shape, 3)).run(picture(64, 64) * 50)
    assert all(0.5 < float(y.max()) < 1e5 for y in maps)


@pytest.mark.parametrize(
    ("name", "layers", "channels", "size"),
    [
        ("resnet18", 17, 512, 7),
        ("resnet34:layer3.5", 27, 256, 14),
        ("shared_resnet", 40, 512, 7),
        ("repvgg_a0", 22, 1280, 7),
        ("repvgg_b0:stage2.5", 11, 128, 28),
        ("resnet_2_2_2_3:layer4.0", 15, 512, 7),
    ],
)
def test_shapes(name: str, layers: int, channels: int, size: int) -> None:
    """The published depths, widths and sizes, at 224 x 224."""
    shape = parse_network(name)
    assert len(shape.layers) == layers
    assert shape.layers[-1].out_channels == channels
    side = 112 if shape.blocks else 224
    assert map_sizes(shape.layers, side, side)[-1] == (size, size)
