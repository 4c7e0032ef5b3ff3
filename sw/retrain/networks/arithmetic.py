"""The chip's arithmetic as differentiable functions: exact integers forwards, straight-through backwards.

Forwards, a layer computes what ``sw.model.reference`` computes. ``convolve`` gives
v = (acc + (bias << (s - F))) * 2**-s and ``requantise`` gives floor(v + 1/2), clamped. Both hold whole
multiples of 2**-s in float32, which rounds nothing up to 2**24 of them (``exactness``). A v beyond 2**24
steps may be rounded on its way back to float32, but it lies far outside the clamp (2**24 >> 15 = 512 > 255),
so that y is always exact.

Backwards, v is the real pre-activation P / S_out with P = sum w S_in (x - z) + sum u S_2 x2 + b, where the
second sum is the shortcut's, of real weights u (of an identity one a channel) and its map x2 of scale S_2:

    dv/dw = S_in (x - z) / S_out     dv/du = S_2 x2 / S_out     dv/db = 1 / S_out
    dv/dx = w S_in / S_out           dv/dx2 = u S_2 / S_out
    dv/dlog S_2 = sum u S_2 x2 / S_out     dv/dlog S_in = v - b / S_out - dv/dlog S_2     dv/dlog S_out = -v

Here dv/dx and dv/dx2 use the quantised weights, while the gradient of a quantised weight (and bias) is passed
on to the float one (Bengio, Leonard, Courville 2013). Rounding passes a gradient on; the clamp does so only
inside its range. With the scale S as a parameter, this is the gradient of learned step sizes (Esser et al.
2020). Where layers share weights or maps share a scale, autograd adds their gradients up.
"""

from dataclasses import dataclass
from typing import Any

import torch

from kestrel.hw.spec.widths import BIAS_FRACTION
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.network import ConvShape
from kestrel.sw.retrain.networks.exactness import Exactness, Term, exact_sum
from kestrel.sw.retrain.networks.folding import Integers


@dataclass(frozen=True)
class Map:
    """Whole numbers, float32 [N, C, H, W], and the logarithm of their scale, a float64 scalar."""

    integers: torch.Tensor
    log_scale: torch.Tensor


@dataclass(frozen=True)
class Inputs:
    """What a layer's integers were made for: scale and zero by channel of its input, float64 [C_in], and the
    scale of its shortcut's map."""

    scale: torch.Tensor
    zero: torch.Tensor
    shortcut_scale: float | None = None


@dataclass(frozen=True)
class Operands:
    """What a layer's sum needs besides its maps.

    ``main`` is the convolution and ``shortcut`` the shortcut, if there is one. ``shift`` is the layer's.
    ``offset`` is float64 [C_out], the bias in units of the output. ``gain`` is float64 [C_in], the factor
    from a real weight to v, and ``shortcut_gain`` that of a weight of the shortcut. ``zero`` is float64
    [C_in]. ``pad`` is the value outside the map, float32 [1, C_in, 1, 1], or None for zeros. ``bias_gain`` is
    1 / S_out and ``bias_real`` is b / S_out, float32 [C_out]. ``mixed`` computes gradients in bfloat16.
    ``exact`` stores the results of the exactness test.
    """

    main: Term
    shortcut: Term | None
    shift: int
    offset: torch.Tensor
    gain: torch.Tensor
    shortcut_gain: float
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
        other: torch.Tensor | None,
        shortcut: torch.Tensor | None,  # noqa: ARG004
        log_in: torch.Tensor,
        log_other: torch.Tensor | None,
        log_out: torch.Tensor,
        operands: Operands,
    ) -> torch.Tensor:
        if operands.pad is not None:
            n, c, h, w = x.shape
            framed = operands.pad.expand(n, c, h + 2, w + 2).contiguous(memory_format=LAYOUT)
            framed[:, :, 1:-1, 1:-1] = x
            x = framed
        terms = [(x, operands.main)]
        if other is not None and operands.shortcut is not None:
            terms.append((other, operands.shortcut))
        v = exact_sum(terms, operands.offset, operands.shift, operands.exact)
        logs = (log_in, log_out) if log_other is None else (log_in, log_out, log_other)
        ctx.save_for_backward(x, other, v if any(log.requires_grad for log in logs) else None)
        ctx.operands = operands
        return v

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad = grads[0]
        x, other, v = ctx.saved_tensors
        operands: Operands = ctx.operands
        need_x, need_w, need_b, need_other, need_u, need_in, need_log_other, need_out, _ = (
            ctx.needs_input_grad
        )
        dx, dw = _term_gradients(grad, x, operands.main, (need_x, need_w), mixed=operands.mixed)
        if dx is not None and operands.pad is not None:
            dx = dx[:, :, 1:-1, 1:-1]
        total = grad.sum(dim=(0, 2, 3)) if need_w or need_b else None
        if dw is not None:
            assert total is not None
            seen = total[:, None] * operands.zero.float()
            dw = (dw - seen[:, :, None, None]) * operands.gain.float()[:, None, None]
        db = total * operands.bias_gain if total is not None and need_b else None
        d_other = du = log_part = None
        if other is not None and operands.shortcut is not None:
            needs = (need_other, need_u or need_in or need_log_other)
            d_other, du = _term_gradients(grad, other, operands.shortcut, needs, mixed=operands.mixed)
            if du is not None:
                # What the shortcut adds is linear in its weights.
                log_part = (du * operands.shortcut.weight).sum().double()
                du = (du * operands.shortcut_gain).flatten(1) if du.ndim > 1 else du * operands.shortcut_gain
        d_in = d_out = None
        if v is not None:
            d_out = -(grad * v).sum().double()
            d_in = -d_out - (grad.sum(dim=(0, 2, 3)) * operands.bias_real).sum().double()
            d_in = d_in if log_part is None else d_in - log_part
        return (
            dx,
            dw,
            db,
            d_other,
            du if need_u else None,
            d_in if need_in else None,
            log_part if need_log_other else None,
            d_out if need_out else None,
            None,
        )


def _term_gradients(
    grad: torch.Tensor, x: torch.Tensor, term: Term, need: tuple[bool, bool], *, mixed: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients, where they are needed, of a term's map and of its weights as they enter the sum."""
    if term.identity:
        dx = grad * term.weight.view(1, -1, 1, 1) if need[0] else None
        return dx, (grad * x).sum(dim=(0, 2, 3)) if need[1] else None
    kind = torch.bfloat16 if mixed else torch.float32
    stride, size = term.stride, x.shape
    if term.weight.shape[2] == 1:
        # The library is not called with a stride here: for 1x1 kernels, maps in channels-last order and a
        # few channels, its gradient of the weights writes beyond its memory (torch 2.13 with oneDNN).
        x, stride = x[:, :, ::stride, ::stride].contiguous(memory_format=LAYOUT), 1
    dx, dw, _ = torch.ops.aten.convolution_backward(
        grad.to(kind), x.to(kind), term.weight.to(kind), None, [stride] * 2, [term.padding] * 2, [1, 1],
        False, [0, 0], 1, [*need, False])  # fmt: skip
    if dx is not None and stride != term.stride:
        thin, dx = dx, grad.new_zeros(size)
        dx[:, :, :: term.stride, :: term.stride] = thin
    return dx if dx is None else dx.float(), dw if dw is None else dw.float()


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
    source: Map,
    weight: torch.Tensor,
    bias: torch.Tensor,
    log_out: torch.Tensor,
    operands: Operands,
    other: Map | None = None,
    shortcut: torch.Tensor | None = None,
) -> torch.Tensor:
    """v of a layer, float32 [N, C_out, H, W], from the map ``source``.

    ``weight`` and ``bias`` are real, and so is ``shortcut``, the weights of a shortcut, whose map is
    ``other``; the gradients go to them. ``log_out`` is the logarithm of the output's scale, float64.
    """
    result = _Convolve.apply(
        source.integers, weight, bias, None if other is None else other.integers, shortcut, source.log_scale,
        None if other is None else other.log_scale, log_out, operands,
    )  # fmt: skip
    assert isinstance(result, torch.Tensor)
    return result


def requantise(v: torch.Tensor, activation_bits: int) -> torch.Tensor:
    """y = clamp(floor(v + 1/2), 0, 2**A - 1), float32."""
    result = _Requantise.apply(v, (1 << activation_bits) - 1)
    assert isinstance(result, torch.Tensor)
    return result


def make_operands(
    integers: Integers,
    shape: ConvShape,
    bias: torch.Tensor,
    inputs: Inputs,
    pad: torch.Tensor | None,
    exact: Exactness,
    *,
    mixed: bool,
) -> Operands:
    """The operands of a layer of ``shape``. ``bias`` is the real one."""
    factor = 2.0**-integers.shift
    weight = (integers.weights() * factor).float().contiguous(memory_format=LAYOUT)
    padding = 0 if pad is not None else shape.kernel // 2
    shortcut, whole = None, integers.shortcut_weights()
    if whole is not None and shape.shortcut is not None:
        scaled = (whole * factor).float()
        shortcut = Term(scaled[:, :, None, None], shape.shortcut.stride) if whole.ndim > 1 else Term(scaled)
    return Operands(
        Term(weight, shape.stride, padding),
        shortcut,
        integers.shift,
        integers.bias * 2.0**-BIAS_FRACTION,
        inputs.scale / integers.scale,
        (inputs.shortcut_scale or 0.0) / integers.scale,
        inputs.zero,
        pad,
        1 / integers.scale,
        (bias / integers.scale).float(),
        mixed,
        exact,
    )
