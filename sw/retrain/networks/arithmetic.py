"""The chip's arithmetic as differentiable functions: exact integers forwards, straight-through backwards.

Forwards, a layer computes what ``sw.model.reference`` computes. ``convolve`` gives
v = (acc + (bias << (s - F))) * 2**-s and ``requantise`` gives floor(v + 1/2), clamped. Both hold whole
multiples of 2**-s in float32, which rounds nothing up to 2**24 of them. The reach of the sums is bounded by
the largest activation of each channel in this batch; if that bound is too large, the input channels are split
into groups whose sums are added in float64. A v beyond 2**24 steps may be rounded on its way back to float32,
but it lies far outside the clamp (2**24 >> 15 = 512 > 255), so that y is always exact. Whether the library's
convolution is exact at all is tested for each layer and size, as in the reference; if it is not, it runs in
float64 and its result is rounded to the whole number that it must be.

Backwards, v is the real pre-activation P / S_out with P = sum w S_in (x - z) + b:

    dv/dw = S_in (x - z) / S_out     dv/db = 1 / S_out     dv/dx = w S_in / S_out
    dv/dlog S_in = v - b / S_out     dv/dlog S_out = -v

Here dv/dx uses the quantised weights, while the gradient of a quantised weight (and bias) is passed on to the
float one (Bengio, Leonard, Courville 2013). Rounding passes a gradient on; the clamp does so only inside its
range. With the scale S as a parameter, this is the gradient of learned step sizes (Esser et al. 2020).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from kestrel.hw.spec.widths import BIAS_FRACTION
from kestrel.sw.model.exact_convolution import FLOAT32_EXACT, LAYOUT
from kestrel.sw.retrain.networks.folding import Integers

Exactness = dict[tuple[object, ...], bool]
"""Results of the exactness test, by shape and device."""


@dataclass(frozen=True)
class Operands:
    """What a layer's convolution needs besides its input.

    ``integers`` are the layer's. ``weight`` is float32 alpha * M * 2**-s. ``offset`` is float64 [C_out], the
    bias in units of the output. ``gain`` is float64 [C_in], the factor from a real weight to v. ``zero`` is
    float64 [C_in]. ``pad`` is the value outside the map, float32 [1, C_in, 1, 1], or None for zeros.
    ``bias_gain`` is 1 / S_out and ``bias_real`` is b / S_out, float32 [C_out]. ``mixed`` computes gradients
    in bfloat16. ``exact`` stores the results of the exactness test.
    """

    integers: Integers
    weight: torch.Tensor
    offset: torch.Tensor
    gain: torch.Tensor
    zero: torch.Tensor
    pad: torch.Tensor | None
    bias_gain: float
    bias_real: torch.Tensor
    mixed: bool
    exact: Exactness


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,  # noqa: ARG004 (the gradient goes there)
        bias: torch.Tensor,  # noqa: ARG004
        log_in: torch.Tensor,
        log_out: torch.Tensor,
        operands: Operands,
    ) -> torch.Tensor:
        if operands.pad is not None:
            n, c, h, w = x.shape
            framed = operands.pad.expand(n, c, h + 2, w + 2).contiguous(memory_format=LAYOUT)
            framed[:, :, 1:-1, 1:-1] = x
            x = framed
        padding = int(operands.pad is None)
        v = _exact(x, operands, padding)
        scales = log_in.requires_grad or log_out.requires_grad
        ctx.save_for_backward(x, v if scales else None)
        ctx.operands, ctx.padding = operands, padding
        return v

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad = grads[0]
        x, v = ctx.saved_tensors
        operands: Operands = ctx.operands
        need = ctx.needs_input_grad
        kind = torch.bfloat16 if operands.mixed else torch.float32
        dx, dw, _ = torch.ops.aten.convolution_backward(
            grad.to(kind), x.to(kind), operands.weight.to(kind), None, [1, 1], [ctx.padding] * 2, [1, 1],
            False, [0, 0], 1, [need[0], need[1], False])  # fmt: skip
        if dx is not None:
            dx = dx.float()
            if operands.pad is not None:
                dx = dx[:, :, 1:-1, 1:-1]
        total = grad.sum(dim=(0, 2, 3)) if need[1] or need[2] else None
        if dw is not None:
            assert total is not None
            seen = total[:, None] * operands.zero.float()
            dw = (dw.float() - seen[:, :, None, None]) * operands.gain.float()[:, None, None]
        db = total * operands.bias_gain if total is not None and need[2] else None
        d_in = d_out = None
        if v is not None:
            d_out = -(grad * v).sum()
            d_in = -d_out - (grad.sum(dim=(0, 2, 3)) * operands.bias_real).sum()
        return (
            dx,
            dw,
            db,
            d_in.to(torch.float64) if need[3] and d_in is not None else None,
            d_out.to(torch.float64) if need[4] and d_out is not None else None,
            None,
        )


class _Requantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: torch.Tensor, greatest: int) -> torch.Tensor:
        ctx.save_for_backward((v > 0) & (v < greatest + 0.5))
        return (v + 0.5).floor_().clamp_(0, greatest)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    log_in: torch.Tensor,
    log_out: torch.Tensor,
    operands: Operands,
) -> torch.Tensor:
    """v of a layer, float32 [N, C_out, H, W], for whole numbers x, float32 [N, C_in, H, W].

    ``weight`` and ``bias`` are real; the gradients go to them. ``log_in`` and ``log_out`` are the logarithms
    of the scales, float64 scalars.
    """
    result = _Convolve.apply(x, weight, bias, log_in, log_out, operands)
    assert isinstance(result, torch.Tensor)
    return result


def requantise(v: torch.Tensor, activation_bits: int) -> torch.Tensor:
    """y = clamp(floor(v + 1/2), 0, 2**A - 1), float32."""
    result = _Requantise.apply(v, (1 << activation_bits) - 1)
    assert isinstance(result, torch.Tensor)
    return result


def make_operands(
    integers: Integers,
    bias: torch.Tensor,
    inputs: tuple[torch.Tensor, torch.Tensor],
    pad: torch.Tensor | None,
    exact: Exactness,
    *,
    mixed: bool,
) -> Operands:
    """The operands of a layer. ``bias`` is the real one; ``inputs`` are scale and zero by input channel."""
    factor = 2.0**-integers.shift
    weight = (integers.weights() * factor).float().contiguous(memory_format=LAYOUT)
    return Operands(
        integers,
        weight,
        integers.bias * 2.0**-BIAS_FRACTION,
        inputs[0] / integers.scale,
        inputs[1],
        pad,
        1 / integers.scale,
        (bias / integers.scale).float(),
        mixed,
        exact,
    )


# --------------------------------------------------------------------------------------------------------
# Exactness
# --------------------------------------------------------------------------------------------------------


def _exact(x: torch.Tensor, operands: Operands, padding: int) -> torch.Tensor:
    """(acc + bias) * 2**-s in float32; see the module's docstring."""
    step = 2.0**-operands.integers.shift
    starts, direct = _groups(x, operands)
    ends = (*starts[1:], x.shape[1])
    offset = operands.offset
    with torch.backends.nnpack.flags(enabled=False), _full_precision():
        if not all(_probed(x, operands, b - a, padding) for a, b in zip(starts, ends, strict=True)):
            total = functional.conv2d(x.double(), operands.weight.double() / step, padding=padding)
            return (total.round_() * step + offset.view(1, -1, 1, 1)).float()
        if direct:
            return functional.conv2d(x, operands.weight, offset.float(), padding=padding)
        total = offset.view(1, -1, 1, 1)
        for a, b in zip(starts, ends, strict=True):
            part = operands.weight[:, a:b].contiguous(memory_format=LAYOUT)
            total = functional.conv2d(x[:, a:b], part, padding=padding) + total
        return total.float()


def _groups(x: torch.Tensor, operands: Operands) -> tuple[list[int], bool]:
    """The first channels of groups of input channels whose sums stay within 24 bits, and whether a single
    group does so even with bias and rounding half."""
    largest = x.amax(dim=(0, 2, 3)).double()
    product = operands.integers.weights()
    high = (product.clamp(min=0).sum(dim=(2, 3)) * largest).cpu().numpy()
    low = (product.clamp(max=0).sum(dim=(2, 3)) * largest).cpu().numpy()
    offset = (operands.offset.abs() + 1).cpu().numpy() * 2.0**operands.integers.shift
    reach = max(float((high.sum(axis=1) + offset).max()), float((offset - low.sum(axis=1)).max()))
    if reach <= FLOAT32_EXACT:
        return [0], True
    starts = [0]
    above, below = np.zeros(len(high)), np.zeros(len(high))
    for channel in range(high.shape[1]):
        above, below = above + high[:, channel], below - low[:, channel]
        if max(above.max(), below.max()) > FLOAT32_EXACT:
            starts.append(channel)
            above, below = high[:, channel], -low[:, channel]
    return starts, False


class _full_precision:  # noqa: N801 (a context manager, named like a function)
    """Computes float32 convolutions on a GPU without TensorFloat-32."""

    def __enter__(self) -> None:
        self._kept = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        torch.backends.cudnn.allow_tf32 = self._kept


PROBE_LEVELS = 256


def _probed(x: torch.Tensor, operands: Operands, channels: int, padding: int) -> bool:
    """Whether the library convolves whole numbers exactly, for this many channels on maps of this size.

    This is tested once for each case: a convolution with random weights that use the full 24 bits is compared
    with the same convolution in float64, rounded.
    """
    c_out = operands.weight.shape[0]
    key = (
        x.device.type,
        channels,
        c_out,
        x.shape[2],
        x.shape[3],
        min(x.shape[0], 2),
        padding,
        torch.get_num_threads(),
    )
    if key not in operands.exact:
        draw = torch.Generator().manual_seed(1)
        size = (min(x.shape[0], 2), channels, *x.shape[2:])
        values = torch.randint(0, PROBE_LEVELS, size, generator=draw).float().to(x.device)
        reach = max(1, FLOAT32_EXACT // (PROBE_LEVELS - 1) // (channels * 9))
        weight = torch.randint(-reach, reach + 1, (c_out, channels, 3, 3), generator=draw).float()
        weight = weight.to(x.device).contiguous(memory_format=LAYOUT)
        values = values.contiguous(memory_format=LAYOUT)
        found = functional.conv2d(values, weight, padding=padding)
        wanted = functional.conv2d(values.double(), weight.double(), padding=padding).round_()
        operands.exact[key] = bool(torch.equal(found.double(), wanted))
    return operands.exact[key]
