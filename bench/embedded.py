"""Trains the embedded network: from a folder of photographs to one file of integers.

    python bench/embedded.py PHOTOGRAPHS [-o FOLDER] [--steps N] [--retrain-steps N] [--scenes N]
                             [--teacher WEIGHTS]

No labels and no other network are needed: the network learns to know a place again, from two views of the
same photograph, or of the same generated scene, among all others of the batch (sw/retrain/samples/views.py).
With a teacher, the weights of a residual network, float training also brings the last map near one of the
teacher's, and its descriptors' relations near those of the teacher's (sw/retrain/teacher.py).
Three stages, each of which leaves its file in FOLDER (build/embedded) and is left out if that is there:

    float.safetensors      float training; its normalisation of batches is folded into weights and biases
    start.safetensors      the float network compressed, ranges from photographs
    network.safetensors    Algorithm 1: the same loss through the integers, and distillation of the floats

Writes what was done and measured to FOLDER/run.json. ``kestrel evaluate`` measures the files.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from kestrel.cli.output import progress
from kestrel.sw.compress.calibrate import CalibrationPictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import load_network, save_network
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.network import NetworkShape, parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import FloatNetwork
from kestrel.sw.pictures.images import list_images, open_image, resize
from kestrel.sw.pictures.scenes import scene_views
from kestrel.sw.retrain.course import rate_factor
from kestrel.sw.retrain.losses import Loss, LossSettings, parse_losses
from kestrel.sw.retrain.networks.floats import FloatConvs, real_pixels
from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions
from kestrel.sw.retrain.networks.student import QuantisedNetwork
from kestrel.sw.retrain.optimiser import parameter_groups
from kestrel.sw.retrain.samples.batches import Batch
from kestrel.sw.retrain.samples.views import ViewSettings, contrast, reductions, relight, two_views
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.start import load_float
from kestrel.sw.retrain.teacher import Teacher
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor

PREPROCESSING = "torchvision"

TEACHER_NETWORK, TEACHER_LAYER = "resnet:layer4.0", "layer3_1_conv2"
"""What a teacher's file holds, and the layer whose map is taught."""

SCENE_SEED = 1_000_000
"""Of the first generated scene; ``make run`` and the tests look at the first few."""

SHORT_SIDE = 224
"""Of the photographs, which are kept in memory."""


@dataclass(frozen=True)
class Recipe:
    """stages: layers behind which the descriptor is to tell places, the last one's being the result: with the
    nearer ones a deep network learns faster; pairs: places in a batch, of each two views; side: of a view;
    scenes: generated ones beside the photographs; rate, decay: of Adam in float training; retrain_rate: of
    Algorithm 1, relative; distill: its loss beside the contrast; calibration: photographs; map_weight,
    relation_weight: of what a teacher teaches beside the contrast."""

    network: str = "vgg16/8"
    mask_bits: str = "3*7,1*6"
    stages: tuple[str, ...] = ("conv3_3", "conv4_3", "conv5_3")
    steps: int = 900
    retrain_steps: int = 220
    pairs: int = 64
    side: int = 96
    scenes: int = 100
    temperature: float = 0.1
    rate: float = 0.004
    decay: float = 1e-4
    warmup: int = 30
    retrain_rate: float = 0.003
    distill: str = "features+4*descriptor+relation"
    calibration: int = 32
    map_weight: float = 1.0
    relation_weight: float = 1.0
    seed: int = 0
    views: ViewSettings = field(default_factory=ViewSettings)


class Places:
    """What is learned from: photographs, each a place, and generated scenes, each seen twice."""

    def __init__(self, photographs: list[Path], recipe: Recipe) -> None:
        self.recipe = recipe
        self._pairs = []
        with progress("reading", len(photographs) + recipe.scenes) as advance:
            for path in photographs:
                picture = Image.fromarray(open_image(path))
                factor = SHORT_SIDE / min(picture.size)
                if factor < 1:
                    size = (round(picture.width * factor), round(picture.height * factor))
                    picture = picture.resize(size, Image.Resampling.BICUBIC)
                sizes = reductions(picture)
                self._pairs.append((sizes, sizes))
                advance(1)
            for number in range(recipe.scenes):
                seen = scene_views(SHORT_SIDE, SHORT_SIDE, 2, SCENE_SEED + number)
                first, second = (reductions(Image.fromarray(view)) for view in seen)
                self._pairs.append((first, second))
                advance(1)

    def batches(self, steps: int, stage: int) -> Iterator[torch.Tensor]:
        """Yields uint8 [2 pairs, side, side, 3], rows i and pairs + i of one place."""
        recipe = self.recipe
        generator = np.random.default_rng((recipe.seed, stage))
        light = torch.Generator().manual_seed(recipe.seed + stage)
        rows: list[int] = []
        for _ in range(steps):
            if len(rows) < recipe.pairs:
                rows = generator.permutation(len(self._pairs)).tolist()
            chosen, rows = rows[: recipe.pairs], rows[recipe.pairs :]
            places = [self._pairs[row] for row in chosen]
            views = [two_views(first, second, recipe.side, recipe.views, generator)
                     for first, second in places]
            pictures = np.stack([first for first, _ in views] + [second for _, second in views])
            yield relight(torch.from_numpy(pictures), recipe.views, light)


class NormalisedNetwork(nn.Module):
    """The float network as it is trained: each convolution followed by normalisation over the batch (Ioffe
    and Szegedy 2015) instead of a bias."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.convs = nn.ModuleList(
            nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=False)
            for layer in shape.layers
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.out_channels) for layer in shape.layers)
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data = conv.weight.data.contiguous(memory_format=LAYOUT)

    def forward(self, pictures: torch.Tensor, stages: Sequence[str]) -> list[torch.Tensor]:
        """uint8 RGB [N, H, W, 3] -> the maps behind the layers named, pooled where the network pools."""
        found = []
        x = real_pixels(pictures, find_preprocessing(PREPROCESSING)).contiguous(memory_format=LAYOUT)
        for layer, conv, norm in zip(self.shape.layers, self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
            x = functional.max_pool2d(x, 2) if layer.pool else x
            if layer.name in stages:
                found.append(x)
        return found

    @torch.no_grad()
    def fold(self) -> FloatNetwork:
        """Weights and biases that do the same, with the normalisation's running figures."""
        weights, biases = [], []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            weights.append((conv.weight * gain[:, None, None, None]).contiguous().numpy().copy())
            biases.append((norm.bias - norm.running_mean * gain).numpy().copy())
        return FloatNetwork(self.shape, tuple(weights), tuple(biases))


def train_float(places: Places, recipe: Recipe, taught: FloatConvs | None, log: "Log") -> FloatNetwork:
    """Stage one, with a teacher or without."""
    torch.manual_seed(recipe.seed)
    model = NormalisedNetwork(parse_network(recipe.network))
    descriptor = NipDescriptor()
    channels = model.shape.layers[-1].out_channels
    teacher = None if taught is None else Teacher(taught, TEACHER_LAYER, channels)
    groups = [
        {"params": list(model.convs.parameters()), "weight_decay": recipe.decay},
        {"params": list(model.norms.parameters()), "weight_decay": 0.0},
    ]
    if teacher is not None:
        groups.append({"params": list(teacher.head.parameters()), "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(groups)
    with progress("float training", recipe.steps) as advance:
        for step, pictures in enumerate(places.batches(recipe.steps, stage=1)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * rate_factor("cosine", step, recipe.steps, recipe.warmup)
            maps = model(pictures, recipe.stages)
            descriptors = [descriptor(found) for found in maps]
            terms = {name: contrast(some, recipe.temperature)
                     for name, some in zip(recipe.stages, descriptors, strict=True)}
            total = torch.stack(list(terms.values())).sum()
            if teacher is not None:
                learned = teacher.terms(maps[-1], descriptors[-1], teacher.teach(pictures))
                total += recipe.map_weight * learned["map"] + recipe.relation_weight * learned["relation"]
                terms |= learned
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            log.step("float", {name: float(term.detach()) for name, term in terms.items()})
            advance(1)
    return model.eval().fold()


def start_network(photographs: list[Path], floats: FloatNetwork, recipe: Recipe, output: Path) -> None:
    """Stage two."""
    chosen = photographs[:: -(-len(photographs) // recipe.calibration)]
    pictures = CalibrationPictures(
        f"{len(chosen)} photographs", 224, 224, tuple(path.name for path in chosen),
        lambda n: resize(open_image(chosen[n]), 224, 224),
    )  # fmt: skip
    plan = parse_mask_plan(recipe.mask_bits, floats.shape)
    save_network(compress(floats, plan, pictures, preprocessing=PREPROCESSING, progress=progress)[0], output)


def retrain(places: Places, start: Path, floats: FloatNetwork, recipe: Recipe, output: Path,
            log: "Log") -> None:
    """Stage three: Algorithm 1 from the float weights."""
    student = QuantisedNetwork(load_network(start), QuantiseOptions(), floats)
    teacher = FloatConvs(floats, find_preprocessing(PREPROCESSING)).requires_grad_(requires_grad=False)
    loss = Loss(floats.shape, LossSettings(parse_losses(recipe.distill)), teacher)
    settings = TrainSettings(recipe.retrain_steps, rate=recipe.retrain_rate, warmup=recipe.warmup)
    groups = parameter_groups(student, loss, settings)
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.Adam(groups)
    unknown = torch.full((2 * recipe.pairs,), -1)
    with progress("Algorithm 1", settings.steps) as advance:
        for step, pictures in enumerate(places.batches(settings.steps, stage=2)):
            factor = rate_factor(settings.schedule, step, settings.steps, settings.warmup)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            outputs = student(pictures, loss.wanted)
            terms = loss(outputs, Batch(pictures, unknown, unknown), loss.teach(pictures))
            found = contrast(loss.descriptor(outputs[loss.last]), recipe.temperature)
            optimiser.zero_grad()
            (found + loss.total(terms)).backward()
            optimiser.step()
            student.quantise("fit")
            log.step("integer", {"contrast": float(found.detach())}
                     | {name: float(term.detach()) for name, term in terms.items()})
            advance(1)
    save_network(student.export(), output)


class Log:
    """JSON lines, one a step, and from them the first and last losses. Stages that are left out keep theirs
    from the run that made their file."""

    def __init__(self, path: Path, kept: Sequence[str]) -> None:
        self.path, self.start = path, time.perf_counter()
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self.lines = [line for line in map(json.loads, text.splitlines()) if line["stage"] in kept]
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    def step(self, stage: str, figures: dict[str, float]) -> None:
        seconds = round(time.perf_counter() - self.start, 2)
        self.lines.append({"stage": stage, "seconds": seconds, **figures})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")

    def summary(self, stage: str) -> dict[str, Any]:
        """Means of a stage's first and last 20 steps; of no step, nothing."""
        lines = [line for line in self.lines if line["stage"] == stage]
        if not lines:
            return {}
        names = [name for name in lines[0] if name not in {"stage", "seconds"}]
        ends = {"first": lines[:20], "last": lines[-20:]}
        return {"steps": len(lines), "seconds": lines[-1]["seconds"] - lines[0]["seconds"]} | {
            end: {name: round(sum(line[name] for line in some) / len(some), 4) for name in names}
            for end, some in ends.items()
        }


def main() -> None:
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/embedded"))
    parser.add_argument("--network", default=recipe.network)
    parser.add_argument("--mask-bits", default=recipe.mask_bits)
    parser.add_argument("--stages", default=",".join(recipe.stages))
    for name in ("steps", "retrain_steps", "pairs", "side", "scenes", "calibration", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(recipe, name))
    for name in ("map_weight", "relation_weight"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(recipe, name))
    parser.add_argument("--teacher", help=f"weights, as {TEACHER_NETWORK}")
    parser.add_argument("--threads", type=int, default=1)
    options: dict[str, Any] = vars(parser.parse_args())
    folder, photographs = options.pop("output"), list_images(options.pop("photographs"))
    torch.set_num_threads(options.pop("threads"))
    weights = options.pop("teacher")
    teacher = weights and FloatConvs(load_float(weights, TEACHER_NETWORK, PREPROCESSING),
                                     find_preprocessing(PREPROCESSING))
    options["stages"] = tuple(options["stages"].split(","))
    recipe = Recipe(**options)
    folder.mkdir(parents=True, exist_ok=True)
    floats, start, network = (folder / f"{name}.safetensors" for name in ("float", "start", "network"))
    done = {"float": floats.exists(), "integer": network.exists()}
    log = Log(folder / "log.jsonl", [stage for stage in done if done[stage]])
    places = Places(photographs, recipe)
    if not floats.exists():
        save_weights(train_float(places, recipe, teacher, log), floats)
    trained = load_float(str(floats), recipe.network, PREPROCESSING)
    if not start.exists():
        start_network(photographs, trained, recipe, start)
    if not network.exists():
        retrain(places, start, trained, recipe, network, log)
    report = {
        "recipe": asdict(recipe), "teacher": weights and Path(weights).name, "photographs": len(photographs),
        "sha256": hashlib.sha256(network.read_bytes()).hexdigest(), "bytes": network.stat().st_size,
        "float": log.summary("float"), "integer": log.summary("integer"),
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "numpy": np.__version__, "pillow": Image.__version__},
        "threads": torch.get_num_threads(), "load_average": os.getloadavg(),
    }  # fmt: skip
    text = json.dumps(report, indent=2)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
