"""VGG-16 (Simonyan and Zisserman 2015, column D). Table 1 of Chandrasekhar et al. prints column C's 1x1
kernels; its 14.7 M parameters are column D's."""

from torch import Tensor

from kestrel.sw.model.network import VGG_BLOCKS, VGG_CHANNELS
from kestrel.sw.zoo.layers import Layers, Maps, max_pool, relu


def forward(layers: Layers, x: Tensor) -> Maps:
    """Every convolution behind its ReLU, convB_N, every poolB, fc6, fc7, fc8."""
    feature = 0
    for block, (count, channels) in enumerate(zip(VGG_BLOCKS["vgg16"], VGG_CHANNELS, strict=True), start=1):
        for number in range(1, count + 1):
            x = relu(layers.conv(f"features.{feature}", x, channels, 3, padding=1))
            feature += 2
            yield f"conv{block}_{number}", x
        x = max_pool(x, 2)
        feature += 1
        yield f"pool{block}", x
    for key, name, outputs in (("classifier.0", "fc6", 4096), ("classifier.3", "fc7", 4096),
                               ("classifier.6", "fc8", 1000)):
        x = layers.dense(key, x, outputs)
        x = x if name == "fc8" else relu(x)
        yield name, x
