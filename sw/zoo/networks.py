"""The float networks of the companion papers by name, with what they read and where the papers cut them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.preprocessing import PREPROCESSINGS, Preprocessing
from kestrel.sw.zoo import alexnet, efficientnet, squeezenet, vgg
from kestrel.sw.zoo.layers import Layers, Maps
from kestrel.sw.zoo.resnet import resnet
from kestrel.sw.zoo.shared_resnet import shared_resnet

SQUEEZENET_INPUT = Preprocessing("squeezenet", (2, 1, 0), (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
"""The published SqueezeNet's: as Caffe's VGG, with a rounded mean."""
SHARED_CUTS = {f"conv{n}": f"stage{n}" for n in range(1, 5)}
"""Section 4 counts from conv1 the stages that table 1 counts from conv2_x."""

LITE_INPUT = Preprocessing("lite", (0, 1, 2), (127.0, 127.0, 127.0), (1 / 128, 1 / 128, 1 / 128))
"""EfficientNet-Lite's."""


@dataclass(frozen=True)
class Architecture:
    """A network. forward: see ``kestrel.sw.zoo.layers``; preprocessing: what it expects; cuts: the four of
    section 4 of Chandrasekhar et al., their name -> ours; kestrel: the name under which
    ``kestrel.sw.model.network`` knows the same layers, "" where the engine does not run it; side: of the
    smallest image."""

    name: str
    forward: Callable[[Layers, Tensor], Maps]
    preprocessing: Preprocessing
    cuts: Mapping[str, str] = field(default_factory=dict)
    kestrel: str = ""
    side: int = 32


def _bottlenecks(name: str, blocks: tuple[int, ...], cuts: Mapping[str, str]) -> Architecture:
    return Architecture(name, resnet(blocks, bottleneck=True), PREPROCESSINGS["torchvision"], cuts)


def _named(*names: str) -> dict[str, str]:
    return {name: name for name in names}


ARCHITECTURES: dict[str, Architecture] = {found.name: found for found in (
    # 227 is what its dense layers need; smaller images leave nothing in front of them.
    Architecture("alexnet", alexnet.forward, PREPROCESSINGS["caffe"],
                 _named("pool1", "pool2", "conv3_relu", "pool5"), side=227),
    Architecture("vgg16", vgg.forward, PREPROCESSINGS["caffe"],
                 {**_named("pool3", "pool4"), "conv5a_relu": "conv5_1", "pool5": "pool5"}, "vgg16"),
    Architecture("resnet18", resnet((2, 2, 2, 2), bottleneck=False), PREPROCESSINGS["torchvision"],
                 kestrel="resnet18"),
    _bottlenecks("resnet50", (3, 4, 6, 3), {"res3d_relu": "layer2.3", "res4c_relu": "layer3.2",
                                            "res4f_relu": "layer3.5", "pool5": "layer4.2"}),
    _bottlenecks("resnet152", (3, 8, 36, 3), {"res3b7_relu": "layer2.7", "res4b15_relu": "layer3.15",
                                              "res4b35_relu": "layer3.35", "pool5": "layer4.2"}),
    Architecture("shared_resnet", shared_resnet(), PREPROCESSINGS["torchvision"],
                 SHARED_CUTS),
    Architecture("unshared_resnet", shared_resnet(sharing=False), PREPROCESSINGS["torchvision"],
                 SHARED_CUTS),
    Architecture("squeezenet1_0", squeezenet.VERSION_1_0, SQUEEZENET_INPUT),
    Architecture("squeezenet1_1", squeezenet.VERSION_1_1, PREPROCESSINGS["torchvision"]),
    Architecture("efficientnet_lite0", efficientnet.forward, LITE_INPUT),
)}

_COUNTED = re.compile(r"resnet((?:_[1-9][0-9]?){4})")


def find_architecture(name: str) -> Architecture:
    """The network called ``name``; ``resnet_2_2_2_3`` and the like are residual networks of basic blocks with
    these numbers of them. Raises InputError."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    match = _COUNTED.fullmatch(name)
    if match is None:
        raise InputError(f"network {name!r} is not known; allowed: {', '.join(ARCHITECTURES)}, and "
                         "resnet_2_2_2_3 with the basic blocks of each stage")
    blocks = tuple(int(count) for count in match[1].split("_")[1:])
    return Architecture(name, resnet(blocks, bottleneck=False), PREPROCESSINGS["torchvision"], kestrel=name)
