"""The file format of networks that are graphs: the same network comes back, and nothing else is accepted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import (
    METADATA_KEY,
    CompressedNetwork,
    load_network,
    same,
    save_network,
    validate,
)
from kestrel.sw.model.graph import check_graph, last_readers, scale_groups
from kestrel.sw.model.network import ConvShape, Shortcut, parse_network
from kestrel.verif.cases.random_graph import lane_channels, random_shapes
from kestrel.verif.cases.random_network import random_network

SHAPES = (
    ConvShape("conv0", 27, 4, pool=True, pool_size=3),
    ConvShape("conv1", 4, 4, pool=False),
    ConvShape("conv2", 4, 4, pool=False, shortcut=Shortcut(0)),
    ConvShape("conv3", 4, 6, pool=False, stride=2),
    ConvShape("conv4", 6, 6, pool=False, kernel=1, shortcut=Shortcut(2, projection=True, stride=2)),
    ConvShape("conv5", 6, 6, pool=False, kernel=1, source=3, shortcut=Shortcut(2, projection=True, stride=2),
              shares=4),
)  # fmt: skip


def network(shapes: tuple[ConvShape, ...] = SHAPES, *, blocks: bool = True) -> CompressedNetwork:
    return random_network(np.random.default_rng(3), shapes, 3, activation_bits=6, blocks=blocks)


@pytest.mark.parametrize("blocks", [False, True])
def test_saved_graphs_come_back_equal(tmp_path: Path, blocks: bool, rng: np.random.Generator) -> None:
    shapes = random_shapes(rng, 9, lane_channels(4), blocks=blocks)
    one = random_network(rng, shapes, [int(bits) for bits in rng.integers(1, 6, 9)], blocks=blocks)
    save_network(one, tmp_path / "a.safetensors")
    other = load_network(tmp_path / "a.safetensors")
    assert same(one, other)
    assert other.blocks == blocks
    assert [layer.shape for layer in other.layers] == list(shapes)
    save_network(other, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_versions_and_what_is_stored(tmp_path: Path) -> None:
    """Format 2 only where it is needed; a layer that shares has no tensors."""
    for shapes, version in ((SHAPES, 2), ((ConvShape("conv0", 3, 2, pool=True),), 1)):
        save_network(network(shapes, blocks=version == 2), tmp_path / "n.safetensors")
        with safe_open(str(tmp_path / "n.safetensors"), framework="np") as file:
            about = json.loads(file.metadata()[METADATA_KEY])
            keys = set(file.keys())
        assert about["version"] == version
        assert ("source" in about["layers"][0]) == (version == 2)
        assert not any(key.startswith("5.") for key in keys)
    assert network().layers[5].weight_bits == 0
    assert network().layers[4].weight_bits == (6 * 6 + 6 * 4) * 9


def other_shape(number: int, **changes: object) -> Callable[[CompressedNetwork], CompressedNetwork]:
    def change(one: CompressedNetwork) -> CompressedNetwork:
        layers = list(one.layers)
        layers[number] = replace(layers[number], shape=replace(layers[number].shape, **changes))
        return replace(one, layers=tuple(layers))

    return change


def other_layer(number: int, **changes: object) -> Callable[[CompressedNetwork], CompressedNetwork]:
    def change(one: CompressedNetwork) -> CompressedNetwork:
        layers = list(one.layers)
        layers[number] = replace(layers[number], **changes)
        return replace(one, layers=tuple(layers))

    return change


INVALID = {
    "kernel": (other_shape(1, kernel=5), r"layer conv1: kernel = 5; allowed: 1, 3"),
    "stride": (other_shape(1, stride=3), r"layer conv1: stride = 3; allowed: 1, 2"),
    "pool size": (other_shape(0, pool_size=4), r"layer conv0: pool_size = 4; allowed: 2, 3"),
    "pool and stride": (other_shape(3, pool=True), r"layer conv3: pooling with stride = 2"),
    "first source": (other_shape(0, source=0), r"layer conv0: source = 0; allowed: -1, the image"),
    "source of the image": (other_shape(2, source=-1), r"layer conv2: source = -1; allowed: 0\.\.1"),
    "later source": (other_shape(2, source=2), r"layer conv2: source = 2; allowed: 0\.\.1, an earlier layer"),
    "source's channels": (other_shape(3, source=0, in_channels=5),
                          r"in_channels = 5; allowed: 4, what conv0"),
    "shortcut of the image": (other_shape(2, shortcut=Shortcut(-1)),
                              r"shortcut's source = -1; allowed: 0\.\.1"),
    "first shortcut": (other_shape(0, shortcut=Shortcut(0)), r"source = 0; allowed: none in the first layer"),
    "identity's stride": (other_shape(2, shortcut=Shortcut(0, stride=2)),
                          r"stride = 2; allowed: 1 for an iden"),
    "projection's stride": (other_shape(4, shortcut=Shortcut(2, True, 3)), r"stride = 3; allowed: 1, 2"),
    "shortcut's size": (other_shape(4, shortcut=Shortcut(2, True, 1)),
                        r"conv2 with stride 1\) does not always"),
    "identity's channels": (other_shape(4, shortcut=Shortcut(2)),
                            r"without projection has 4 channels; allowed: 6"),
    "shares the first": (other_shape(2, shares=0), r"shares = 0; allowed: the number of an earlier layer"),
    "shares a sharer": (other_shape(5, shares=5), r"layer conv5: shares = 5"),
    "shares another shape": (other_shape(5, shares=1),
                             r"layer conv5: shares the integers of conv1, whose shape"),
    "shared integers": (other_layer(5, shift=4, scale=9.0),
                        r"layer conv5: shares = 4; .*conv4, which differ"),
    "mask bits of 1x1": (other_layer(4, mask_bits=2), r"layer conv4: mask_bits = 2; allowed: 1 for a kernel"),
    "no scalars": (other_layer(2, shortcut_alpha=None), r"conv2: shortcut_alpha = 'none'; allowed: an array"),
    "scalars too many": (other_layer(1, shortcut_alpha=np.ones(4, np.uint8)),
                         r"allowed: none for no shortcut"),
    "scalars' type": (other_layer(2, shortcut_alpha=np.ones(4, np.int8)),
                      r"is int8 \[4\]; allowed: uint8 \[4\]"),
    "signs": (other_layer(2, shortcut_sign=np.ones((4, 4), np.int8)),
              r"sign = 'an array'; allowed: none for an id"),
    "sign of 0": (other_layer(4, shortcut_sign=np.zeros((6, 4), np.int8)),
                  r"shortcut_sign = 0; allowed: -1, 1"),
    "shortcut's shift": (other_layer(2, shortcut_shift=5), r"shortcut_shift = 5; allowed: 0\.\.4"),
    "shift of nothing": (other_layer(1, shortcut_shift=1), r"shortcut_shift = 1; allowed: 0 for no shortcut"),
    "pad": (lambda n: replace(n, pad=np.arange(27, dtype=np.uint8)),
            r"pad = .* in blocks, one value a colour"),
    "channels of blocks": (lambda n: replace(n, blocks=True, layers=network(
        (ConvShape("conv0", 3, 2, pool=False, stride=2),), blocks=False).layers),
        r"in_channels = 3; allowed: 27"),
}  # fmt: skip


@pytest.mark.parametrize("what", INVALID)
def test_invalid_graphs_are_refused_in_one_line(what: str) -> None:
    change, message = INVALID[what]
    validate(network())
    with pytest.raises(InputError, match=message) as caught:
        validate(change(network()))
    assert "\n" not in str(caught.value)


def test_sizes_are_compared_for_every_image() -> None:
    """2x2 pooling rounds down and a stride up: equal for even sides only."""
    layers = (
        ConvShape("conv0", 3, 4, pool=False),
        ConvShape("conv1", 4, 4, pool=True),
        ConvShape("conv2", 4, 4, pool=False, shortcut=Shortcut(0, projection=True, stride=2)),
    )
    with pytest.raises(InputError, match="conv0 with stride 2"):
        check_graph(layers)
    check_graph((layers[0], replace(layers[1], pool_size=3), layers[2]))


def test_last_readers_and_scale_groups() -> None:
    assert last_readers(SHAPES) == [2, 2, 5, 5, 4, 5]
    # conv5 has the integers of conv4: their outputs have one scale, and they read the same maps.
    assert scale_groups(SHAPES) == [0, 1, 2, 3, 4, 4]
    shared = parse_network("shared_resnet:layer1.1").layers
    # conv1, and both second convolutions, are what a repetition reads.
    assert scale_groups(shared) == [0, 1, 0, 1, 0]


# --------------------------------------------------------------------------------------------------------
# Scalars from tables
# --------------------------------------------------------------------------------------------------------


def with_tables(shapes: tuple[ConvShape, ...] = SHAPES, *, blocks: bool = True) -> CompressedNetwork:
    """With scalars of fewer than 8 bits in some layer."""
    rng = np.random.default_rng(5)
    while True:
        one = random_network(rng, shapes, 3, activation_bits=6, blocks=blocks, tables=True)
        if one.has_tables and one.layers[-1].scalar_bits != 8:
            return one


@pytest.mark.parametrize("shapes", [SHAPES, (ConvShape("conv0", 3, 20, pool=True),)])
def test_networks_with_tables_come_back_equal(shapes: tuple[ConvShape, ...], tmp_path: Path) -> None:
    one = with_tables(shapes, blocks=shapes is SHAPES)
    save_network(one, tmp_path / "n.safetensors")
    assert same(load_network(tmp_path / "n.safetensors"), one)
    with safe_open(str(tmp_path / "n.safetensors"), framework="np") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    assert about["version"] == 3
    assert [layer["scalar_bits"] for layer in about["layers"]] == [layer.scalar_bits for layer in one.layers]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scalar_bits": 5}, r"scalar_bits = 5; allowed: 8, 4, 3, 2"),
        ({"alpha": np.arange(60, dtype=np.uint8).reshape(20, 3), "scalar_bits": 4},
         r"values of alpha = 60; allowed: 16 at most with 4 scalar bits"),
    ],
)  # fmt: skip
def test_scalars_that_no_table_holds_are_refused(change: dict[str, object], message: str) -> None:
    one = with_tables((ConvShape("conv0", 3, 20, pool=True),), blocks=False)
    with pytest.raises(InputError, match=message):
        validate(replace(one, layers=(replace(one.layers[0], **change),)))


def test_tables_make_networks_differ() -> None:
    """The same integers with other stored widths are another network, and only such need version 3."""
    one = with_tables((ConvShape("conv0", 3, 20, pool=True),), blocks=False)
    plain = replace(one, layers=(replace(one.layers[0], scalar_bits=8),))
    assert one.has_tables
    assert not plain.has_tables
    assert not same(one, plain)
