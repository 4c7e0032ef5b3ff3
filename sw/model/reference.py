"""The integer network in torch: every engine must equal it, element by element.

Why it is exact although it convolves in float32
------------------------------------------------
Every integer of magnitude up to 2**24 is a float32, and so is the sum of two such integers as long as it
stays within 2**24: float32 addition, multiplication and fused multiply-add of them round nothing. A direct
convolution (or one by a matrix product) adds up the products w * x of an output, w = alpha * M, in some order
that the library chooses. Whatever the order, every intermediate result is a sum over a subset of these
products. Since x >= 0, the sum over any subset lies between -(2**A - 1) * (sum of the negative |w|) and
(2**A - 1) * (sum of the positive w). If both ends are within 2**24, the convolution is exact.

If they are not, the *input channels* are split into groups, each of which stays within 2**24. The groups'
convolutions together cost as much as the whole one would, and their results are added in float64, which is
exact below 2**53. One channel alone reaches at most 9 * 15 * 255 * 255 = 8,778,375 < 2**24, so a split always
exists.

A shortcut's products count as further products of the same output: only if the sum over any subset of them
all, the bias included, stays within 2**24 is the shortcut added in float32. Otherwise it is a group by itself
(a projection several, split in the same way), computed in float32 and added in float64. One channel of it
reaches at most 2**4 * 255 * 255 = 1,040,400.

Scaling by 2**-s changes only exponents, so weights and bias are scaled beforehand: the convolution yields
exactly (acc + bias + half) * 2**-s, and requantisation is a floor and a clamp. Both are monotone, so the
maximum of a pooling window may be taken before them, which leaves a quarter of the work.

Algorithms that form differences of activations or transform them (Winograd, FFT) and reduced-precision modes
of the library (bfloat16, TF32) would not be exact. NNPACK, the only library here with such algorithms, is
switched off during the convolutions. In addition, before a layer first runs on maps of a given size, the same
convolution is done once with random weights that use the full 24 bits, and is compared with exact sums.
If the results differ, the layer is computed in float64, with a RuntimeWarning, and is named in
``Reference.in_float64``.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.bounds import (
    accumulator_range,
    channel_reach,
    check_accumulators,
    rounding_offset,
    shortcut_reach,
    shortcut_weights,
)
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork
from kestrel.sw.model.exact_convolution import (
    FLOAT32_EXACT,
    LAYOUT,
    Convolution,
    backend_state,
    convolve_in_float64,
    convolve_in_groups,
    convolve_whole,
    prepare,
    probe,
)
from kestrel.sw.model.graph import last_readers
from kestrel.sw.model.network import IMAGE, map_sizes, source_of
from kestrel.sw.model.validation import validate

FLOAT64_BYTES = 8

CHUNK_BYTES = 1 << 25
"""The largest float64 map that is computed at a time. (glibc takes anything larger fresh from the kernel, and
clearing its pages then costs more than the work on them.) Longer batches run in several pieces, which hold
more images where maps are smaller."""


@dataclass(frozen=True)
class _Prepared:
    """A layer that is ready to run.

    ``projection`` or ``identity``, float32 [1, C_out, 1, 1], is there if the layer has such a shortcut.
    ``bias`` is float64 [C_out] and includes the rounding half. ``direct`` says that everything that is added
    up stays within 24 bits.
    """

    layer: CompressedLayer
    main: Convolution
    projection: Convolution | None
    identity: torch.Tensor | None
    bias: torch.Tensor
    direct: bool


class Reference:
    """The network computed in integers on the CPU, exactly (see the module's docstring).

    The parameter is the compressed network. Raises InputError if it is not valid or its accumulators could
    overflow.

    Members: ``network``; ``in_float64``, the names of the layers for which the library's float32 convolution
    was found to be inexact (normally none).
    """

    def __init__(self, network: CompressedNetwork) -> None:
        validate(network)
        check_accumulators(network)
        self.network = network
        self.in_float64: set[str] = set()
        self._greatest = (1 << network.activation_bits) - 1
        self._prepared: dict[int, _Prepared] = {}
        self._pad = torch.from_numpy(network.pad.astype(np.float32)).view(1, -1, 1, 1)
        self._shapes = [layer.shape for layer in network.layers]
        self._last_readers = last_readers(self._shapes)
        self._exact: dict[tuple[object, ...], bool] = {}

    @overload
    def __call__(self, x: np.ndarray) -> np.ndarray: ...

    @overload
    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def __call__(self, x: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """The last layer's maps, uint8 [N, C_l, H_l, W_l], as an array or a tensor like ``x``.

        ``x`` is the network's input (see ``network_input``), uint8 [N, C, H, W] with values below 2**A.
        Raises InputError as ``run`` does.
        """
        if isinstance(x, np.ndarray):
            if x.dtype != np.uint8:
                raise InputError(f"{self.network.name}: input is {x.dtype}; allowed: uint8")
            return self.last(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        return self.last(x)

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of all layers, after requantisation and, where there is one, after the pooling.

        ``x`` is uint8 [N, C, H, W] with N >= 1 and values below 2**A. Returns a uint8 [N, C_l, H_l, W_l] for
        each layer. Raises InputError for any other input, and for one so small that a pooled map would be
        empty.
        """
        return self.select(x, range(len(self.network.layers)))

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's output, equal to ``run(x)[-1]``."""
        return self.select(x, [len(self.network.layers) - 1])[0]

    def select(self, x: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """The outputs of the layers with the given indices, in the order given; layers after the highest
        index are not computed. Raises InputError as ``run`` does, and for an index that does not exist."""
        count = len(self.network.layers)
        for index in layers:
            if not 0 <= index < count:
                raise InputError(f"{self.network.name}: layer {index}; allowed: 0..{count - 1}")
        if not layers:
            return []
        self._check_input(x)
        maps: dict[int, torch.Tensor] = {IMAGE: x}
        for number in range(max(layers) + 1):
            maps[number] = self.output(number, maps)
            for index in [index for index in maps if index not in layers]:
                if index == IMAGE or self._last_readers[index] <= number:
                    del maps[index]
        return [maps[index] for index in layers]

    def output(self, number: int, maps: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """The output of layer ``number``, uint8 [N, C, H, W], from those that it reads, by their numbers,
        IMAGE for the network's input. They are not checked."""
        # Without no_grad, autograd would keep every map and refuse the operations in place.
        with torch.no_grad(), torch.backends.nnpack.flags(enabled=False):
            return self._output(number, maps)

    def _output(self, number: int, maps: Mapping[int, torch.Tensor]) -> torch.Tensor:
        if number not in self._prepared:
            self._prepared[number] = _prepare(self.network.layers[number], self.network.activation_bits)
        prepared, shortcut = self._prepared[number], self._shapes[number].shortcut
        x = maps[source_of(self._shapes, number)]
        at_once = self._images_at_once(prepared, *x.shape[2:])
        pieces = x.split(at_once)
        others = [None] * len(pieces) if shortcut is None else maps[shortcut.source].split(at_once)
        outputs: list[torch.Tensor] = []
        for piece, other in zip(pieces, others, strict=True):
            y = self._layer(prepared, piece, other)
            outputs.append(y.to(torch.uint8, memory_format=torch.contiguous_format))
        return torch.cat(outputs)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        framed = self._pad.expand(n, c, h + 2, w + 2).contiguous(memory_format=LAYOUT)
        framed[:, :, 1:-1, 1:-1] = x
        return framed

    def _layer(self, prepared: _Prepared, x: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor:
        """The float32 output of a layer for uint8 ``x`` and, with a shortcut, its uint8 map ``other``."""
        shape = prepared.layer.shape
        padding = prepared.main.padding
        if prepared.layer is self.network.layers[0] and padding:
            x, padding = self._padded(x), 0
        else:
            x = x.to(torch.float32, memory_format=LAYOUT)
        other = None if other is None else other.to(torch.float32, memory_format=LAYOUT)
        if not self._is_exact(prepared, x, padding, other):
            self.in_float64.add(shape.name)
            total = convolve_in_float64(prepared.main, x, padding) + prepared.bias.view(1, -1, 1, 1)
            if prepared.projection is not None and other is not None:
                total += convolve_in_float64(prepared.projection, other, 0)
        elif prepared.direct:
            total = convolve_whole(prepared.main, x, padding, prepared.bias.float())
            if prepared.projection is not None and other is not None:
                total += convolve_whole(prepared.projection, other, 0)
        else:
            total = convolve_in_groups(prepared.main, x, padding) + prepared.bias.view(1, -1, 1, 1)
            if prepared.projection is not None and other is not None:
                total += convolve_in_groups(prepared.projection, other, 0)
        if prepared.identity is not None and other is not None:
            total += other * prepared.identity
        if shape.pool:
            total = functional.max_pool2d(total, shape.pool_size, stride=2, padding=shape.pool_size // 3)
        return total.clamp_(0, self._greatest).floor_().float()

    def _is_exact(
        self, prepared: _Prepared, x: torch.Tensor, padding: int, other: torch.Tensor | None
    ) -> bool:
        """Whether the library convolves exactly, with this layer's channels, on maps of this size."""
        size = (min(x.shape[0], 2), *x.shape[1:])
        key = (prepared.layer.shape.name, size, *backend_state())
        known = self._exact.get(key)
        if known is None:
            found = [self._probe(prepared.main, size, padding)]
            if prepared.projection is not None and other is not None:
                found.append(self._probe(prepared.projection, (size[0], *other.shape[1:]), 0))
            known = self._exact[key] = all(found)
            if not known:
                warnings.warn(
                    f"layer {prepared.layer.shape.name}: float32 convolution is not exact with this "
                    "torch and its settings; computing in float64",
                    RuntimeWarning,
                    stacklevel=6,
                )
        return known

    def _probe(self, convolution: Convolution, size: Sequence[int], padding: int) -> bool:
        """Whether the library convolves maps [N, C, H, W] of ``size`` exactly."""
        return all(
            probe(
                (size[0], w.shape[1], *size[2:]),
                w.shape[0],
                self._greatest,
                w.shape[2],
                convolution.stride,
                padding,
            )
            for w in {w.shape[1]: w for w in convolution.weights}.values()
        )

    def _images_at_once(self, prepared: _Prepared, height: int, width: int) -> int:
        channels = prepared.layer.shape.out_channels
        return max(1, CHUNK_BYTES // (FLOAT64_BYTES * channels * height * width))

    def _check_input(self, x: torch.Tensor) -> None:
        name, channels = self.network.name, self.network.layers[0].shape.in_channels
        if not isinstance(x, torch.Tensor) or x.dtype != torch.uint8 or x.device.type != "cpu":
            found = f"{x.dtype} on {x.device}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputError(f"{name}: input is {found}; allowed: a torch.uint8 tensor on the CPU")
        if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
            raise InputError(f"{name}: input shape {list(x.shape)}; allowed: [N, {channels}, H, W], none 0")
        greatest = int(x.max())
        if greatest > self._greatest:
            raise InputError(f"{name}: input value {greatest}; allowed: 0..{self._greatest} "
                             f"({self.network.activation_bits} activation bits)")
        for shape, size in zip(self._shapes, map_sizes(self._shapes, *x.shape[2:]), strict=True):
            if 0 in size:
                raise InputError(f"{name}: image of {x.shape[2]} x {x.shape[3]} pixels is too small: "
                                 f"nothing is left after the pooling of {shape.name}")


def _prepare(layer: CompressedLayer, activation_bits: int) -> _Prepared:
    low, high = channel_reach(layer, activation_bits)
    shortcut = shortcut_reach(layer, activation_bits)
    scaled = layer.alpha[:, :, None, None].astype(np.float32) * layer.mask * np.float32(2.0**-layer.shift)
    main = prepare(scaled, low, high, layer.shape.stride)
    projection, identity = None, None
    if layer.shortcut_alpha is not None:
        weight = shortcut_weights(layer).astype(np.float32) * np.float32(2.0**-layer.shift)
        if layer.shape.shortcut is not None and layer.shape.shortcut.projection:
            projection = prepare(weight[:, :, None, None], *shortcut, layer.shape.shortcut.stride)
        else:
            identity = torch.from_numpy(weight).view(1, -1, 1, 1)
    lowest, highest = accumulator_range(layer, activation_bits)
    bias = torch.from_numpy(rounding_offset(layer) * 2.0**-layer.shift)
    return _Prepared(layer, main, projection, identity, bias, max(-lowest, highest) <= FLOAT32_EXACT)


