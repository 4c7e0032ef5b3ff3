"""The network whose forward pass computes the chip's integers, trained through its real parameters."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import PIXEL_BITS
from kestrel.sw.compress.fit import find_rule
from kestrel.sw.compress.fold import InputScale, image_scale, map_scale
from kestrel.sw.compress.mask_rules import RULES
from kestrel.sw.model.blocks import blocks_of
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.graph import last_readers, scale_groups
from kestrel.sw.model.network import IMAGE, NetworkShape, source_of
from kestrel.sw.model.preprocessing import Preprocessing, find_preprocessing
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.retrain.networks.arithmetic import Inputs, Map
from kestrel.sw.retrain.networks.exactness import Exactness
from kestrel.sw.retrain.networks.floats import Outputs
from kestrel.sw.retrain.networks.parameters import float_parameters, latent_parameters
from kestrel.sw.retrain.networks.quantised_conv import Fitting, QuantisedConv, QuantiseOptions

RAISED_MAX = 2.0**20
"""Ranges of maps that must agree are raised together, until scalars and biases fit; more than this, never."""


class QuantisedNetwork(nn.Module):
    """A compressed network together with the float weights from which it is made.

    Parameters: the compressed network, for its settings and ranges; the options; float weights, or None for
    the compressed network's own, in which case the first forward pass equals that network; ``latent``, float
    weights for ``latent_parameters``, used if the network's own weights are taken.

    Layers that share integers are one layer here, whose gradients add up; maps that must have one scale
    (``scale_groups``) have one range, a parameter of all their layers.

    Raises InputError when the weights do not fit the network.

    Members: ``shape``, the network's; ``layers``, those that have integers of their own, in their order.
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
        shapes = tuple(layer.shape for layer in network.layers)
        self.shape = NetworkShape(network.name, shapes, (), network.blocks)
        self.activation_bits = network.activation_bits
        self.preprocessing = find_preprocessing(network.preprocessing)
        self.pad = network.pad
        if weights is None:
            masters = latent_parameters(network, options.fit, latent)
        else:
            masters = float_parameters(network, weights)
        self._trained = [layer.trained for layer in network.layers]
        self._owners = [n for n, shape in enumerate(shapes) if shape.shares is None]
        self._places = {n: place for place, n in enumerate(self._owners)}
        self.layers = nn.ModuleList(
            QuantisedConv(network.layers[n], network.activation_bits, options, masters[n])
            for n in self._owners
        )
        self._groups = scale_groups(shapes)
        self._join_ranges(network)
        self._exact: Exactness = {}
        if weights is None:
            self._recall(network)
        self.quantise("fit" if weights is not None else "keep")

    def _join_ranges(self, network: CompressedNetwork) -> None:
        """Gives one range to all layers whose outputs must have one scale. Raises InputError if they have
        several."""
        for number, group in enumerate(self._groups):
            one, other = network.layers[group], network.layers[number]
            if one.scale != other.scale:
                raise InputError(
                    f"scale of layer {other.shape.name} = {other.scale:g}; allowed: {one.scale:g}, that of "
                    f"{one.shape.name}, since layers share integers"
                )
            self._conv(number).log_range = self._conv(group).log_range

    def _recall(self, network: CompressedNetwork) -> None:
        """Takes the network's own masks and scalars as the last fit."""
        for number in self._owners:
            layer, stored = self._conv(number), network.layers[number]
            source = source_of(self.shape.layers, number)
            inputs = self._image() if source == IMAGE else map_scale(network.layers[source])
            alpha = stored.alpha * (stored.scale * 2.0**-stored.shift / inputs.scale)
            layer.recall(torch.from_numpy(stored.mask), torch.from_numpy(alpha))
            if layer.scalars is not None:
                layer.scalars.data.copy_(layer.last_alpha)

    def _image(self) -> InputScale:
        """What the first layer's input means."""
        return image_scale(self.preprocessing, self.activation_bits, blocks=self.shape.blocks)

    def _conv(self, number: int) -> QuantisedConv:
        """The layer that has the integers of layer ``number`` of the network."""
        shares = self.shape.layers[number].shares
        found = self.layers[self._places[number if shares is None else shares]]
        assert isinstance(found, QuantisedConv)
        return found

    def convs(self) -> list[QuantisedConv]:
        """``layers``, with their type."""
        return [layer for layer in self.layers if isinstance(layer, QuantisedConv)]

    @property
    def device(self) -> torch.device:
        return self.convs()[0].weight.device

    def quantise(self, how: Fitting) -> None:
        """Computes the integers of all layers from the present parameters; call it after each change."""
        raised = dict.fromkeys(self._groups, 1.0)
        found = self._image()
        scale, zero = (torch.from_numpy(v).to(self.device) for v in (found.scale, found.zero))
        image = Inputs(scale, zero)
        while not self._quantise(how, image, raised):
            how = "keep"  # the weights are the same: only scales have changed
            if max(raised.values()) > RAISED_MAX:
                raise InputError("training diverged: scalars no longer fit 8 bits; allowed: a lower --rate")

    def _quantise(self, how: Fitting, image: Inputs, raised: dict[int, float]) -> bool:
        """One pass of ``quantise``, with the ranges of all groups enlarged by ``raised``. False, with what is
        needed in ``raised``, if a range had to be enlarged that belongs to several maps: they must all be
        enlarged alike."""
        done, shapes = True, self.shape.layers
        for number in self._owners:
            layer, shape, source = self._conv(number), shapes[number], source_of(shapes, number)
            inputs = image
            if source != IMAGE:
                size, scale = (shape.in_channels,), self._conv(source).integers.scale
                inputs = Inputs(
                    torch.full(size, scale, dtype=torch.float64, device=self.device),
                    torch.zeros(size, dtype=torch.float64, device=self.device),
                )
            if shape.shortcut is not None:
                given = self._conv(shape.shortcut.source).integers.scale
                inputs = replace(inputs, shortcut_scale=given)
            group = self._groups[number]
            layer.quantise(inputs, how, raised[group])
            if layer.integers.raised > raised[group]:
                raised[group] = layer.integers.raised
                done = done and self._groups.count(group) == 1
        return done

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
        """(layer, integers, logarithm of their scale) for the wanted layers, in their order. ``pixels`` are
        the first layer's input, integers, float32 [N, C, H, W], as ``integer_pixels`` makes them."""
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        maps = {IMAGE: Map(pixels.contiguous(memory_format=LAYOUT), zero)}
        shapes = self.shape.layers
        readers = last_readers(shapes)
        found: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        for number, shape in enumerate(shapes[: max(wanted) + 1]):
            other = None if shape.shortcut is None else maps[shape.shortcut.source]
            pad = self._border() if number == 0 and shape.kernel > 1 else None
            result = self._conv(number)(shape, maps[source_of(shapes, number)], other, pad, self._exact)
            maps[number] = result
            if number in wanted:
                found.append((number, result.integers, result.log_scale))
            for index in [n for n in maps if n == IMAGE or readers[n] <= number]:
                del maps[index]
        return found

    def _border(self) -> torch.Tensor:
        """What stands outside the first layer's input, float32 [1, C, 1, 1]."""
        return torch.from_numpy(self.pad.astype(np.float32)).to(self.device).view(1, -1, 1, 1)

    def forward(self, pictures: torch.Tensor, wanted: Collection[int]) -> Outputs:
        """The real activations of the wanted layers, for ``pictures`` uint8 RGB [N, H, W, 3]."""
        pixels = integer_pixels(
            pictures, self.preprocessing, self.activation_bits, blocks=self.shape.blocks
        )
        return {
            index: x * log_scale.exp().float() for index, x, log_scale in self.integer_maps(pixels, wanted)
        }

    def export(self) -> CompressedNetwork:
        """The integers of the last ``quantise``, as a network that every other command accepts."""
        own = {number: _export_layer(self._conv(number)) for number in self._owners}
        layers = tuple(
            replace(own[number if shape.shares is None else shape.shares], shape=shape, trained=trained)
            for number, (shape, trained) in enumerate(zip(self.shape.layers, self._trained, strict=True))
        )
        return CompressedNetwork(
            self.shape.name, self.activation_bits, self.preprocessing.name, self.pad, layers,
            self.shape.blocks,
        )  # fmt: skip


def _export_layer(layer: QuantisedConv) -> CompressedLayer:
    found = layer.integers
    mask, alpha, bias = (t.cpu().numpy() for t in (found.mask, found.alpha, found.bias))
    shortcut = None if found.shortcut_alpha is None else found.shortcut_alpha.cpu().numpy()
    sign = None if found.shortcut_sign is None else found.shortcut_sign.cpu().numpy()
    return CompressedLayer(
        layer.shape,
        layer.mask_bits,
        mask.astype(np.int8),
        alpha.astype(np.uint8),
        bias.astype(np.int16),
        found.shift,
        found.scale,
        shortcut_alpha=None if shortcut is None else shortcut.astype(np.uint8),
        shortcut_sign=None if sign is None else sign.astype(np.int8),
        shortcut_shift=found.shortcut_shift,
        scalar_bits=layer.scalar_bits,
    )


def integer_pixels(
    pictures: torch.Tensor, preprocessing: Preprocessing, activation_bits: int, *, blocks: bool = False
) -> torch.Tensor:
    """Turns uint8 RGB [N, H, W, 3] into the first layer's input: the chip's, float32 [N, 3, H, W], or with
    ``blocks`` that in 2x2 blocks, [N, 27, ceil(H/2), ceil(W/2)].

    See docs/arithmetic.md, section 1.
    """
    x = pictures[:, :, :, list(preprocessing.channels)].permute(0, 3, 1, 2).float()
    if activation_bits < PIXEL_BITS:
        step = 1 << (PIXEL_BITS - activation_bits)
        x = ((x + step // 2) / step).floor().clamp(max=(1 << activation_bits) - 1)
    if blocks:
        x = blocks_of(x, torch.from_numpy(preprocessing.pad(activation_bits)).to(x.device))
    return x
