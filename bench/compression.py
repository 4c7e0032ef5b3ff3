"""How near a compressed network stays to its float network: cosines on photographs, as JSON.

    python bench/compression.py WEIGHTS --network vgg16:pool3 --calibrate DIR -o compression.json

For every setting (mask bits, fitting rule, activation bits) the network is compressed through the public
interface and both networks run over the pictures of DIR, or of ``--compare DIR``, which the network then has
not been fitted to. Reported are, averaged over the pictures: for each
layer the cosine between the raw features of the integer and the float network, and for the last layer the
cosine of the pooled vectors (per channel the square root of the mean of squares, then L2).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from kestrel.sw.compress.calibrate import CalibrationPictures, folder_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.compress.report import CompressionReport
from kestrel.sw.model.float_network import FloatModel, real_batch
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import quantise_pixels

BATCH = 8


@dataclass(frozen=True)
class Setting:
    """What is compared: mask bits as on the command line, fitting rule, activation bits, percentile."""

    mask_bits: str
    fit: str = "least-squares"
    activation_bits: int = 8
    percentile: float = 99.99


SETTINGS = (
    Setting("3"),
    Setting("3", activation_bits=5),
    Setting("5*2,4*1,3*2,2*1,1*1"),
    Setting("1"),
    Setting("3", "output"),
    Setting("5*2,4*1,3*2,2*1,1*1", "output"),
    Setting("1", "output"),
    Setting("1", "output", activation_bits=5),
    Setting("3", "sequential"),
    Setting("3", "sequential", activation_bits=5),
    Setting("1", "sequential"),
    Setting("1", "sequential", activation_bits=5),
    Setting("3", "vendor"),
    Setting("3", "vendor", activation_bits=5),
    Setting("3", "paper"),
)
"""For a network of seven layers, as vgg16:pool3."""


@dataclass(frozen=True)
class Result:
    """Cosines of one setting. ``pooled_lowest`` is the least over the pictures."""

    setting: Setting
    pooled: float
    pooled_lowest: float
    raw: dict[str, float]
    compress_seconds: float
    run_seconds: float
    report: CompressionReport


def pool(maps: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> unit vectors float64 [N, C]: square root of the mean of squares, L2."""
    return torch.nn.functional.normalize(maps.double().square().mean(dim=(2, 3)).sqrt(), dim=1)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of each picture's raw features, [N]."""
    return torch.nn.functional.cosine_similarity(a.double().flatten(1), b.double().flatten(1))


def measure(network: FloatNetwork, setting: Setting, calibration: CalibrationPictures,
            pictures: CalibrationPictures, preprocessing: str) -> Result:
    """Compresses by ``calibration``, runs both networks over ``pictures``, compares."""
    started = time.perf_counter()
    integers, report = compress(
        network, parse_mask_plan(setting.mask_bits, network.shape), calibration, preprocessing=preprocessing,
        activation_bits=setting.activation_bits, fit=setting.fit, percentile=setting.percentile,
    )
    compressed = time.perf_counter()
    prepared, model, reference = find_preprocessing(preprocessing), FloatModel(network), Reference(integers)
    raw: list[list[torch.Tensor]] = [[] for _ in network.shape.layers]
    pooled: list[torch.Tensor] = []
    for first in range(0, len(pictures.names), BATCH):
        batch = [pictures.load(n) for n in range(first, min(first + BATCH, len(pictures.names)))]
        x = torch.from_numpy(np.stack([quantise_pixels(p, prepared, setting.activation_bits) for p in batch]))
        found, wanted = reference.run(x), model.run(real_batch(batch, prepared))
        for cosines, a, b in zip(raw, found, wanted, strict=True):
            cosines.append(cosine(a, b))
        pooled.append((pool(found[-1]) * pool(wanted[-1])).sum(dim=1))
    names = [layer.name for layer in network.shape.layers]
    vectors = torch.cat(pooled)
    return Result(
        setting, float(vectors.mean()), float(vectors.min()),
        {name: float(torch.cat(c).mean()) for name, c in zip(names, raw, strict=True)},
        compressed - started, time.perf_counter() - compressed, report,
    )


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("weights")
    parser.add_argument("--network", default="vgg16:pool3")
    parser.add_argument("--preprocessing", default="caffe")
    parser.add_argument("--calibrate", required=True, type=Path)
    parser.add_argument("--compare", type=Path, help="pictures to compare on (default: those of --calibrate)")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--mask-bits", help="measure only this plan, with the three options below")
    parser.add_argument("--fit", default="least-squares")
    parser.add_argument("--activation-bits", type=int, default=8)
    parser.add_argument("--percentile", type=float, default=99.99)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)

    shape = parse_network(options.network)
    network = load_weights(options.weights, shape)
    calibration = folder_pictures(options.calibrate, options.size, options.size)
    pictures = folder_pictures(options.compare or options.calibrate, options.size, options.size)
    settings = SETTINGS if options.mask_bits is None else (
        Setting(options.mask_bits, options.fit, options.activation_bits, options.percentile),)
    results: list[Result] = []
    for setting in settings:
        results.append(measure(network, setting, calibration, pictures, options.preprocessing))
        print(f"{setting}: pooled {results[-1].pooled:.4f}", file=sys.stderr, flush=True)
    text = json.dumps({
        "weights": Path(options.weights).name, "network": options.network, "size": options.size,
        "preprocessing": options.preprocessing, "pictures": len(pictures.names),
        "results": [{**asdict(r), "bits": r.report.bits} for r in results],
    }, indent=2)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
