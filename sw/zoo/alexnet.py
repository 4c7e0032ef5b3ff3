"""AlexNet in its first form: 96 kernels of 11x11, two groups, response normalisation (Krizhevsky et al.
2012).

Table 1 of Chandrasekhar et al. prints 5x5 for the first layer and 3x3 for the second, one line off; its 2.3 M
parameters are those of this network with groups. torchvision's is another, of 2.47 M (64 kernels at first, no
groups), whose key names are used here.
"""

from torch import Tensor
from torch.nn import functional

from kestrel.sw.zoo.layers import Layers, Maps, max_pool, relu


def forward(layers: Layers, x: Tensor) -> Maps:
    """pool1, pool2, conv3_relu, conv4_relu, pool5, fc6, fc7, fc8."""
    x = max_pool(_normalised(relu(layers.conv("features.0", x, 96, 11, 4))))
    yield "pool1", x
    x = max_pool(_normalised(relu(layers.conv("features.3", x, 256, 5, padding=2, groups=2))))
    yield "pool2", x
    x = relu(layers.conv("features.6", x, 384, 3, padding=1))
    yield "conv3_relu", x
    x = relu(layers.conv("features.8", x, 384, 3, padding=1, groups=2))
    yield "conv4_relu", x
    x = max_pool(relu(layers.conv("features.10", x, 256, 3, padding=1, groups=2)))
    yield "pool5", x
    x = relu(layers.dense("classifier.1", x, 4096))
    yield "fc6", x
    x = relu(layers.dense("classifier.4", x, 4096))
    yield "fc7", x
    yield "fc8", layers.dense("classifier.6", x, 1000)


def _normalised(x: Tensor) -> Tensor:
    return functional.local_response_norm(x, 5, 1e-4, 0.75, 1.0)
