"""Images a second in training and in the integer reference, against float in the same run, as JSON.

    python bench/training.py [WEIGHTS] [--network vgg16:pool3] [--size 96] [--batch 8] [-o training.json]

In turn, so that a busy machine slows all alike: a training step of the quantised network (quantise, forward,
backward, by distillation, the optimiser's step aside), one of the float network, both networks' inference,
and the reference. Medians over the rounds, and the peak memory of the process.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from sw.compress.calibrate import generated_pictures
from sw.compress.mask_plan import parse_mask_plan
from sw.compress.pipeline import compress
from sw.images import generate_picture
from sw.network import parse_network
from sw.reference import Reference
from sw.retrain.losses import Loss, LossSettings, parse_losses
from sw.retrain.network import FloatConvs, QuantisedNetwork, QuantiseOptions, integer_pixels
from sw.training.data import Batch
from sw.weights import load_weights


def main(arguments: Sequence[str]) -> None:
    """Command line, see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("weights", nargs="?", default="random:1")
    parser.add_argument("--network", default="vgg16/8")
    parser.add_argument("--mask-bits", default="3")
    parser.add_argument("--preprocessing", default="caffe")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)

    shape, device = parse_network(options.network), torch.device(options.device)
    weights = load_weights(options.weights, shape)
    network, _ = compress(weights, parse_mask_plan(options.mask_bits, shape),
                          generated_pictures(options.size, options.size), preprocessing=options.preprocessing)
    student = QuantisedNetwork(network, QuantiseOptions()).to(device)
    floats = FloatConvs(weights, student.preprocessing).to(device)
    teacher = FloatConvs(weights, student.preprocessing).to(device).requires_grad_(requires_grad=False)
    loss = Loss(shape, LossSettings(parse_losses("distill")), teacher)
    pictures = torch.from_numpy(np.stack([
        generate_picture(options.size, options.size, n) for n in range(options.batch)])).to(device)
    unknown = torch.full((options.batch,), -1, device=device)
    batch = Batch(pictures, unknown, unknown)
    reference = Reference(network)
    pixels = integer_pixels(pictures, student.preprocessing, 8).to("cpu", torch.uint8)

    def step(network: QuantisedNetwork | FloatConvs) -> None:
        if isinstance(network, QuantisedNetwork):
            network.quantise(search=False)
        terms = loss(network(pictures, loss.wanted), batch, loss.teach(pictures))
        loss.total(terms).backward()

    def infer(network: QuantisedNetwork | FloatConvs) -> None:
        with torch.no_grad():
            network(pictures, [loss.last])

    work: dict[str, Callable[[], object]] = {
        "train_quantised": lambda: step(student), "train_float": lambda: step(floats),
        "infer_quantised": lambda: infer(student), "infer_float": lambda: infer(floats),
        "reference": lambda: reference.last(pixels),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(options.rounds + 1):
        for name, do in work.items():
            started = time.perf_counter()
            do()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated()
    text = json.dumps({
        "network": options.network, "weights": Path(options.weights).name, "size": options.size,
        "batch": options.batch, "device": str(device), "threads": torch.get_num_threads(),
        "images_per_second": {name: options.batch / float(np.median(s)) for name, s in seconds.items()},
        "peak_memory_bytes": peak,
    }, indent=2)  # fmt: skip
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
