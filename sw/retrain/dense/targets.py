"""What the six deep layers of VGG-16 start from: sums inside a ResNet-18 that is cut behind layer4.0.

=========  ============================================================================================
conv4_1    layer2.1, the sums of layer3.0's first convolution at every position, and the main components
           of pool3 with both signs
conv4_2    the same
conv4_3    the sums of layer3.0 and of layer3.1
conv5_1    the sums of layer4.0's first convolution at every position
conv5_2    the sums of layer4.0
conv5_3    layer4.0, that is the same behind its ReLU
=========  ============================================================================================
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from kestrel.sw.retrain.dense.passes import FRONT, Maps, Pass
from kestrel.sw.retrain.networks.floats import FloatConv, FloatConvs

TEACHER_LAYERS = ("layer2_1_conv2", "layer3_0_conv2", "layer3_1_conv2", "layer4_0_conv2")
LAYER2_1, LAYER3_0, LAYER3_1, LAYER4_0 = TEACHER_LAYERS

FEW = 8
"""The components are those of every eighth crop."""


@dataclass(frozen=True)
class Targets:
    """``components``, [K, C], of the scaled map behind the frozen layers."""

    teacher: FloatConvs
    scale: torch.Tensor
    components: torch.Tensor

    def taught(self, number: int) -> tuple[str, ...]:
        """The maps that ``of`` needs for layer ``number``, counted from conv4_1."""
        return ((LAYER2_1, FRONT), (LAYER2_1, FRONT), (LAYER2_1, LAYER3_0), (LAYER3_1,), (LAYER3_1,),
                (LAYER4_0,))[number]

    def of(self, number: int, maps: Maps) -> torch.Tensor:
        """float32 [N, C_out, H, W] of the size of the map that layer ``number`` reads."""
        if number < 2:
            passed = torch.einsum("kc,nchw->nkhw", self.components, maps[FRONT] * self.scale[:, None, None])
            inside = self._first("layer3_0", maps[LAYER2_1], stride=1)
            return torch.cat([maps[LAYER2_1], inside, passed, -passed], dim=1)
        if number == 2:
            return _enlarged(torch.cat([self._block("layer3_0", maps[LAYER2_1]),
                                        self._block("layer3_1", maps[LAYER3_0])], dim=1))
        if number == 3:
            return self._first("layer4_0", maps[LAYER3_1], stride=1)
        if number == 4:
            return _enlarged(self._block("layer4_0", maps[LAYER3_1]))
        # Of its sums below 0 nothing is left in what the last layer reads.
        return _enlarged(maps[LAYER4_0])

    def _conv(self, name: str) -> FloatConv:
        return next(conv for conv in self.teacher.convs() if conv.shape.name == name)

    def _first(self, block: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        conv = self._conv(f"{block}_conv1")
        return functional.conv2d(x, conv.weight, conv.bias, stride, padding=1)

    def _block(self, block: str, x: torch.Tensor) -> torch.Tensor:
        """The sums of a block, before its last ReLU."""
        stride, second = self._conv(f"{block}_conv1").shape.stride, self._conv(f"{block}_conv2")
        inside = self._first(block, x, stride).relu()
        total = functional.conv2d(inside, second.weight, second.bias, padding=1)
        link, given = second.shape.shortcut, second.shortcut
        assert link is not None
        assert given is not None
        if link.projection:
            return total + functional.conv2d(x, given[:, :, None, None], stride=link.stride)
        return total + x * given[:, None, None]


def _enlarged(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def channel_scale(given: Pass) -> torch.Tensor:
    """What makes the deviation of each channel behind the frozen layers 1, [C]."""
    front = given.read(range(0, len(given), FEW), [FRONT])[FRONT]
    return 1 / front.std((0, 2, 3)).clamp_min(1e-6)


def main_components(given: Pass, scale: torch.Tensor, count: int) -> torch.Tensor:
    """The directions in which the scaled map varies most, [count, C], each divided by its deviation."""
    front = given.read(range(0, len(given), FEW), [FRONT])[FRONT] * scale[:, None, None]
    values, vectors = torch.linalg.eigh(torch.cov(front.permute(1, 0, 2, 3).flatten(1).double()))
    return (vectors[:, -count:] / values[-count:].clamp_min(1e-12).sqrt()).T.float()
