"""A residual network whose blocks share their convolutions within a stage, each repetition with a batch norm
of its own (Chandrasekhar et al., table 1 and figure 4; Liao and Poggio 2016).

The sources do not say how a stage's first repetition halves the map and doubles its channels, which the
shared pair cannot do; here a 3x3 convolution of stride 2 does it, as in
``kestrel.sw.model.residual_networks``. With it, the classifier and the batch norms there are 8.36 M
parameters; table 2 says 8.4 M. """

from collections.abc import Callable

from torch import Tensor

from kestrel.sw.model.residual_networks import SHARED_BLOCKS
from kestrel.sw.zoo.layers import Layers, Maps, max_pool, mean_pool, relu
from kestrel.sw.zoo.resnet import CHANNELS


def shared_resnet(*, sharing: bool = True) -> Callable[[Layers, Tensor], Maps]:
    """The network, or with ``sharing`` off the same one with weights for every repetition."""

    def forward(layers: Layers, x: Tensor) -> Maps:
        """pool1, stage1 to stage4, fc."""
        x = max_pool(relu(layers.norm("bn1", layers.conv("conv1", x, 64, 7, 2, 3, bias=False))), padding=1)
        yield "pool1", x
        for stage, (count, channels) in enumerate(zip(SHARED_BLOCKS, CHANNELS, strict=True), start=1):
            if stage > 1:
                key = f"layer{stage}.down"
                x = relu(layers.norm(f"{key}.1", layers.conv(f"{key}.0", x, channels, 3, 2, 1, bias=False)))
            for number in range(count):
                owner = f"layer{stage}.{0 if sharing else number}"
                key = f"layer{stage}.{number}"
                y = layers.conv(f"{owner}.conv1", x, channels, 3, padding=1, bias=False)
                y = layers.conv(f"{owner}.conv2", relu(layers.norm(f"{key}.bn1", y)), channels, 3, padding=1,
                                bias=False)
                x = relu(layers.norm(f"{key}.bn2", y) + x)
            yield f"stage{stage}", x
        yield "fc", layers.dense("fc", mean_pool(x), 1000)

    return forward
