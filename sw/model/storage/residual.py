"""The weights of ResNet and RepVGG files, by torchvision's, timm's and the authors' key names: batch norm
folded, branches added up, the 7x7 stem turned into a 3x3 convolution on blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from kestrel.hw.spec.blocks import BLOCK_CHANNELS
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.blocks import STEM_SIZE, blocks_kernel
from kestrel.sw.model.files.batch_norm import BatchNorm, fold_batch_norm
from kestrel.sw.model.files.entries import StoredArrays, as_float32, read_array
from kestrel.sw.model.residual_networks import COUNTED_RESNET, REPVGG, SHARED_DOWN, with_counts
from kestrel.sw.model.shapes import IMAGE_CHANNELS, ConvShape, NetworkShape
from kestrel.sw.model.storage.missing import unused_remark
from kestrel.sw.model.weights import FloatNetwork, WeightsOrigin, has_shortcuts

STAGES = 4
_BLOCK_KEY = re.compile(r"(|.*\.)layer([1-4])\.(\d+)\.(.+)")


@dataclass
class _Found:
    """What was read: as in ``FloatNetwork``, and the keys that were used."""

    weights: list[np.ndarray] = field(default_factory=list)
    biases: list[np.ndarray] = field(default_factory=list)
    shortcuts: list[np.ndarray | None] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    prefix: str = ""


def count_resnet(text: str, stored: StoredArrays) -> str:
    """``text``, which names COUNTED_RESNET, with the number of blocks of each stage that the file has; stages
    behind a cut may be missing and count as one block. Raises InputError for a file of other keys."""
    blocks: list[set[int]] = [set() for _ in range(STAGES)]
    for key in stored.entries:
        match = _BLOCK_KEY.fullmatch(key)
        if match:
            blocks[int(match[2]) - 1].add(int(match[3]))
    cut = re.search(r":layer([1-4])\.", text)
    last = int(cut[1]) if cut else STAGES
    for stage, found in enumerate(blocks, start=1):
        if found != set(range(len(found))) or (not found and stage <= last):
            raise InputError(f"{stored.source}: blocks {sorted(found)} of layer{stage}; allowed for {text}: "
                             f"keys layer{stage}.0.conv1.weight and so on without a gap")
    return with_counts([len(found) or 1 for found in blocks]) + text.removeprefix(COUNTED_RESNET)


def read_residual_weights(stored: StoredArrays, shape: NetworkShape) -> FloatNetwork:
    """The weights of ``shape``. Raises InputError for a file that lacks some, or has blocks that ``shape``
    does not have."""
    reader = _Reader(stored, shape)
    if shape.name.partition(":")[0].partition("/")[0] in REPVGG:
        reader.repvgg()
    else:
        reader.resnet()
    found = reader.found
    unused = tuple(_unused_keys(stored, found.used))
    remarks = (
        *([f"keys begin with {found.prefix!r}"] if found.prefix else []),
        *unused_remark("keys", unused),
    )
    origin = WeightsOrigin(stored.kind, found.prefix, (), unused, remarks)
    shortcuts = tuple(found.shortcuts) if has_shortcuts(shape) else ()
    return FloatNetwork(shape, tuple(found.weights), tuple(found.biases), frozenset(), origin, shortcuts)


def resnet_key(layer: ConvShape) -> str:
    """What stands before ``.weight`` in a key of a ResNet's convolution: ``layer2.0.conv1``; between the
    stages of a shared ResNet ``layer2.down.0``."""
    return layer.name.replace("_", ".") + ".0" * layer.name.endswith(SHARED_DOWN)


def norm_key(key: str) -> str:
    """As ``resnet_key`` for the batch norm behind the convolution of ``key``: ``layer2.0.bn1``,
    ``layer2.down.1``, ``layer2.0.downsample.1``."""
    before, dot, last = key.rpartition(".")
    return before + dot + ("1" if last == "0" else last.replace("conv", "bn"))


def projection_key(layer: ConvShape) -> str:
    """As ``resnet_key`` for the projection of ``layer``: ``layer2.0.downsample.0``."""
    return f"{resnet_key(layer).rpartition('.')[0]}.downsample.0"


def identity_key(layer: ConvShape) -> str:
    """The key of the factors of the identity of ``layer``, which only files of ours have."""
    return f"{resnet_key(layer).rpartition('.')[0]}.identity.weight"


def reparam_key(layer: ConvShape) -> str:
    """As ``resnet_key`` for a RepVGG whose branches have been merged: ``stage1.0.rbr_reparam``."""
    return f"{resnet_key(layer)}.rbr_reparam"


class _Reader:
    def __init__(self, stored: StoredArrays, shape: NetworkShape) -> None:
        self.stored, self.shape = stored, shape
        self.found = _Found()

    # ------------------------------------------------------------------------------------------------
    # ResNet
    # ------------------------------------------------------------------------------------------------

    def resnet(self) -> None:
        prefix = self._prefix("conv1.weight", "layer1.0.conv1.weight")
        self._refuse_other_blocks(prefix)
        for number, layer in enumerate(self.shape.layers):
            if layer.shares is not None:
                self._share(layer, prefix)
                continue
            name = prefix + resnet_key(layer)
            stem = number == 0 and not self._on_blocks(f"{name}.weight")
            size = STEM_SIZE if stem else layer.kernel
            channels = IMAGE_CHANNELS if stem else layer.in_channels
            weight, bias = self._convolution(name, norm_key(name), layer, channels, size)
            shortcut = None
            if layer.shortcut is not None and layer.shortcut.projection:
                at = prefix + projection_key(layer)
                given = self.shape.layers[layer.shortcut.source].out_channels
                shortcut, more = self._convolution(at, norm_key(at), layer, given, 1)
                shortcut, bias = shortcut[:, :, 0, 0], bias + more
            elif layer.shortcut is not None:
                shortcut = self._identity(prefix + identity_key(layer), layer)
            self._add(layer, blocks_kernel(weight) if stem else weight, bias, shortcut)

    def _on_blocks(self, key: str) -> bool:
        """Whether the stem's kernels are stored as those on an image in blocks."""
        entry = self.stored.entries[key]
        return entry.shape is not None and entry.shape[1:] == (BLOCK_CHANNELS, 3, 3)

    def _identity(self, key: str, layer: ConvShape) -> np.ndarray:
        """The factors of an identity, 1 unless the file has some, as that of a compressed network may."""
        if key not in self.stored.entries:
            return np.ones(layer.out_channels)
        return self._read(key, layer, (layer.out_channels,))

    def _refuse_other_blocks(self, prefix: str) -> None:
        """Raises InputError for blocks, in the stages that the network has, that it does not have."""
        own = {layer.name.rpartition("_")[0].replace("_", ".") for layer in self.shape.layers[1:]}
        last = self.shape.layers[-1].name.rpartition("_")[0].replace("_", ".")
        for key in self.stored.entries:
            match = _BLOCK_KEY.fullmatch(key.removeprefix(prefix))
            block = match and f"layer{match[2]}.{match[3]}"
            cut = ":" in self.shape.name
            if block and block not in own and not (cut and _order(block) > _order(last)):
                raise InputError(f"{self.stored.source}: has {key}, which {self.shape.name} does not have; "
                                 f"allowed: its own blocks, or --network {COUNTED_RESNET}, which counts them")

    def _share(self, layer: ConvShape, prefix: str) -> None:
        """The weights of a layer that shares another's. The file may leave them out, but not have others."""
        assert layer.shares is not None
        found, name = self.found, prefix + resnet_key(layer)
        if f"{name}.weight" in self.stored.entries:
            weight, bias = self._convolution(name, norm_key(name), layer, layer.in_channels, layer.kernel)
            owner = self.shape.layers[layer.shares].name
            if not (np.array_equal(weight.astype(np.float32), found.weights[layer.shares])
                    and np.array_equal(bias.astype(np.float32), found.biases[layer.shares])):
                raise InputError(f"{self.stored.source}: {name}.weight or its batch norm differs from "
                                 f"{owner}'s; allowed in {self.shape.name}: the same, or none")
        found.weights.append(found.weights[layer.shares])
        found.biases.append(found.biases[layer.shares])
        found.shortcuts.append(found.shortcuts[layer.shares])

    # ------------------------------------------------------------------------------------------------
    # RepVGG
    # ------------------------------------------------------------------------------------------------

    def repvgg(self) -> None:
        timm = any(key.endswith("stem.conv_kxk.conv.weight") for key in self.stored.entries)
        first = "stem.conv_kxk.conv.weight" if timm else "stage0.rbr_dense.conv.weight"
        merged = "stage0.rbr_reparam.weight"
        if any(key.endswith(merged) for key in self.stored.entries):
            first = merged
        prefix = self._prefix(first, first)
        for layer in self.shape.layers:
            name = prefix + (_timm_name(layer.name) if timm else layer.name.replace("_", "."))
            if first == merged:
                key = prefix + reparam_key(layer)
                weight = self._read(f"{key}.weight", layer, (layer.out_channels, layer.in_channels, 3, 3))
                self._add(layer, weight, self._read(f"{key}.bias", layer, (layer.out_channels,)), None)
                continue
            self._add(layer, *self._branches(name, layer, timm=timm), None)

    def _branches(self, name: str, layer: ConvShape, *, timm: bool) -> tuple[np.ndarray, np.ndarray]:
        """The sum of a block's 3x3, 1x1 and identity branches as one 3x3 convolution."""
        large, small, identity = ("conv_kxk", "conv_1x1", "identity") if timm else (
            "rbr_dense", "rbr_1x1", "rbr_identity")
        given = layer.in_channels
        weight, bias = self._convolution(f"{name}.{large}.conv", f"{name}.{large}.bn", layer, given, 3)
        point, more = self._convolution(f"{name}.{small}.conv", f"{name}.{small}.bn", layer, given, 1)
        weight[:, :, 1, 1] += point[:, :, 0, 0]
        bias = bias + more
        if layer.in_channels == layer.out_channels and layer.stride == 1:
            unit = np.eye(layer.out_channels)[:, :, None, None]
            gain, more = self._norm(f"{name}.{identity}", layer, unit, np.zeros(layer.out_channels))
            weight[:, :, 1, 1] += gain[:, :, 0, 0]
            bias = bias + more
        return weight, bias

    # ------------------------------------------------------------------------------------------------
    # Both
    # ------------------------------------------------------------------------------------------------

    def _prefix(self, *keys: str) -> str:
        """What stands before all of ``keys``. Raises InputError if the file does not have them."""
        for key in self.stored.entries:
            if key.endswith(keys[0]):
                prefix = key.removesuffix(keys[0])
                there = all(prefix + other in self.stored.entries for other in keys)
                if there and (not prefix or prefix.endswith(".")):
                    self.found.prefix = prefix
                    return prefix
        some = ", ".join(list(self.stored.entries)[:3])
        raise InputError(f"{self.stored.source}: no {keys[-1]} of {self.shape.name} (the file has {some}, "
                         "...); allowed: torchvision's, timm's or the authors' key names")

    def _convolution(self, name: str, norm: str, layer: ConvShape, channels: int,
                     size: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight [C_out, ``channels``, size, size] and bias of a convolution and its batch norm, float64. A
        bias of the convolution itself, as files have it whose batch norm was folded in, stands in its
        place."""
        weight = self._read(f"{name}.weight", layer, (layer.out_channels, channels, size, size))
        bias = np.zeros(layer.out_channels)
        has_bias = f"{name}.bias" in self.stored.entries
        if has_bias:
            bias = self._read(f"{name}.bias", layer, (layer.out_channels,))
        if has_bias and f"{norm}.running_mean" not in self.stored.entries:
            return weight, bias
        return self._norm(norm, layer, weight, bias)

    def _norm(self, norm: str, layer: ConvShape, weight: np.ndarray,
              bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gain, offset, mean, variance = (
            self._read(f"{norm}.{part}", layer, (layer.out_channels,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        self.found.used.add(f"{norm}.num_batches_tracked")
        where = f"{self.stored.source}: {norm}.running_var"
        return fold_batch_norm(weight, bias, BatchNorm(gain, offset, mean, variance), where)

    def _read(self, key: str, layer: ConvShape, size: tuple[int, ...]) -> np.ndarray:
        if key not in self.stored.entries:
            raise InputError(f"{self.stored.source}: layer {layer.name} of {self.shape.name} is not whole "
                             f"(no key {key}); allowed: every layer, or a cut before it")
        self.found.used.add(key)
        return read_array(self.stored, key, layer.name, size)

    def _add(self, layer: ConvShape, weight: np.ndarray, bias: np.ndarray,
             shortcut: np.ndarray | None) -> None:
        where = f"{self.stored.source}: {layer.name}, batch norm folded in,"
        self.found.weights.append(as_float32(weight, where))
        self.found.biases.append(as_float32(bias, where))
        self.found.shortcuts.append(None if shortcut is None else as_float32(shortcut, where))


def _order(block: str) -> tuple[int, int]:
    """The place of ``layer3.1`` among the blocks."""
    stage, number = block.removeprefix("layer").split(".")
    return int(stage), int(number)


def _timm_name(name: str) -> str:
    """``stage3_1`` as timm has it: ``stages.2.1``."""
    if name == "stage0":
        return "stem"
    stage, block = name.removeprefix("stage").split("_")
    return f"stages.{int(stage) - 1}.{block}"


def _unused_keys(stored: StoredArrays, used: set[str]) -> Iterator[str]:
    """The keys that were not used, in the file's order, but for those that every such file has."""
    return (key for key in stored.entries if key not in used and not key.endswith("num_batches_tracked"))
