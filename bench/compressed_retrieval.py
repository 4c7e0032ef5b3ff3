"""What compression costs in mAP: several compressed networks of the same float weights, side by side.

    python bench/compressed_retrieval.py WEIGHTS NETWORK.safetensors ... --dataset DIR --train DIR

Descriptors are those of ``kestrel evaluate --rotations 1``, without whitening and with one that is trained on
--train photographs (the vectors of their regions) and applied once, after the average, or with ``--mode roi``
to every region; each network and the float network have their own. Files behind ``--rounded`` are float
weights of the same network, rounded by another method. ``--maps`` names inner maps to be measured
besides, each by itself, as if the network were cut there. Every crop is computed once a network. Written as
JSON and printed as a table: mAP, the difference to the float network with the interval of a paired bootstrap
over the queries, the mean cosine of the unwhitened descriptors to the float network's.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.images import list_images, load_image
from kestrel.sw.pictures.listing import spread
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.maps import parse_maps
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import MODES, Scatter
from kestrel.sw.retrieval.pooling.nip import combine, normalise


@dataclass(frozen=True)
class Described:
    """Descriptors of a benchmark's images by one network, float32 [N, D]."""

    plain: np.ndarray
    whitened: np.ndarray


@dataclass(frozen=True)
class Result:
    """One map of one network. Widths are those of its integers, which rounded floats have not. plain,
    whitened: mAP; the differences: to the float network; cosine: of the plain descriptors to the float
    network's."""

    network: str
    map: str
    activation_bits: int | None
    mask_bits: tuple[int, ...]
    bits_per_weight: float | None
    plain: float
    plain_difference: Difference
    whitened: float
    whitened_difference: Difference
    cosine: float
    cosine_lowest: float

    def line(self) -> str:
        parts = [f"{value:.4f} {d.difference:+.4f} ({d.low:+.4f} .. {d.high:+.4f})"
                 for value, d in ((self.plain, self.plain_difference),
                                  (self.whitened, self.whitened_difference))]
        return (f"{self.network} {self.map}: plain {parts[0]}, whitened {parts[1]}, "
                f"cosine {self.cosine:.5f} (lowest {self.cosine_lowest:.5f})")


@dataclass(frozen=True)
class Job:
    """What is described: the benchmark's images, the training photographs, and how the vectors of regions
    are whitened."""

    images: Sequence[Path]
    training: Sequence[Path]
    mode: str
    dimension: int | None


def describe(describer: Describer, job: Job) -> list[Described]:
    """Descriptors of the images, plain and whitened by the training photographs, for each map."""
    scatters = [Scatter(size) for size in describer.dimensions]
    for regions in describer.map_regions_of_pictures(map(load_image, job.training)):
        for scatter, vectors in zip(scatters, regions, strict=True):
            scatter.add(vectors)
    whitenings = [scatter.fit_map(job.dimension, job.mode) for scatter in scatters]
    plain: list[list[np.ndarray]] = [[] for _ in scatters]
    whitened: list[list[np.ndarray]] = [[] for _ in scatters]
    for regions in describer.map_regions_of_pictures(map(load_image, job.images)):
        for number, (vectors, whitening) in enumerate(zip(regions, whitenings, strict=True)):
            plain[number].append(combine([[vectors]], [1.0], describer.chain, None))
            white = normalise(whitening.transform(vectors)) if job.mode == "roi" else vectors
            whitened[number].append(combine([[white]], [1.0], describer.chain, whitening))
    return [Described(np.stack(a), np.stack(b)) for a, b in zip(plain, whitened, strict=True)]


def average_precisions(benchmark: Benchmark, vectors: np.ndarray, settings: DescriptorSettings) -> np.ndarray:
    """Of every query that has something to find, float64 [Q]."""
    return evaluate(benchmark, Descriptors(settings, benchmark.images, vectors)).average_precisions


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("weights")
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--rounded", nargs="+", default=[], type=Path)
    parser.add_argument("--protocol", default="groups")
    parser.add_argument("--train", required=True, type=Path)
    parser.add_argument("--train-images", type=int, default=120)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pooling", default="nip")
    parser.add_argument("--maps", help="names of maps, as of --pool-maps (default: the last)")
    parser.add_argument("--mode", choices=MODES, default="after")
    parser.add_argument("--dimension", type=int)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/compressed_retrieval.json"))
    options = parser.parse_args(arguments)

    benchmark = load_benchmark(options.protocol, options.dataset)
    job = Job([benchmark.folder / name for name in benchmark.images],
              spread(list_images(options.train), options.train_images), options.mode, options.dimension)
    chosen = DescriptorOptions(size=options.size, pooling=options.pooling,
                               pool_maps=parse_maps(options.maps))

    describer = make_describer(options.networks[0], replace(chosen, backend="float", weights=options.weights))
    settings = describer.settings
    names = settings.maps.split(",") if settings.maps else ["last"]
    floats = describe(describer, job)
    wanted = [tuple(average_precisions(benchmark, d, settings) for d in (f.plain, f.whitened))
              for f in floats]
    for name, (plain, whitened) in zip(names, wanted, strict=True):
        print(f"float {name}: plain {plain.mean():.4f}, whitened {whitened.mean():.4f}", flush=True)
    results: list[Result] = []
    for path in [*options.networks, *options.rounded]:
        network = None if path in options.rounded else load_network(path)
        describer = make_describer(network, chosen) if network else make_describer(
            options.networks[0], replace(chosen, backend="float", weights=str(path)))
        described = describe(describer, job)
        for name, found, ideal, goal in zip(names, described, floats, wanted, strict=True):
            plain, whitened = (average_precisions(benchmark, d, settings)
                               for d in (found.plain, found.whitened))
            cosines = (found.plain.astype(np.float64) * ideal.plain).sum(axis=1)
            results.append(Result(
                path.name, name, network.activation_bits if network else None,
                tuple(layer.mask_bits for layer in network.layers) if network else (),
                network.weight_bits / sum(layer.mask.size for layer in network.layers) if network else None,
                float(plain.mean()), paired_bootstrap(plain, goal[0]),
                float(whitened.mean()), paired_bootstrap(whitened, goal[1]),
                float(cosines.mean()), float(cosines.min()),
            ))  # fmt: skip
            print(results[-1].line(), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({
        "weights": Path(options.weights).name, "size": options.size, "pooling": options.pooling,
        "mode": options.mode, "images": len(job.images), "queries": len(wanted[0][0]),
        "training_images": len(job.training),
        "float": {name: {"plain": plain.mean(), "whitened": whitened.mean()}
                  for name, (plain, whitened) in zip(names, wanted, strict=True)},
        "networks": [asdict(result) for result in results],
    }, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
