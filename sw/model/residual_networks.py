"""Shapes of the networks with names that are not VGG's: ResNet, ResNet with shared layers, RepVGG."""

import re
from collections.abc import Callable, Sequence

from kestrel.hw.spec.blocks import BLOCK_CHANNELS
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.shapes import IMAGE_CHANNELS, ConvShape, NetworkShape, Shortcut

RESNET_BLOCKS: dict[str, tuple[int, ...]] = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Basic blocks in each stage (He et al. 2016, table 1)."""

RESNET_CHANNELS = (64, 128, 256, 512)

COUNTED_RESNET = "resnet"
"""A ResNet of basic blocks whose number is taken from the file of its weights."""

SHARED_RESNET = "shared_resnet"
SHARED_BLOCKS = (2, 3, 10, 3)
"""Repetitions of the one pair of 3x3 convolutions that a stage has (Chandrasekhar et al., table 1 and figure
4). The source does not say how a stage's first repetition halves the map and doubles its channels, which the
pair cannot do. Here a 3x3 convolution of stride 2 does that before it, so that all repetitions are alike."""

SHARED_DOWN = "down"
"""What the names of these convolutions end in."""

REPVGG: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "repvgg_a0": ((2, 4, 14, 1), (48, 48, 96, 192, 1280)),
    "repvgg_b0": ((4, 6, 16, 1), (64, 64, 128, 256, 1280)),
}
"""Layers in each stage behind stage 0, which has one, and the channels of all stages (Ding et al. 2021, table
2)."""

RESIDUAL_FAMILIES = (*RESNET_BLOCKS, COUNTED_RESNET, SHARED_RESNET, *REPVGG)

_COUNTS = re.compile(COUNTED_RESNET + "_([0-9]{1,2})_([0-9]{1,2})_([0-9]{1,2})_([0-9]{1,2})")

Width = Callable[[int], int]


def is_residual(family: str) -> bool:
    """Whether this module knows the family."""
    return family in RESIDUAL_FAMILIES or _COUNTS.fullmatch(family) is not None


def with_counts(counts: Sequence[int]) -> str:
    """The name of the ResNet that has these numbers of blocks in its stages: ``resnet_2_2_2_3``."""
    return "_".join((COUNTED_RESNET, *map(str, counts)))


def block_cuts(family: str) -> list[str]:
    """The cuts of ``family``, which is not COUNTED_RESNET: the names of its blocks in their order."""
    return list(_layers(family, family, 1)[1])


def residual_shape(text: str, family: str, divisor: str | None, cut: str | None) -> NetworkShape:
    """The shape of ``text``, which names ``family``. Raises InputError."""
    step = int(divisor or 1)
    widest = REPVGG[family][1][-1] if family in REPVGG else RESNET_CHANNELS[-1]
    if not 1 <= step <= widest:
        raise InputError(f"network {text!r}: width divisor {step}; allowed: 1..{widest}")
    layers, ends = _layers(text, family, step)
    if cut is not None:
        if cut not in ends:
            raise InputError(f"network {text!r}: no block {cut!r}; allowed cuts: {', '.join(ends)}")
        layers = layers[: ends[cut]]
    return NetworkShape(text, tuple(layers), (), blocks=family not in REPVGG)


def _layers(text: str, family: str, step: int) -> tuple[list[ConvShape], dict[str, int]]:
    """The layers of ``family`` with its channels divided by ``step``, and by the name of each block how many
    there are up to its end."""
    if family in REPVGG:
        return _repvgg(family, lambda channels: -(-channels // step))
    build = _shared_resnet if family == SHARED_RESNET else _resnet
    return build(_blocks(text, family), lambda channels: -(-channels // step))


def _blocks(text: str, family: str) -> tuple[int, ...]:
    if family == SHARED_RESNET:
        return SHARED_BLOCKS
    if family in RESNET_BLOCKS:
        return RESNET_BLOCKS[family]
    counted = _COUNTS.fullmatch(family)
    if counted is None:
        raise InputError(
            f"network {text!r}: the blocks of {family} are counted in a file of weights, and there is "
            f"none here; allowed: {', '.join(RESNET_BLOCKS)}, or {with_counts((2, 2, 2, 3))} with the "
            "blocks of each stage"
        )
    found = tuple(int(count) for count in counted.groups())
    if 0 in found:
        raise InputError(f"network {text!r}: a stage of 0 blocks; allowed: 1 or more")
    return found


def _stem(width: Width) -> ConvShape:
    return ConvShape("conv1", BLOCK_CHANNELS, width(RESNET_CHANNELS[0]), pool=True, pool_size=3)


def _resnet(counts: Sequence[int], width: Width) -> tuple[list[ConvShape], dict[str, int]]:
    """The layers, and by the name of each block how many there are up to its end."""
    layers = [_stem(width)]
    ends: dict[str, int] = {}
    for stage, count in enumerate(counts):
        channels = width(RESNET_CHANNELS[stage])
        for block in range(count):
            read = len(layers) - 1
            stride = 2 if stage and not block else 1
            given = layers[read].out_channels
            name = f"layer{stage + 1}_{block}"
            layers += [
                ConvShape(f"{name}_conv1", given, channels, pool=False, stride=stride),
                ConvShape(f"{name}_conv2", channels, channels, pool=False,
                          shortcut=Shortcut(read, stride == 2 or given != channels, stride)),
            ]
            ends[f"layer{stage + 1}.{block}"] = len(layers)
    return layers, ends


def _shared_resnet(counts: Sequence[int], width: Width) -> tuple[list[ConvShape], dict[str, int]]:
    """As ``_resnet``, where the repetitions in a stage share the first one's pair of convolutions."""
    layers = [_stem(width)]
    ends: dict[str, int] = {}
    for stage, count in enumerate(counts):
        channels = width(RESNET_CHANNELS[stage])
        if stage:
            layers.append(ConvShape(f"layer{stage + 1}_{SHARED_DOWN}", layers[-1].out_channels, channels,
                                    pool=False, stride=2))
        owner = len(layers)
        for block in range(count):
            read, name = len(layers) - 1, f"layer{stage + 1}_{block}"
            layers += [
                ConvShape(f"{name}_conv1", channels, channels, pool=False, shares=owner if block else None),
                ConvShape(f"{name}_conv2", channels, channels, pool=False, shortcut=Shortcut(read, False, 1),
                          shares=owner + 1 if block else None),
            ]
            ends[f"layer{stage + 1}.{block}"] = len(layers)
    return layers, ends


def _repvgg(family: str, width: Width) -> tuple[list[ConvShape], dict[str, int]]:
    """As ``_layers``. The branches of a block become one convolution when weights are loaded."""
    counts, channels = REPVGG[family]
    layers = [ConvShape("stage0", IMAGE_CHANNELS, width(channels[0]), pool=False, stride=2)]
    ends = {"stage0": 1}
    for stage, count in enumerate(counts, start=1):
        for block in range(count):
            layers.append(ConvShape(f"stage{stage}_{block}", layers[-1].out_channels, width(channels[stage]),
                                    pool=False, stride=1 if block else 2))
            ends[f"stage{stage}.{block}"] = len(layers)
    return layers, ends
