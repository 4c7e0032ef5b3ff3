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

Scaling by 2**-s changes only exponents, so weights and bias are scaled beforehand: the convolution yields
exactly (acc + bias + half) * 2**-s, and requantisation is a floor and a clamp. Both are monotone, so the
maximum of a pooling window may be taken before them, which leaves a quarter of the work.

Algorithms that form differences of activations or transform them (Winograd, FFT) and reduced-precision modes
of the library (bfloat16, TF32) would not be exact. NNPACK, the only library here with such algorithms, is
switched off during the convolutions. In addition, before a layer first runs on maps of a given size, the same
convolution is done once with random weights that use the full 24 bits, and is compared with int64 arithmetic.
If the results differ, the layer is computed in float64, with a RuntimeWarning, and is named in
``Reference.in_float64``.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.model.bounds import channel_reach, check_accumulators, rounding_offset
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, validate

FLOAT32_EXACT = 1 << 24
"""Every integer of at most this magnitude is a float32."""

FLOAT64_BYTES = 8

CHUNK_BYTES = 1 << 25
"""The largest float64 map that is computed at a time. (glibc takes anything larger fresh from the kernel, and
clearing its pages then costs more than the work on them.) Longer batches run in several pieces; after each
pooling the maps are smaller and the pieces hold more images."""

LAYOUT = torch.channels_last
"""The order of maps and weights in memory, which was measured to be a fifth faster than torch's default, both
for convolution and for pooling."""


@dataclass(frozen=True)
class _Prepared:
    """A layer that is ready to run: its integers times 2**-s.

    ``weights`` are float32 [C_out, C_in, 3, 3], one for each group of input channels, and ``starts`` are the
    groups' first channels. ``bias`` is float64 [C_out] and includes the rounding half. ``direct`` says that
    there is one group, which stays within 24 bits even with the bias.
    """

    layer: CompressedLayer
    starts: tuple[int, ...]
    weights: tuple[torch.Tensor, ...]
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
        self._layers = [_prepare(layer, network.activation_bits) for layer in network.layers]
        self._pad = torch.from_numpy(network.pad.astype(np.float32)).view(1, -1, 1, 1)
        self._segments = _segments(network)
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
        return self.select(x, range(len(self._layers)))

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's output, equal to ``run(x)[-1]``."""
        return self.select(x, [len(self._layers) - 1])[0]

    def select(self, x: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """The outputs of the layers with the given indices, in the order given; layers after the highest
        index are not computed. Raises InputError as ``run`` does, and for an index that does not exist."""
        count = len(self._layers)
        for index in layers:
            if not 0 <= index < count:
                raise InputError(f"{self.network.name}: layer {index}; allowed: 0..{count - 1}")
        if not layers:
            return []
        self._check_input(x)
        kept: dict[int, torch.Tensor] = {}
        # Without no_grad, autograd would keep every map and refuse the operations in place.
        with torch.no_grad(), torch.backends.nnpack.flags(enabled=False):
            for whole in self._segments:
                segment = range(whole.start, min(whole.stop, max(layers) + 1))
                wanted = {index for index in segment if index in layers} | {segment[-1]}
                outputs: dict[int, list[torch.Tensor]] = {index: [] for index in wanted}
                for piece in x.split(self._images_at_once(segment, *x.shape[2:])):
                    for index, y in self._maps(piece, segment):
                        if index in wanted:
                            y = y.to(torch.uint8, memory_format=torch.contiguous_format)  # noqa: PLW2901
                            outputs[index].append(y)
                kept |= {index: torch.cat(pieces) for index, pieces in outputs.items()}
                x = kept[segment[-1]]
                if segment[-1] >= max(layers):
                    break
        return [kept[index] for index in layers]

    def _maps(self, x: torch.Tensor, segment: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yields the float32 maps of consecutive layers for uint8 ``x``, with the layers' indices."""
        if segment[0] == 0:
            x = self._padded(x)
        else:
            x = x.to(torch.float32, memory_format=LAYOUT)
        for index in segment:
            x = self._layer(self._layers[index], x, padding=int(index > 0))
            yield index, x

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        framed = self._pad.expand(n, c, h + 2, w + 2).contiguous(memory_format=LAYOUT)
        framed[:, :, 1:-1, 1:-1] = x
        return framed

    def _layer(self, prepared: _Prepared, x: torch.Tensor, padding: int) -> torch.Tensor:
        pool = prepared.layer.shape.pool
        if not self._is_exact(prepared, x, padding):
            self.in_float64.add(prepared.layer.shape.name)
            weight = torch.cat(prepared.weights, dim=1).double()
            total = functional.conv2d(x.double(), weight, prepared.bias, padding=padding)
        elif prepared.direct:
            total = _convolve(x, prepared.weights[0], prepared.bias.float(), padding)
        else:
            total = _convolve(_channels(x, prepared, 0), prepared.weights[0], None, padding).double()
            for group in range(1, len(prepared.weights)):
                total += _convolve(_channels(x, prepared, group), prepared.weights[group], None, padding)
            total += prepared.bias.view(1, -1, 1, 1)
        if pool:
            total = functional.max_pool2d(total, 2)
        return total.clamp_(0, self._greatest).floor_().float()

    def _is_exact(self, prepared: _Prepared, x: torch.Tensor, padding: int) -> bool:
        """Whether the library convolves exactly, with this layer's channels, on maps of this size."""
        shape = (min(x.shape[0], 2), *x.shape[1:])
        key = (prepared.layer.shape.name, shape, *_backend_state())
        known = self._exact.get(key)
        if known is None:
            known = self._exact[key] = all(
                _probe((shape[0], w.shape[1], *shape[2:]), w.shape[0], self._greatest, padding)
                for w in {w.shape[1]: w for w in prepared.weights}.values()
            )
            if not known:
                warnings.warn(
                    f"layer {prepared.layer.shape.name}: float32 convolution is not exact with this "
                    "torch and its settings; computing in float64",
                    RuntimeWarning,
                    stacklevel=6,
                )
        return known

    def _images_at_once(self, segment: Sequence[int], height: int, width: int) -> int:
        channels = max(self._layers[index].layer.shape.out_channels for index in segment)
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
        height, width = x.shape[2:]
        for layer in self.network.layers:
            if layer.shape.pool:
                height, width = height // 2, width // 2
            if not height or not width:
                raise InputError(f"{name}: image of {x.shape[2]} x {x.shape[3]} pixels is too small: "
                                 f"nothing is left after the pooling of {layer.shape.name}")


def _segments(network: CompressedNetwork) -> list[range]:
    """Runs of layers that work on maps of the same size: each ends at a pooling or at the last layer."""
    layers = network.layers
    ends = [n for n, layer in enumerate(layers, start=1) if layer.shape.pool or n == len(layers)]
    return [range(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _prepare(layer: CompressedLayer, activation_bits: int) -> _Prepared:
    low, high = channel_reach(layer, activation_bits)
    starts = _split(low, high)
    offset = rounding_offset(layer)
    within = max(
        int((high.sum(axis=1) + np.maximum(offset, 0)).max()),
        int((np.minimum(offset, 0) + low.sum(axis=1)).min() * -1),
    )
    scaled = layer.alpha[:, :, None, None].astype(np.float32) * layer.mask * np.float32(2.0**-layer.shift)
    ends = (*starts[1:], layer.shape.in_channels)
    weights = tuple(
        torch.from_numpy(scaled[:, a:b]).contiguous(memory_format=LAYOUT)
        for a, b in zip(starts, ends, strict=True)
    )
    bias = torch.from_numpy(offset * 2.0**-layer.shift)
    return _Prepared(layer, starts, weights, bias, len(starts) == 1 and within <= FLOAT32_EXACT)


def _split(low: np.ndarray, high: np.ndarray) -> tuple[int, ...]:
    """The first channels of groups of input channels, each of which stays within FLOAT32_EXACT for all
    outputs."""
    starts = [0]
    below, above = np.zeros(len(low), dtype=np.int64), np.zeros(len(low), dtype=np.int64)
    for channel in range(low.shape[1]):
        below, above = below + low[:, channel], above + high[:, channel]
        if max(int(above.max()), -int(below.min())) > FLOAT32_EXACT:
            starts.append(channel)
            below, above = low[:, channel], high[:, channel]
    return tuple(starts)


def _channels(x: torch.Tensor, prepared: _Prepared, group: int) -> torch.Tensor:
    start = prepared.starts[group]
    return x[:, start : start + prepared.weights[group].shape[1]]


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: int) -> torch.Tensor:
    """The float32 convolution whose exactness is tested."""
    return functional.conv2d(x, weight, bias, padding=padding)


def _backend_state() -> tuple[object, ...]:
    """The settings of torch that select another convolution algorithm or another precision."""
    return (
        torch.get_num_threads(),
        torch.backends.mkldnn.enabled,
        getattr(getattr(torch.backends.mkldnn, "conv", None), "fp32_precision", None),  # torch >= 2.9
        torch.get_float32_matmul_precision(),
    )


PROBES = 16
"""The number of positions at which a test convolution is compared."""


def _probe(shape: tuple[int, ...], c_out: int, greatest: int, padding: int) -> bool:
    """Whether one convolution equals int64 arithmetic in the hardest case.

    The input is [N, C, H, W] of ``shape``, half of it at the greatest activation. The weights are random, of
    both signs and as large as the 24 bits allow, so that any rounding shows in the low bits. All output
    channels are compared, at the corners and at random positions.
    """
    draw = torch.Generator().manual_seed(1)
    n, c_in = shape[:2]
    x = torch.randint(0, 2 * greatest, shape, generator=draw).clamp_(max=greatest)
    reach = max(1, FLOAT32_EXACT // greatest // (c_in * TAPS))
    weight = torch.randint(-reach, reach + 1, (c_out, c_in, 3, 3), generator=draw)
    found = _convolve(
        x.float().contiguous(memory_format=LAYOUT),
        weight.float().contiguous(memory_format=LAYOUT),
        None,
        padding,
    )
    framed = functional.pad(x, (padding,) * 4)
    rows, columns = found.shape[2:]
    for k in range(PROBES):
        image = k % n
        row = (0, rows - 1)[k & 1] if k < 4 else int(torch.randint(rows, (), generator=draw))
        column = (0, columns - 1)[k >> 1] if k < 4 else int(torch.randint(columns, (), generator=draw))
        window = framed[image, :, row : row + 3, column : column + 3]
        expected = (weight * window).sum(dim=(1, 2, 3))
        if not torch.equal(found[image, :, row, column].double(), expected.double()):
            return False
    return True
