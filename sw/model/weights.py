"""The float weights of a network, and those drawn from a seeded random generator. Files of them:
``kestrel.sw.model.storage``."""

import re
from dataclasses import dataclass, field

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.blocks import STEM_SIZE, blocks_kernel
from kestrel.sw.model.network import IMAGE_CHANNELS, ConvShape, NetworkShape

RANDOM_PREFIX = "random:"
SEED_MAX = (1 << 32) - 1

RANDOM_BIAS = 1.0
"""The standard deviation of a random network's biases, in pixel steps: small compared with its activations
(tens to hundreds of steps), but large enough that every bias is visible in the integers."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights came from.

    ``kind`` is the kind of file, or "random" without a file. ``prefix`` stood before the known names of its
    keys. ``batch_norm`` names the layers into which a batch norm was folded. ``unused`` are the keys or nodes
    of the file that were not needed. ``remarks`` are what a user should know, one line each.
    """

    kind: str = ""
    prefix: str = ""
    batch_norm: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FloatNetwork:
    """Weights, float32 [C_out, C_in, k, k] with k = 3 or 1, and biases, float32 [C_out], one of each for
    every layer.

    ``untrained`` names the layers whose weights are random numbers and were not learned. ``shortcuts`` has
    for every layer None, the weights of its projection, float32 [C_out, C_shortcut], or the factors of its
    identity, float32 [C_out]; it is empty if no layer has a shortcut.
    """

    shape: NetworkShape
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    untrained: frozenset[str] = frozenset()
    origin: WeightsOrigin = field(default=WeightsOrigin(), compare=False)
    shortcuts: tuple[np.ndarray | None, ...] = ()

    def shortcut(self, number: int) -> np.ndarray | None:
        """The layer's entry in ``shortcuts``."""
        return self.shortcuts[number] if self.shortcuts else None


def parse_seed(source: str, what: str = "weights") -> int:
    """The number in ``random:SEED``; ``what`` says in messages what it is for. Raises InputError."""
    if not source.startswith(RANDOM_PREFIX):
        raise InputError(f"{what} {source!r}; allowed: {RANDOM_PREFIX}SEED")
    digits = source.removeprefix(RANDOM_PREFIX)
    if re.fullmatch("[0-9]{1,10}", digits) is None or int(digits) > SEED_MAX:
        raise InputError(f"{what} {source!r}: seed {digits!r}; allowed: a whole number 0..{SEED_MAX}")
    return int(digits)


def random_network(shape: NetworkShape, seed: int, pixel_step: float = 1.0) -> FloatNetwork:
    """A network of normally distributed weights of variance 2 / fan-in, which keeps the size of the
    activations from layer to layer (He et al. 2015, equation 10). A seed gives the same on every machine.

    Behind an identity the variance is a quarter of that, so that sums grow slowly, and a projection has half
    of it, as its map has been through a ReLU and does not pass one before the sum.
    """
    generator = np.random.default_rng(seed)
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    shortcuts: list[np.ndarray | None] = []
    for number, layer in enumerate(shape.layers):
        if layer.shares is not None:
            weights.append(weights[layer.shares])
            biases.append(biases[layer.shares])
            shortcuts.append(shortcuts[layer.shares])
            continue
        weight, bias = random_layer(layer, generator, pixel_step)
        if shape.blocks and number == 0:
            weight = _random_stem(layer, generator)
        shortcut = None
        if layer.shortcut is not None:
            weight = weight / 2
            shortcut = np.ones(layer.out_channels, np.float32)
        if layer.shortcut is not None and layer.shortcut.projection:
            given = shape.layers[layer.shortcut.source].out_channels
            shortcut = generator.standard_normal((layer.out_channels, given)) / np.sqrt(given)
        weights.append(weight)
        biases.append(bias)
        shortcuts.append(None if shortcut is None else shortcut.astype(np.float32))
    return FloatNetwork(shape, tuple(weights), tuple(biases), frozenset(s.name for s in shape.layers),
                        WeightsOrigin("random"), tuple(shortcuts) if has_shortcuts(shape) else ())


def has_shortcuts(shape: NetworkShape) -> bool:
    """Whether any layer of ``shape`` has a shortcut."""
    return any(layer.shortcut is not None for layer in shape.layers)


def _random_stem(layer: ConvShape, generator: np.random.Generator) -> np.ndarray:
    """Weights on an image in blocks that are a 7x7 convolution's."""
    size = (layer.out_channels, IMAGE_CHANNELS, STEM_SIZE, STEM_SIZE)
    deviation = np.sqrt(2.0 / (IMAGE_CHANNELS * STEM_SIZE**2))
    return blocks_kernel(generator.standard_normal(size) * deviation).astype(np.float32)


def random_layer(
    layer: ConvShape, generator: np.random.Generator, pixel_step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of one layer without shortcut, from ``generator``; see ``random_network``."""
    size = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    weight = generator.standard_normal(size) * np.sqrt(2.0 / (layer.kernel**2 * layer.in_channels))
    bias = generator.standard_normal(layer.out_channels) * (RANDOM_BIAS * pixel_step)
    return weight.astype(np.float32), bias.astype(np.float32)
