"""Where layers start that are to reproduce a teacher's map: one after the other, each is the ridge regression
of sums of the teacher from the windows that it reads.

A stack of plain layers has no shortcuts and its maps are pooled, where a residual network takes steps of two.
So what a pooled layer is to make is wanted at all four positions of a window that is pooled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from kestrel.sw.retrain.dense.layers import NormalisedConv
from kestrel.sw.retrain.dense.passes import Maps, Pass

WINDOWS = 64
"""Windows of a map that regression looks at."""

DAMPING = 0.003
"""Added to the moments' diagonal, relative to its mean."""

SMALLEST = 1e-6
"""The least deviation that an output is divided by, in units of its own."""


@dataclass(frozen=True)
class Moments:
    """Means over windows, each with a one at its end: ``inputs`` of their products, [9 C + 1, 9 C + 1],
    ``pairs`` of those with what is wanted, [9 C + 1, C_out], ``squares`` of its squares, [C_out]."""

    inputs: torch.Tensor
    pairs: torch.Tensor
    squares: torch.Tensor


def accumulate(batches: Iterator[tuple[torch.Tensor, torch.Tensor]], seed: int) -> Moments:
    """From maps x [N, C, H, W] and what is wanted at their positions, [N, C_out, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    moments, count = None, 0
    for x, wanted in batches:
        windows, values = sample(x, wanted, generator)
        if moments is None:
            size, outputs = windows.shape[1], values.shape[1]
            moments = Moments(torch.zeros(size, size), torch.zeros(size, outputs), torch.zeros(outputs))
        rows = windows.numpy()
        moments.inputs.add_(torch.from_numpy(rows.T @ rows))  # symmetric: NumPy computes one half of it
        moments.pairs.addmm_(windows.T, values)
        moments.squares.add_(values.square().sum(0))
        count += len(windows)
    assert moments is not None, "there is at least one batch"
    return Moments(moments.inputs / count, moments.pairs / count, moments.squares / count)


def sample(x: torch.Tensor, wanted: torch.Tensor,
           generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows [P, 9 C + 1] in the order of a kernel's weights, and what is wanted there, [P, C_out]."""
    framed = functional.pad(x, (1, 1, 1, 1))
    height, width = x.shape[2:]
    windows, values = [], []
    for source, target in zip(framed, wanted, strict=True):
        places = torch.randperm(height * width, generator=generator)[:WINDOWS]
        rows, columns = places // width, places % width
        taps = [source[:, rows + dy, columns + dx] for dy in range(3) for dx in range(3)]
        windows.append(torch.stack(taps, dim=1).flatten(0, 1).T)
        values.append(target[:, rows, columns].T)
    found = torch.cat(windows)
    return torch.cat([found, torch.ones(len(found), 1)], dim=1), torch.cat(values)


@torch.no_grad()
def fit(layer: NormalisedConv, moments: Moments) -> None:
    """Sets a layer to the regression. Its convolution has sums of deviation 1; the rest is up to its
    normalisation. Outputs that are pooled have the unit of what is wanted, others deviation 1."""
    conv, norm, outputs = layer.conv, layer.norm, layer.shape.out_channels
    deviation = (moments.squares - moments.pairs[-1].square()).clamp_min(0).sqrt().clamp_min(SMALLEST)
    inputs, pairs = moments.inputs.double(), (moments.pairs / deviation).double()
    damping = torch.full((len(inputs),), DAMPING * float(inputs[:-1, :-1].trace()) / (len(inputs) - 1),
                         dtype=torch.float64)
    damping[-1] = 0
    found = torch.linalg.solve(inputs + damping.diag(), pairs)
    weight, bias, mean = found[:-1].T, found[-1], inputs[-1, :-1]
    covariance = inputs[:-1, :-1] - mean.outer(mean)
    power = ((weight @ covariance) * weight).sum(1).clamp_min(SMALLEST**2).sqrt()
    unit = deviation.double() if layer.shape.pool else torch.ones(outputs, dtype=torch.float64)
    conv.weight.copy_((weight / power[:, None]).view(conv.weight.shape))
    norm.weight.copy_(power * unit)
    norm.bias.copy_((bias + weight @ mean) * unit)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(weight @ mean / power)
    norm.running_var.fill_(1.0)


def fit_layer(layer: NormalisedConv, read: str, taught: Sequence[str],
              targets: Callable[[Maps], torch.Tensor], passes: Sequence[Pass], seed: int) -> None:
    """Fits a layer to ``targets`` of the maps ``taught``; it reads the map ``read`` of the passes."""
    batches = ((maps[read], targets(maps)) for given in passes for maps in given.batches([read, *taught]))
    with torch.inference_mode():
        moments = accumulate(batches, seed)
    fit(layer, moments)


@torch.no_grad()
def explained(layer: NormalisedConv, read: str, taught: Sequence[str],
              targets: Callable[[Maps], torch.Tensor], held_out: Pass) -> float:
    """The share of the variance of what is wanted that the layer's sums explain, the mean over channels."""
    layer.eval()
    parts = [(layer.sums(maps[read]), targets(maps)) for maps in held_out.batches([read, *taught])]
    found, wanted = torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])
    if not layer.shape.pool:
        wanted = wanted / wanted.std((0, 2, 3), keepdim=True).clamp_min(SMALLEST)
    return float((1 - (found - wanted).square().mean((0, 2, 3)) / wanted.var((0, 2, 3))).mean())
