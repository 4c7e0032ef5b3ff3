"""Images a second of descriptor extraction against the bare network's, float and integer, in the same run.

    python bench/extraction.py NETWORK WEIGHTS FOLDER [--images N] [--repeats N] [--pooling NAME,...]

Bare: the backend's last layer on crops that lie ready in memory, in the same batches. Extraction: files read,
decoded, cropped, computed, pooled, as ``kestrel describe`` does it. Both backends and both kinds alternate,
so that they see the same machine; medians count. Wanted: extraction at least 0.8 of bare
(``extraction_share``), and the reference at least half of float (``reference_to_float``). The machine's load
is given, since others at work on it slow down one run more than another. Writes JSON to standard output and
to ``build/bench/extraction.json``.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from kestrel.sw.pictures.images import list_images, open_image
from kestrel.sw.retrieval.describe.crops import cut_crops
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions

OUTPUT = Path("build/bench/extraction.json")
BACKENDS = ("float", "reference")


def batches(crops: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    for first in range(0, len(crops), size):
        yield crops[first : first + size]


def bare(describer: Describer, crops: list[np.ndarray]) -> None:
    for batch in batches(crops, describer.backend.batch(*crops[0].shape[:2])):
        describer.backend.features(batch)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(describers: dict[str, Describer], paths: list[Path], repeats: int) -> dict[str, object]:
    names = [path.name for path in paths]
    cropping = describers["reference"].crops
    crops = [crop for path in paths for crop in cut_crops(open_image(path), cropping).pictures]
    runs: dict[str, Callable[[], object]] = {}
    for name, describer in describers.items():
        runs[f"{name} bare"] = lambda d=describer: bare(d, crops)
        runs[f"{name} extraction"] = lambda d=describer: d.describe(paths, names)
        bare(describer, crops[:8])  # warm-up; the reference probes the convolutions
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(repeats):
        for key, run in runs.items():
            times[key].append(seconds(run))
    rate = {key: len(paths) / statistics.median(values) for key, values in times.items()}
    best = {key: len(paths) / min(values) for key, values in times.items()}
    return {
        "crops": len(crops) / len(paths),
        "images_per_second": {key: round(value, 3) for key, value in rate.items()},
        "extraction_share": {e: round(rate[f"{e} extraction"] / rate[f"{e} bare"], 3) for e in BACKENDS},
        "reference_to_float": round(rate["reference extraction"] / rate["float extraction"], 3),
        "of_fastest_runs": {
            "extraction_share": {e: round(best[f"{e} extraction"] / best[f"{e} bare"], 3) for e in BACKENDS},
            "reference_to_float": round(best["reference extraction"] / best["float extraction"], 3),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", help="compressed network")
    parser.add_argument("weights", help="its float weights")
    parser.add_argument("folder", type=Path, help="photographs")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--pooling", default="nip,rnip9x")
    arguments = parser.parse_args()
    paths = list_images(arguments.folder)[: arguments.images]
    results: dict[str, object] = {}
    for pooling in arguments.pooling.split(","):
        describers = {
            backend: make_describer(arguments.network, DescriptorOptions(
                pooling=pooling, backend=backend, weights=arguments.weights))
            for backend in BACKENDS
        }
        # Of many crops a picture fewer pictures do: their reading is spread over the more work.
        some = paths if pooling in {"nip", "rmac", "sqrt"} else paths[: max(len(paths) // 4, 8)]
        results[pooling] = measure(describers, some, arguments.repeats)
        print(f"{pooling}: {results[pooling]}", file=sys.stderr)
    report = {
        "bench": "extraction",
        "network": Path(arguments.network).name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "images": len(paths),
        "repeats": arguments.repeats,
        "load_average": os.getloadavg(),
        "results": results,
    }
    text = json.dumps(report, indent=2)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
