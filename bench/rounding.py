"""Plain weights of few bits, rounded by methods of others, to be held against masks at equal bits.

    python bench/rounding.py WEIGHTS --network vgg16:pool3 --preprocessing caffe --calibrate DIR -o FOLDER
    python bench/compressed_retrieval.py WEIGHTS FOLDER/*.safetensors NETWORK ... --dataset DIR --train DIR

Each method makes real weights of the float network's 3x3 convolutions, one layer after another, each from the
windows that it sees behind the layers before it, which are rounded already:

nearest    the nearest level; scale and offset of an output channel are those of least squared error
gptq       the same levels; column by column, what is lost is made up for by the columns that are still to
           come (Frantar et al. 2023, equations 2 and 3, in the given order of columns)
adaround   the same levels; for every weight it is learnt whether it goes up or down (Nagel et al. 2020,
           equations 21 to 24), for the error of the layer's sums, which is a quadratic form of the windows'
           second moments; the ReLU behind them is left out
ternary    -1, 0 or 1, the threshold .7 of the mean magnitude (Li and Liu 2016), an 8-bit scale for each group
           of weights of an output channel

Activations stay float32. Bits a weight are those of levels (ternary: five in a byte), of scales and of
offsets (16 bits each), without biases. FOLDER/rounding.json has for each file its bits, the share of the
layers' output power that is lost, on average, and the seconds it took.
"""
import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from kestrel.sw.compress.calibrate import CalibrationPictures, folder_pictures
from kestrel.sw.compress.output_fit import sampled_windows
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.preprocessing import Preprocessing, find_preprocessing
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.retrain.start import load_float

DAMPING = 0.01
"""Share of the mean diagonal of the moments that is added to it."""

SHRINKS = np.linspace(0.3, 1.0, 36)
"""Shares of a channel's range that its levels may span."""

OFFSET_BITS = SCALE_BITS = 16
GROUP_SCALE_BITS = 8
TRIT_BITS = 8 / 5
TERNARY_THRESHOLD = 0.7

ADAROUND_STEPS, ADAROUND_RATE = 500, 0.03
STRETCHED = (-0.1, 1.1)
"""The sigmoid of a weight's variable is stretched to these and cut at 0 and 1."""
PUSH, WARMUP, SHARP = 0.01, 0.2, (20.0, 2.0)
"""The weight of the term that pushes to 0 and 1, relative to the mean error; the share of the steps without
it; its exponent at the beginning and at the end."""


@dataclass(frozen=True)
class Levels:
    """scale, offset: float64 [C_out, 1]; a weight is scale * (level - offset), level 0..2**bits - 1."""

    scale: np.ndarray
    offset: np.ndarray
    bits: int

    def at(self, weight: np.ndarray) -> np.ndarray:
        """The places of weights [C_out, K] among the levels, not rounded."""
        return weight / self.scale + self.offset

    def real(self, level: np.ndarray) -> np.ndarray:
        return self.scale * (np.clip(level, 0, (1 << self.bits) - 1) - self.offset)

    def nearest(self, weight: np.ndarray) -> np.ndarray:
        return self.real(np.round(self.at(weight)))


Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rounds weights [C_out, K] for windows of second moments [K, K]."""


def fit_levels(weight: np.ndarray, bits: int) -> Levels:
    """Of least squared error among ranges that shrink from the channel's extremes."""
    low, high = (np.minimum(weight.min(1, keepdims=True), 0), np.maximum(weight.max(1, keepdims=True), 0))
    best, chosen = np.full(len(weight), np.inf), None
    for shrink in SHRINKS:
        scale = np.maximum((high - low) * shrink / ((1 << bits) - 1), np.finfo(np.float32).tiny)
        levels = Levels(scale, -low * shrink / scale, bits)
        error = np.square(weight - levels.nearest(weight)).sum(1)
        better = (error < best)[:, None]
        best = np.minimum(error, best)
        chosen = levels if chosen is None else Levels(np.where(better, levels.scale, chosen.scale),
                                                      np.where(better, levels.offset, chosen.offset), bits)
    assert chosen is not None
    return chosen


def nearest(weight: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:  # noqa: ARG001 (Method)
    return fit_levels(weight, bits).nearest(weight)


def gptq(weight: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:
    levels, rest, found = fit_levels(weight, bits), weight.copy(), np.empty_like(weight)
    upper = np.linalg.cholesky(np.linalg.inv(moments)).T
    for column in range(weight.shape[1]):
        now = rest[:, column : column + 1]
        found[:, column : column + 1] = levels.nearest(now)
        lost = (now - found[:, column : column + 1]) / upper[column, column]
        rest[:, column + 1 :] -= lost * upper[column, column + 1 :]
    return found


def adaround(weight: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:
    levels = fit_levels(weight, bits)
    place = np.clip(levels.at(weight), 0, (1 << bits) - 1)
    floor, low, high = np.floor(place), *STRETCHED
    start = np.clip(((place - floor) - low) / (high - low), 1e-3, 1 - 1e-3)
    variable = torch.from_numpy(np.log(start / (1 - start)).astype(np.float32)).requires_grad_()
    target, base, scale = (torch.from_numpy(x.astype(np.float32))
                           for x in (weight, levels.real(floor), levels.scale))
    form = torch.from_numpy((moments / np.trace(moments) * len(moments)).astype(np.float32))
    unit = float(((base + 0.5 * scale - target) @ form * (base + 0.5 * scale - target)).sum(1).mean())
    optimiser = torch.optim.Adam([variable], ADAROUND_RATE)
    for step in range(ADAROUND_STEPS):
        up = (torch.sigmoid(variable) * (high - low) + low).clamp(0, 1)
        lost = base + scale * up - target
        loss = ((lost @ form) * lost).sum(1).mean() / unit
        done = (step / ADAROUND_STEPS - WARMUP) / (1 - WARMUP)
        if done > 0:
            sharp = SHARP[1] + (SHARP[0] - SHARP[1]) * (1 - done)
            loss = loss + PUSH * (1 - (2 * up - 1).abs().pow(sharp)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return levels.real(floor + (variable.detach().numpy() > 0))


def group_of(size: int, group: int) -> int:
    """Weights that share a scale: ``group``, or the whole channel of ``size`` where it has no such groups."""
    return group if size % group == 0 else size


def ternary(weight: np.ndarray, moments: np.ndarray, group: int) -> np.ndarray:  # noqa: ARG001 (Method)
    rows = weight.reshape(-1, group_of(weight.shape[1], group))
    size = np.abs(rows)
    sign = np.sign(rows) * (size > TERNARY_THRESHOLD * size.mean(1, keepdims=True))
    scale = (size * np.abs(sign)).sum(1, keepdims=True) / np.maximum(np.abs(sign).sum(1, keepdims=True), 1)
    unit = max(float(scale.max()), np.finfo(np.float32).tiny) / ((1 << GROUP_SCALE_BITS) - 1)
    return (sign * np.round(scale / unit) * unit).reshape(weight.shape)


@dataclass(frozen=True)
class Rounding:
    """A method by its name; bits: a weight's, given the number of weights of an output channel."""

    name: str
    method: Method
    bits: Callable[[int], float]


def roundings() -> list[Rounding]:
    """All that are compared."""
    plain = [Rounding(f"{method.__name__}-{bits}bit", partial(method, bits=bits),
                      lambda size, bits=bits: bits + (SCALE_BITS + OFFSET_BITS) / size)
             for bits in (2, 3, 4) for method in (nearest, gptq, adaround)]
    return plain + [Rounding(f"ternary-{group}", partial(ternary, group=group),
                             lambda size, group=group: TRIT_BITS + GROUP_SCALE_BITS / group_of(size, group))
                    for group in (9, 36)]


def moments_of(network: FloatNetwork, number: int, preprocessing: Preprocessing,
               pictures: CalibrationPictures) -> np.ndarray:
    """Of the windows that layer ``number`` reads, float64 [9 C_in, 9 C_in]."""
    model, shape = FloatModel(network), network.shape.layers[number]
    total = torch.zeros((shape.kernel**2 * shape.in_channels,) * 2)
    for n in range(len(pictures.names)):
        results = model.layers(real_batch([pictures.load(n)], preprocessing))
        windows = sampled_windows(next(islice(results, number, None)).source, n, shape)
        total.addmm_(windows, windows.T, alpha=1 / windows.shape[1] / len(pictures.names))
    return total.double().numpy()


def rounded(network: FloatNetwork, rounding: Rounding, preprocessing: Preprocessing,
            pictures: CalibrationPictures) -> tuple[FloatNetwork, dict[str, float | str]]:
    """The network with every layer rounded, and what is to be said of it."""
    start, bits, weights, lost = perf_counter(), 0.0, 0, []
    for number, weight in enumerate(network.weights):
        moments = moments_of(network, number, preprocessing, pictures)
        damped = moments + np.eye(len(moments)) * (DAMPING * np.trace(moments) / len(moments))
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        found = rounding.method(rows, damped)
        powers = [((rows_ @ moments) * rows_).sum() for rows_ in (rows - found, rows)]
        lost.append(powers[0] / powers[1])
        bits, weights = bits + rounding.bits(rows.shape[1]) * rows.size, weights + rows.size
        changed = list(network.weights)
        changed[number] = found.reshape(weight.shape).astype(np.float32)
        network = replace(network, weights=tuple(changed))
    return network, {"name": rounding.name, "bits_per_weight": bits / weights,
                     "output_power_lost": float(np.mean(lost)), "seconds": perf_counter() - start}


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("weights")
    parser.add_argument("--network", default="vgg16:pool3")
    parser.add_argument("--preprocessing", default="caffe")
    parser.add_argument("--calibrate", required=True, type=Path)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--only", default="", help="methods whose names contain this")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/rounding"))
    options = parser.parse_args(arguments)
    network = load_float(options.weights, options.network, options.preprocessing)
    preprocessing = find_preprocessing(options.preprocessing)
    pictures = folder_pictures(options.calibrate, options.size, options.size)
    pictures = replace(pictures, names=pictures.names[: options.pictures])
    options.output.mkdir(parents=True, exist_ok=True)
    lines = []
    for rounding in roundings():
        if options.only in rounding.name:
            found, line = rounded(network, rounding, preprocessing, pictures)
            save_weights(found, options.output / f"{rounding.name}.safetensors")
            lines.append(line)
            print(json.dumps(line), flush=True)
    (options.output / "rounding.json").write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
