"""Residual networks of basic blocks and of bottlenecks (He et al. 2016), batch norm apart."""

from collections.abc import Callable, Sequence

from torch import Tensor

from kestrel.sw.zoo.layers import Layers, Maps, max_pool, mean_pool, relu

CHANNELS = (64, 128, 256, 512)
EXPANSION = 4
"""Channels of a bottleneck's output for each of its inner ones."""


def resnet(blocks: Sequence[int], *, bottleneck: bool) -> Callable[[Layers, Tensor], Maps]:
    """The network with so many blocks in its four stages."""
    block = _bottleneck if bottleneck else _basic

    def forward(layers: Layers, x: Tensor) -> Maps:
        """pool1, every block as layerS.N, fc."""
        x = relu(layers.norm("bn1", layers.conv("conv1", x, 64, 7, 2, 3, bias=False)))
        x = max_pool(x, padding=1)
        yield "pool1", x
        for stage, (count, channels) in enumerate(zip(blocks, CHANNELS, strict=True), start=1):
            for number in range(count):
                x = block(layers, f"layer{stage}.{number}", x, channels, 2 if stage > 1 and not number else 1)
                yield f"layer{stage}.{number}", x
        yield "fc", layers.dense("fc", mean_pool(x), 1000)

    return forward


def _basic(layers: Layers, key: str, x: Tensor, channels: int, stride: int) -> Tensor:
    y = relu(layers.norm(f"{key}.bn1", layers.conv(f"{key}.conv1", x, channels, 3, stride, 1, bias=False)))
    y = layers.norm(f"{key}.bn2", layers.conv(f"{key}.conv2", y, channels, 3, padding=1, bias=False))
    return relu(y + _shortcut(layers, key, x, channels, stride))


def _bottleneck(layers: Layers, key: str, x: Tensor, channels: int, stride: int) -> Tensor:
    y = relu(layers.norm(f"{key}.bn1", layers.conv(f"{key}.conv1", x, channels, 1, bias=False)))
    # torchvision has the stride in the 3x3 convolution, the first publication in the 1x1 before it.
    y = relu(layers.norm(f"{key}.bn2", layers.conv(f"{key}.conv2", y, channels, 3, stride, 1, bias=False)))
    y = layers.norm(f"{key}.bn3", layers.conv(f"{key}.conv3", y, channels * EXPANSION, 1, bias=False))
    return relu(y + _shortcut(layers, key, x, channels * EXPANSION, stride))


def _shortcut(layers: Layers, key: str, x: Tensor, channels: int, stride: int) -> Tensor:
    if stride == 1 and x.shape[1] == channels:
        return x
    y = layers.conv(f"{key}.downsample.0", x, channels, 1, stride, bias=False)
    return layers.norm(f"{key}.downsample.1", y)
