"""What a network expects of its input image: channel order, mean and scale."""

from dataclasses import dataclass

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import ACTIVATION_BITS_MAX, ACTIVATION_BITS_MIN, PIXEL_BITS


@dataclass(frozen=True)
class Preprocessing:
    """How 8-bit RGB pixels become the network's real input: ``(pixel - mean) * scale`` in each channel.

    ``channels`` gives the RGB index of each channel of the network. ``mean`` is in 8-bit pixel units and
    ``scale`` is the real input of one pixel step, both in the network's channel order. The chip itself always
    gets raw pixels in the network's channel order, since mean and scale are folded into the first layer.
    """

    name: str
    channels: tuple[int, int, int]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    def pixels(self, rgb: np.ndarray) -> np.ndarray:
        """Turns uint8 RGB [H, W, 3] into uint8 [3, H, W] in the network's channel order."""
        return np.ascontiguousarray(rgb[:, :, list(self.channels)].transpose(2, 0, 1))

    def real_input(self, rgb: np.ndarray) -> np.ndarray:
        """Turns uint8 RGB [H, W, 3] into the float network's input, float32 [3, H, W]."""
        mean = np.asarray(self.mean, dtype=np.float32)[:, None, None]
        scale = np.asarray(self.scale, dtype=np.float32)[:, None, None]
        return (self.pixels(rgb).astype(np.float32) - mean) * scale

    def pad(self, activation_bits: int) -> np.ndarray:
        """The input value nearest to real zero, which pads the image. uint8 [3]."""
        step = input_step(activation_bits)
        value = np.floor(np.asarray(self.mean, dtype=np.float64) / step + 0.5)
        return np.clip(value, 0, (1 << activation_bits) - 1).astype(np.uint8)


def input_step(activation_bits: int) -> int:
    """The number of pixel steps in one unit of the integer network's input."""
    return 1 << (PIXEL_BITS - activation_bits)


def check_activation_bits(activation_bits: int) -> None:
    """Raises InputError unless the engine's arithmetic allows this number of activation bits."""
    if not ACTIVATION_BITS_MIN <= activation_bits <= ACTIVATION_BITS_MAX:
        raise InputError(f"activation bits = {activation_bits}; "
                         f"allowed: {ACTIVATION_BITS_MIN}..{ACTIVATION_BITS_MAX}")


_FULL_SCALE = (1 << PIXEL_BITS) - 1

PREPROCESSINGS: dict[str, Preprocessing] = {
    p.name: p
    for p in (
        # The published VGG models were trained in Caffe: BGR, minus ImageNet's mean pixel, no scaling.
        Preprocessing("caffe", (2, 1, 0), (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
        # torchvision: RGB in 0..1, minus ImageNet's mean, divided by its standard deviation.
        Preprocessing(
            "torchvision", (0, 1, 2),
            mean=(0.485 * _FULL_SCALE, 0.456 * _FULL_SCALE, 0.406 * _FULL_SCALE),
            scale=(1 / (0.229 * _FULL_SCALE), 1 / (0.224 * _FULL_SCALE), 1 / (0.225 * _FULL_SCALE)),
        ),
        Preprocessing("none", (0, 1, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    )
}


def find_preprocessing(name: str) -> Preprocessing:
    """The preprocessing called ``name``. Raises InputError."""
    if name not in PREPROCESSINGS:
        raise InputError(f"preprocessing {name!r} is not known; allowed: {', '.join(PREPROCESSINGS)}")
    return PREPROCESSINGS[name]
