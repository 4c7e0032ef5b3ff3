"""Time of the integer reference against torch's own float32 network of the same shapes, in the same run.

    python bench/reference.py [--repeats N]

Both compute the last layer's output of the same random images. The float network is convolution, ReLU and
2x2 pooling in float32, in both memory formats; the faster of the two is the yardstick. The integer network
has random masks and scalars over their whole range, which is the hardest case for the reference: trained
scalars are smaller, so that fewer layers have to be split. Runs alternate, so that both see the same
machine; medians are compared (``ratio``). On a machine that others use at the same time, two threads wait
for each other at every operation and the reference, which has more and smaller ones, loses more by it: the
load average is therefore given, and the ratio of the fastest runs. Writes JSON to standard output and to
``build/bench/reference.json``.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.reference import Reference
from kestrel.verif.cases.random_network import random_network

SIZE = 224
CASES = (
    ("vgg16", "3*7,1*6", 1),
    ("vgg16", "3*7,1*6", 4),
    ("vgg16:pool3", "3*7", 1),
    ("vgg16:pool3", "3*7", 4),
)
OUTPUT = Path("build/bench/reference.json")


def float_network(shape: NetworkShape) -> nn.Sequential:
    modules: list[nn.Module] = []
    for layer in shape.layers:
        modules += [nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1), nn.ReLU(inplace=True)]
        if layer.pool:
            modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules).eval()


def mask_widths(text: str) -> list[int]:
    return [int(bits) for part in text.split(",") for bits, n in [part.split("*")] for _ in range(int(n))]


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(name: str, mask_bits: str, batch: int, threads: int, repeats: int) -> dict[str, object]:
    shape = parse_network(name)
    rng = np.random.default_rng(1)
    reference = Reference(random_network(rng, shape.layers, mask_widths(mask_bits)))
    pixels = torch.from_numpy(rng.integers(0, 256, (batch, 3, SIZE, SIZE)).astype(np.uint8))
    plain = float_network(shape)
    last = float_network(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    real = pixels.float()
    real_last = real.contiguous(memory_format=torch.channels_last)
    runs = {
        "float32": lambda: plain(real),
        "float32_channels_last": lambda: last(real_last),
        "reference": lambda: reference.last(pixels),
    }
    times: dict[str, list[float]] = {key: [] for key in runs}
    with torch.inference_mode():
        for run in runs.values():
            run()  # warm-up; the reference probes the convolutions
        for _ in range(repeats):
            for key, run in runs.items():
                times[key].append(seconds(run))
    median = {key: statistics.median(values) for key, values in times.items()}
    float_seconds = min(median["float32"], median["float32_channels_last"])
    fastest_float = min(*times["float32"], *times["float32_channels_last"])
    return {
        "network": name,
        "mask_bits": mask_bits,
        "height": SIZE,
        "width": SIZE,
        "batch": batch,
        "threads": threads,
        "repeats": repeats,
        "seconds": {key: round(value, 4) for key, value in median.items()},
        "ratio": round(median["reference"] / float_seconds, 3),
        "ratio_of_fastest_runs": round(min(times["reference"]) / fastest_float, 3),
        "in_float64": sorted(reference.in_float64),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, of which the median counts")
    arguments = parser.parse_args()
    results: list[dict[str, object]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for case in CASES:
            results.append(measure(*case, threads, arguments.repeats))
            print(f"{results[-1]['network']} batch {case[2]}, {threads} threads: {results[-1]['ratio']}",
                  file=sys.stderr)  # fmt: skip
    report = {
        "bench": "reference",
        "torch": torch.__version__,
        "load_average": os.getloadavg(),
        "worst_ratio": max(float(str(r["ratio"])) for r in results),
        "results": results,
    }
    text = json.dumps(report, indent=2)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
