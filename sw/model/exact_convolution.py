"""Convolutions of integers in float32 that are exact, and the test that the library's are
(``kestrel.sw.model.reference`` says why)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

FLOAT32_EXACT = 1 << 24
"""Every integer of at most this magnitude is a float32."""

LAYOUT = torch.channels_last
"""The order of maps and weights in memory, which was measured to be a fifth faster than torch's default, both
for convolution and for pooling."""


@dataclass(frozen=True)
class Convolution:
    """A convolution that is ready to run, without bias: its integers times 2**-s.

    ``weights`` are float32 [C_out, C_in, k, k], one for each group of input channels, and ``starts`` are the
    groups' first channels.
    """

    starts: tuple[int, ...]
    weights: tuple[torch.Tensor, ...]
    stride: int

    @property
    def padding(self) -> int:
        return self.weights[0].shape[2] // 2


def prepare(weight: np.ndarray, low: np.ndarray, high: np.ndarray, stride: int) -> Convolution:
    """``weight`` [C_out, C_in, k, k], whose channels reach ``low`` and ``high`` [C_out, C_in], in groups."""
    starts = channel_groups(low, high)
    weights = tuple(
        torch.from_numpy(weight[:, a:b]).contiguous(memory_format=LAYOUT)
        for a, b in zip(starts, (*starts[1:], weight.shape[1]), strict=True)
    )
    return Convolution(starts, weights, stride)


def channel_groups(low: np.ndarray, high: np.ndarray) -> tuple[int, ...]:
    """The first channels of groups of input channels, each of which stays within FLOAT32_EXACT for all
    outputs. ``low`` and ``high``, int64 or float64 [C_out, C_in], are what a channel can add at least and at
    most."""
    starts = [0]
    below, above = np.zeros_like(low[:, 0]), np.zeros_like(high[:, 0])
    for channel in range(low.shape[1]):
        below, above = below + low[:, channel], above + high[:, channel]
        if max(int(above.max()), -int(below.min())) > FLOAT32_EXACT:
            starts.append(channel)
            below, above = low[:, channel], high[:, channel]
    return tuple(starts)


def convolve_whole(
    convolution: Convolution, x: torch.Tensor, padding: int, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The convolution in float32, which is exact if everything that is added up stays within FLOAT32_EXACT:
    there is one group then."""
    (weight,) = convolution.weights
    return _convolve(x, weight, bias, convolution.stride, padding)


def convolve_in_groups(convolution: Convolution, x: torch.Tensor, padding: int) -> torch.Tensor:
    """The convolution in float64, of groups that are each exact in float32."""
    total: torch.Tensor | None = None
    for start, weight in zip(convolution.starts, convolution.weights, strict=True):
        channels = x[:, start : start + weight.shape[1]]
        part = _convolve(channels, weight, None, convolution.stride, padding)
        total = part.double() if total is None else total.add_(part)
    assert total is not None, "there is at least one group"
    return total


def convolve_in_float64(convolution: Convolution, x: torch.Tensor, padding: int) -> torch.Tensor:
    """The whole convolution in float64, for a library whose float32 one is not exact."""
    weight = torch.cat(convolution.weights, dim=1).double()
    return functional.conv2d(x.double(), weight, stride=convolution.stride, padding=padding)


def _convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int
) -> torch.Tensor:
    """The float32 convolution whose exactness is tested."""
    return functional.conv2d(x, weight, bias, stride, padding)


def backend_state() -> tuple[object, ...]:
    """The settings of torch that select another convolution algorithm or another precision."""
    return (
        torch.get_num_threads(),
        torch.backends.mkldnn.enabled,
        getattr(getattr(torch.backends.mkldnn, "conv", None), "fp32_precision", None),  # torch >= 2.9
        torch.get_float32_matmul_precision(),
    )


PROBES = 16
"""The number of positions at which a test convolution is compared."""


def probe(
    shape: tuple[int, ...], c_out: int, greatest: int, kernel: int, stride: int, padding: int
) -> bool:
    """Whether one convolution is exact in the hardest case.

    The input is [N, C, H, W] of ``shape``, half of it at the greatest activation. The weights are random, of
    both signs and as large as the 24 bits allow, so that any rounding shows in the low bits. All output
    channels are compared, at the corners and at random positions.
    """
    draw = torch.Generator().manual_seed(1)
    n, c_in = shape[:2]
    x = torch.randint(0, 2 * greatest, shape, generator=draw).clamp_(max=greatest)
    reach = max(1, FLOAT32_EXACT // greatest // (c_in * kernel * kernel))
    weight = torch.randint(-reach, reach + 1, (c_out, c_in, kernel, kernel), generator=draw)
    found = _convolve(
        x.float().contiguous(memory_format=LAYOUT),
        weight.float().contiguous(memory_format=LAYOUT),
        None,
        stride,
        padding,
    )
    framed = functional.pad(x, (padding,) * 4)
    rows, columns = found.shape[2:]
    windows, values = [], []
    for k in range(PROBES):
        image = k % n
        row = (0, rows - 1)[k & 1] if k < 4 else int(torch.randint(rows, (), generator=draw))
        column = (0, columns - 1)[k >> 1] if k < 4 else int(torch.randint(columns, (), generator=draw))
        top, left = row * stride, column * stride
        windows.append(framed[image, :, top : top + kernel, left : left + kernel].flatten())
        values.append(found[image, :, row, column])
    # In float64 every sum of these integers is exact, whatever its order, and a matrix product is quick.
    expected = weight.flatten(start_dim=1).double() @ torch.stack(windows, dim=1).double()
    return torch.equal(torch.stack(values, dim=1).double(), expected)
