"""Images a second and memory of training with quantised weights, against the float network and the reference.

    python bench/training.py [WEIGHTS] [--network NAME] [--size N] [--batch N] [--steps N] [--repeats N]

WEIGHTS as for ``kestrel compress``, random:1 by default. Measured, on pictures that lie ready in memory:

    train quantised   steps of Algorithm 1 as ``kestrel retrain`` does them, distillation with a teacher
    train float       the same steps with the float network as student
    run reference     the integer network by kestrel.sw.model.reference (CPU)
    run float         the float network, forward only

They alternate in one process, so that they see the same machine, and medians count; on a GPU where there is
one as well. Memory: the most that a process of its own takes for each of them beyond what it takes before
(CPU, by Linux' account of it), or the most that torch allocates (GPU). Writes JSON to standard output and to
``build/bench/training.json``.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.storage.load import load_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import generate_picture, quantise_pixels
from kestrel.sw.retrain.losses import Loss, LossSettings, parse_losses
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.samples.batches import DataSettings, TrainingData
from kestrel.sw.retrain.samples.folder import UNKNOWN, TrainingSet
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.trainer import Trainer

OUTPUT = Path("build/bench/training.json")
KIBI = 1024
MEBI = 1024 * 1024


@dataclass(frozen=True)
class Job:
    """What is measured, in terms that another process can be given."""

    weights: str
    network: str
    mask_bits: str
    preprocessing: str
    size: int
    batch: int
    steps: int


class MemoryPictures:
    """Pictures that lie ready: uint8 [N, H, W, 3]."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def read(self, index: int) -> np.ndarray:
        return self.pictures[index]


class Bench:
    """The networks and pictures of a job. Every run takes ``job.steps`` batches and returns its seconds."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self.job, self.device = job, device
        self.prepared = find_preprocessing(job.preprocessing)
        shape = parse_network(job.network)
        self.floats: FloatNetwork = load_weights(job.weights, shape, min(self.prepared.scale))
        self.integers: CompressedNetwork = compress(
            self.floats, parse_mask_plan(job.mask_bits, shape), generated_pictures(64, 64, count=2),
            preprocessing=job.preprocessing,
        )[0]
        self.pictures = np.stack([generate_picture(job.size, job.size, n) for n in range(job.batch)])
        self.reference = Reference(self.integers)
        self.model = FloatConvs(self.floats, self.prepared).to(device)

    def train(self, *, quantised: bool) -> float:
        """Seconds of the steps; start-up, and validation, which there is none of, apart."""
        job, count = self.job, len(self.pictures)
        teacher = FloatConvs(self.floats, self.prepared)
        student = (QuantisedNetwork(self.integers, QuantiseOptions(), self.floats) if quantised
                   else FloatConvs(self.floats, self.prepared))
        shape = parse_network(job.network)
        loss = Loss(shape, LossSettings(parse_losses("distill")), teacher)
        data = TrainingSet(MemoryPictures(self.pictures), (UNKNOWN,) * count, (UNKNOWN,) * count)
        settings = DataSettings(job.size, job.size, batch_size=job.batch)
        with TrainingData(data, settings) as batches:
            trainer = Trainer(student, loss, batches, None,
                              TrainSettings(job.steps, validate_every=job.steps), self.device)
            result = trainer.run()
        self._wait()
        return result.seconds

    def run_reference(self) -> float:
        pixels = np.stack([quantise_pixels(p, self.prepared, self.integers.activation_bits)
                           for p in self.pictures])
        x = torch.from_numpy(pixels)
        return _seconds(lambda: self.reference.last(x), self.job.steps)

    def run_float(self) -> float:
        x = torch.from_numpy(self.pictures).to(self.device)
        last = len(self.floats.shape.layers) - 1

        def step() -> None:
            with torch.inference_mode():
                self.model(x, [last])
            self._wait()

        return _seconds(step, self.job.steps)

    def kinds(self) -> dict[str, Callable[[], float]]:
        runs = {
            "train quantised": lambda: self.train(quantised=True),
            "train float": lambda: self.train(quantised=False),
            "run float": self.run_float,
        }
        return runs | ({"run reference": self.run_reference} if self.device.type == "cpu" else {})

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _seconds(step: Callable[[], object], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def measure(job: Job, device: torch.device, repeats: int) -> dict[str, Any]:
    """Rates and memory on one device."""
    bench = Bench(job, device)
    runs = bench.kinds()
    memory: dict[str, float] = {}
    for kind, run in runs.items():  # also the warm-up
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            run()
            memory[kind] = torch.cuda.max_memory_allocated() / MEBI
        else:
            run()
            memory[kind] = _memory(job, kind)
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    for _ in range(repeats):
        for kind, run in runs.items():
            times[kind].append(run())
    images = job.batch * job.steps
    rates = {kind: images / statistics.median(values) for kind, values in times.items()}
    return {
        "images_per_second": {kind: round(rate, 3) for kind, rate in rates.items()},
        "fastest": {kind: round(images / min(values), 3) for kind, values in times.items()},
        "slowest": {kind: round(images / max(values), 3) for kind, values in times.items()},
        "train_quantised_to_float": round(rates["train quantised"] / rates["train float"], 3),
        "memory_mib": {kind: round(value, 1) for kind, value in memory.items()},
    }


def _memory(job: Job, kind: str) -> float:
    """Mebibytes of a run, in a process of its own: what earlier runs took would hide it."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (job, kind))


def _peak(job: Job, kind: str) -> float:
    run = Bench(job, torch.device("cpu")).kinds()[kind]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / KIBI


def _status(name: str) -> int:
    """Kibibytes from the system's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", nargs="?", default="random:1")
    parser.add_argument("--network", default="vgg16/8")
    parser.add_argument("--mask-bits", default="3")
    parser.add_argument("--preprocessing", default="torchvision")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the median counts")
    arguments = parser.parse_args()
    job = Job(arguments.weights, arguments.network, arguments.mask_bits, arguments.preprocessing,
              arguments.size, arguments.batch, arguments.steps)
    torch.set_num_threads(arguments.threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    results: dict[str, Any] = {}
    for name in devices:
        results[name] = measure(job, torch.device(name), arguments.repeats)
        print(f"{name}: {results[name]}", file=sys.stderr)
    report = {
        "bench": "training", "network": arguments.network, "weights": Path(arguments.weights).name,
        "mask_bits": arguments.mask_bits, "size": job.size, "batch": job.batch, "steps": job.steps,
        "repeats": arguments.repeats, "torch": torch.__version__, "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg(), "results": results,
    }  # fmt: skip
    text = json.dumps(report, indent=2)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
