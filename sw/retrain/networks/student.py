"""The network whose forward pass computes the chip's integers, trained through its real parameters."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import nn

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.compress.fit import find_rule
from kestrel.sw.compress.fold import image_scale
from kestrel.sw.compress.mask_rules import RULES
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.preprocessing import Preprocessing, find_preprocessing
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.retrain.networks import arithmetic
from kestrel.sw.retrain.networks.floats import Outputs
from kestrel.sw.retrain.networks.parameters import latent_parameters
from kestrel.sw.retrain.networks.quantised_conv import Fitting, QuantisedConv, QuantiseOptions


class QuantisedNetwork(nn.Module):
    """A compressed network together with the float weights from which it is made.

    Parameters: the compressed network, for its settings and ranges; the options; float weights, or None for
    the compressed network's own, in which case the first forward pass equals that network; ``latent``, float
    weights for ``latent_parameters``, used if the network's own weights are taken.

    Raises InputError when the weights do not fit the network.
    """

    def __init__(
        self,
        network: CompressedNetwork,
        options: QuantiseOptions,
        weights: FloatNetwork | None = None,
        *,
        latent: FloatNetwork | None = None,
    ) -> None:
        super().__init__()
        find_rule(options.fit, RULES)
        self.name = network.name
        self.activation_bits = network.activation_bits
        self.preprocessing = find_preprocessing(network.preprocessing)
        self.pad = network.pad
        masters = (
            latent_parameters(network, options.fit, latent)
            if weights is None
            else [
                (torch.from_numpy(w), torch.from_numpy(b))
                for w, b in zip(weights.weights, weights.biases, strict=True)
            ]
        )
        if len(masters) != len(network.layers):
            raise InputError(
                f"weights of {len(masters)} layers; allowed: {len(network.layers)}, those of {network.name}"
            )
        for layer, (weight, _) in zip(network.layers, masters, strict=True):
            if tuple(weight.shape) != layer.mask.shape:
                raise InputError(
                    f"weights of {layer.shape.name}: {list(weight.shape)}; "
                    f"allowed: {list(layer.mask.shape)}, the network's"
                )
        self.layers = nn.ModuleList(
            QuantisedConv(layer, network.activation_bits, options, weight, bias)
            for layer, (weight, bias) in zip(network.layers, masters, strict=True)
        )
        self._exact: arithmetic.Exactness = {}
        if weights is None:
            self._recall(network)
        self.quantise("fit" if weights is not None else "keep")

    def _recall(self, network: CompressedNetwork) -> None:
        """Takes the network's own masks and scalars as the last fit."""
        scale = image_scale(self.preprocessing, self.activation_bits).scale
        for layer, stored in zip(self.convs(), network.layers, strict=True):
            alpha = stored.alpha * (stored.scale * 2.0**-stored.shift / scale)
            layer.recall(torch.from_numpy(stored.mask), torch.from_numpy(alpha))
            if layer.scalars is not None:
                layer.scalars.data.copy_(layer.last_alpha)
            scale = np.full(stored.shape.out_channels, stored.scale)

    def convs(self) -> list[QuantisedConv]:
        return [layer for layer in self.layers if isinstance(layer, QuantisedConv)]

    @property
    def device(self) -> torch.device:
        return self.convs()[0].weight.device

    def quantise(self, how: Fitting) -> None:
        """Computes the integers of all layers from the present parameters; call it after each change."""
        first = image_scale(self.preprocessing, self.activation_bits)
        inputs = tuple(torch.from_numpy(v).to(self.device) for v in (first.scale, first.zero))
        scale, zero = inputs
        for layer in self.convs():
            layer.quantise((scale, zero), how)
            channels = layer.shape.out_channels
            scale = torch.full((channels,), layer.integers.scale, dtype=torch.float64, device=self.device)
            zero = torch.zeros(channels, dtype=torch.float64, device=self.device)

    def set_mask_bits(self, mask_bits: Sequence[int]) -> None:
        """Sets other mask widths, layer by layer, which apply from the next ``quantise`` on."""
        for layer, bits in zip(self.convs(), mask_bits, strict=True):
            layer.set_mask_bits(bits)

    def loaded(self, mask_bits: Sequence[int]) -> None:
        """Must be called after ``load_state_dict``: takes over the widths and the fit of what was loaded."""
        for layer, bits in zip(self.convs(), mask_bits, strict=True):
            layer.mask_bits = bits
            layer.recall(layer.last_mask, layer.last_alpha)
        self.quantise("keep")

    def integer_maps(
        self, pixels: torch.Tensor, wanted: Collection[int]
    ) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        """(layer, integers, logarithm of their scale) for the wanted layers. ``pixels`` are integers, float32
        [N, C, H, W], as ``integer_pixels`` makes them."""
        pad: torch.Tensor | None = (
            torch.from_numpy(self.pad.astype(np.float32)).to(self.device).view(1, -1, 1, 1)
        )
        x = pixels.contiguous(memory_format=LAYOUT)
        log_scale = torch.zeros((), dtype=torch.float64, device=self.device)
        found: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        for index, layer in enumerate(self.convs()):
            x, log_scale = layer(x, log_scale, pad, self._exact)
            pad = None
            if index in wanted:
                found.append((index, x, log_scale))
            if index == max(wanted):
                break
        return found

    def forward(self, pictures: torch.Tensor, wanted: Collection[int]) -> Outputs:
        """The real activations of the wanted layers, for ``pictures`` uint8 RGB [N, H, W, 3]."""
        pixels = integer_pixels(pictures, self.preprocessing, self.activation_bits)
        return {
            index: x * log_scale.exp().float() for index, x, log_scale in self.integer_maps(pixels, wanted)
        }

    def export(self) -> CompressedNetwork:
        """The integers of the last ``quantise``, as a network that every other command accepts."""
        layers = []
        for layer in self.convs():
            found = layer.integers
            mask, alpha, bias = (t.cpu().numpy() for t in (found.mask, found.alpha, found.bias))
            layers.append(
                CompressedLayer(
                    layer.shape,
                    layer.mask_bits,
                    mask.astype(np.int8),
                    alpha.astype(np.uint8),
                    bias.astype(np.int16),
                    found.shift,
                    found.scale,
                    layer.trained,
                )
            )
        return CompressedNetwork(
            self.name, self.activation_bits, self.preprocessing.name, self.pad, tuple(layers)
        )


def integer_pixels(
    pictures: torch.Tensor, preprocessing: Preprocessing, activation_bits: int
) -> torch.Tensor:
    """Turns uint8 RGB [N, H, W, 3] into the chip's input, float32 [N, 3, H, W].

    See docs/arithmetic.md, section 1.
    """
    x = pictures[:, :, :, list(preprocessing.channels)].permute(0, 3, 1, 2).float()
    if activation_bits < PIXEL_BITS:
        step = 1 << (PIXEL_BITS - activation_bits)
        x = ((x + step // 2) / step).floor().clamp(max=(1 << activation_bits) - 1)
    return x
