"""What compression costs in mAP: several compressed networks of the same float weights, side by side.

    python bench/compressed_retrieval.py WEIGHTS NETWORK.safetensors ... --dataset DIR --train DIR

Descriptors are those of ``kestrel evaluate --pooling nip --rotations 1``, without whitening and with one that
is trained on --train photographs (the vectors of their regions) and applied once, after the average; each
network and the float network have their own. Every picture is computed once a network. Written as JSON and
printed as a table: mAP, the difference to the float network with the interval of a paired bootstrap over the
queries, the mean cosine of the unwhitened descriptors to the float network's.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.images import list_images, load_image
from kestrel.sw.retrieval.benchmark.bootstrap import Difference, paired_bootstrap
from kestrel.sw.retrieval.benchmark.datasets import Benchmark
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import Scatter
from kestrel.sw.retrieval.pooling.nip import combine, region_vectors


@dataclass(frozen=True)
class Described:
    """Descriptors of a benchmark's images by one network, float32 [N, D]."""

    plain: np.ndarray
    whitened: np.ndarray


@dataclass(frozen=True)
class Result:
    """One network. plain, whitened: mAP; the differences: to the float network; cosine: of the plain
    descriptors to the float network's."""

    network: str
    activation_bits: int
    mask_bits: tuple[int, ...]
    bits_per_weight: float
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
        return (f"{self.network}: plain {parts[0]}, whitened {parts[1]}, cosine {self.cosine:.5f} "
                f"(lowest {self.cosine_lowest:.5f})")


def describe(describer: Describer, images: Sequence[Path], training: Sequence[Path], size: int) -> Described:
    """Descriptors of ``images``, plain and whitened by ``training``."""
    scatter = Scatter(describer.dimension)
    for vectors in _regions(describer, training, size):
        scatter.add(vectors)
    whitening = scatter.fit(None, "after", describer.settings)
    plain, whitened = [], []
    for vectors in _regions(describer, images, size):
        plain.append(combine([[vectors]], [1.0], describer.chain, None))
        whitened.append(combine([[vectors]], [1.0], describer.chain, whitening))
    return Described(np.stack(plain), np.stack(whitened))


def _regions(describer: Describer, paths: Sequence[Path], size: int) -> Iterator[np.ndarray]:
    batch = describer.backend.batch(size, size)
    for start in range(0, len(paths), batch):
        pictures = [load_image(path, size, size) for path in paths[start : start + batch]]
        for features in describer.backend.features(pictures):
            yield region_vectors(features, describer.chain)


def average_precisions(benchmark: Benchmark, vectors: np.ndarray, settings: DescriptorSettings) -> np.ndarray:
    """Of every query that has something to find, float64 [Q]."""
    found = evaluate(benchmark, Descriptors(settings, benchmark.images, vectors))
    return np.array([query.ap for query in found.per_query if query.split == found.headline])


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("weights")
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--dataset", required=True, type=Path)
    parser.add_argument("--protocol", default="groups")
    parser.add_argument("--train", required=True, type=Path)
    parser.add_argument("--train-images", type=int, default=120)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/compressed_retrieval.json"))
    options = parser.parse_args(arguments)

    benchmark = load_benchmark(options.protocol, options.dataset)
    images = [benchmark.folder / name for name in benchmark.images]
    photographs = list_images(options.train)
    count = min(options.train_images, len(photographs))
    training = [photographs[n * len(photographs) // count] for n in range(count)]

    describer = make_describer(options.networks[0], DescriptorOptions(
        size=options.size, backend="float", weights=options.weights))
    floats = describe(describer, images, training, options.size)
    wanted = [average_precisions(benchmark, d, describer.settings) for d in (floats.plain, floats.whitened)]
    print(f"float: plain {wanted[0].mean():.4f}, whitened {wanted[1].mean():.4f}", flush=True)
    results: list[Result] = []
    for path in options.networks:
        network = load_network(path)
        describer = make_describer(network, DescriptorOptions(size=options.size))
        found = describe(describer, images, training, options.size)
        plain, whitened = (average_precisions(benchmark, d, describer.settings)
                           for d in (found.plain, found.whitened))
        cosines = (found.plain.astype(np.float64) * floats.plain).sum(axis=1)
        results.append(Result(
            path.name, network.activation_bits, tuple(layer.mask_bits for layer in network.layers),
            network.weight_bits / sum(layer.mask.size for layer in network.layers),
            float(plain.mean()), paired_bootstrap(plain, wanted[0]),
            float(whitened.mean()), paired_bootstrap(whitened, wanted[1]),
            float(cosines.mean()), float(cosines.min()),
        ))  # fmt: skip
        print(results[-1].line(), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({
        "weights": Path(options.weights).name, "size": options.size, "images": len(images),
        "queries": len(wanted[0]), "training_images": count,
        "float": {"plain": wanted[0].mean(), "whitened": wanted[1].mean()},
        "networks": [asdict(result) for result in results],
    }, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
