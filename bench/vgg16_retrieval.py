"""Trains the deep layers of a VGG-16 whose first seven layers are given: from a folder of photographs, the
seven layers and a ResNet-18 as teacher to one file of float weights.

    python bench/vgg16_retrieval.py PHOTOGRAPHS --front VGG16_WEIGHTS --teacher RESNET18_WEIGHTS [-o FOLDER]

Needs no labels. The layers are to make, at pool5, the map that the teacher makes behind layer4.0, which has
the same size. Stages, each of which leaves its files in FOLDER (build/vgg16-retrieval) and is left out if
they are there:

    passes/              pool3 and the teacher's maps of some crops of each photograph, and of every tenth
                         photograph as a whole, which is held out
    start.pt             one layer after the other by ridge regression (sw/retrain/dense/regression.py)
    deep.pt              conv5_1 to conv5_3 trained behind what the others make
    settled.pt           the same three trained further, at a lower rate
    float.safetensors    the whole network, its normalisation of batches folded into weights and biases

A stage that was stopped goes on where its last checkpoint was written. ``kestrel compress`` makes integers of
the result and ``kestrel evaluate`` measures it. Figures of each stage stand in FOLDER/log.jsonl.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn

from kestrel.cli.output import progress
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.pictures.images import list_images
from kestrel.sw.retrain.dense.layers import DeepLayers
from kestrel.sw.retrain.dense.passes import FRONT, Pass, Sources, make_pass
from kestrel.sw.retrain.dense.regression import explained, fit_layer
from kestrel.sw.retrain.dense.targets import (
    LAYER4_0,
    TEACHER_LAYERS,
    Targets,
    channel_scale,
    main_components,
)
from kestrel.sw.retrain.dense.training import PhaseSettings, train, validate
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrain.start import load_float

FRONT_NETWORK, FRONT_PREPROCESSING = "vgg16:pool3", "caffe"
TEACHER_NETWORK, TEACHER_PREPROCESSING = "resnet:layer4.0", "torchvision"
NETWORK = "vgg16"

HELD_OUT = 10
"""Every photograph of this number is held out."""

WHOLE = 224
"""The side of whole photographs."""

DEEP = 3
"""The first of the layers of the fifth block, counted from conv4_1."""

SCALED = "scaled"


class Log:
    """JSON lines, printed as well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, stage: str, **figures: float | str) -> None:
        line = {"stage": stage} | {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        print(json.dumps(line), flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def name_of(number: int) -> str:
    """The name of the map that layer ``number`` reads."""
    return SCALED if number == 0 else f"layer{number}"


def regress(model: DeepLayers, teacher: FloatConvs, passes: Sequence[Pass], held_out: Pass, log: Log) -> None:
    """Sets all layers, one after the other."""
    model.scale.copy_(channel_scale(passes[0]))
    components = main_components(passes[0], model.scale, model.convs()[0].shape.out_channels // 8)
    targets = Targets(teacher, model.scale, components)
    everything = [given.forward(FRONT, SCALED, model.scaled) for given in [*passes, held_out]]
    for number, layer in enumerate(model.convs()):
        read, taught = name_of(number), targets.taught(number)
        layer.eval()
        fit_layer(layer, read, taught, lambda maps, n=number: targets.of(n, maps), everything[:-1], number)
        share = explained(layer, read, taught, lambda maps, n=number: targets.of(n, maps), everything[-1])
        log.write("start", layer=layer.shape.name, explained=share)
        everything = [given.forward(read, name_of(number + 1), layer).without(read) for given in everything]


def behind_fourth_block(model: DeepLayers, passes: Sequence[Pass]) -> list[Pass]:
    """The passes with what the fourth block makes, which is not trained any further."""
    model.eval()
    found = [given.forward(FRONT, SCALED, model.scaled) for given in passes]
    for number, layer in enumerate(model.convs()[:DEEP]):
        found = [given.forward(name_of(number), name_of(number + 1), layer).without(name_of(number))
                 for given in found]
    return found


def train_deep(model: DeepLayers, passes: Sequence[Pass], settings: PhaseSettings, checkpoint: Path,
               log: Log) -> None:
    """Trains the layers of the fifth block on all passes ``behind_fourth_block`` but the last, which is held
    out."""
    *training, held_out = passes
    layers = nn.Sequential(*model.convs()[DEEP:])
    before = validate(layers, name_of(DEEP), LAYER4_0, held_out)
    log.write(checkpoint.stem, **{f"{name}_held_out": value for name, value in before.items()})
    train(layers, name_of(DEEP), LAYER4_0, training, held_out, settings, checkpoint,
          lambda figures: log.write(checkpoint.stem, **figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--front", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/vgg16-retrieval"))
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--front-network", default=FRONT_NETWORK)
    parser.add_argument("--teacher-network", default=TEACHER_NETWORK)
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--start-passes", type=int, default=1)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--whole", type=int, default=WHOLE)
    parser.add_argument("--deep-steps", type=int, default=1400)
    parser.add_argument("--settle-steps", type=int, default=700)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "log.jsonl")

    frozen = load_float(options.front, options.front_network, FRONT_PREPROCESSING)
    front = FloatConvs(frozen, find_preprocessing(FRONT_PREPROCESSING)).requires_grad_(requires_grad=False)
    teacher = FloatConvs(load_float(options.teacher, options.teacher_network, TEACHER_PREPROCESSING),
                         find_preprocessing(TEACHER_PREPROCESSING)).requires_grad_(requires_grad=False)
    sources = Sources(front, teacher, TEACHER_LAYERS)
    photographs = list_images(options.photographs)
    training = [path for n, path in enumerate(photographs) if n % HELD_OUT]
    kept = folder / "passes"
    held_out = make_pass(kept / "held-out", photographs[::HELD_OUT], options.whole, None, sources, progress)
    passes = [make_pass(kept / str(n), training, options.side, (options.seed, n), sources, progress)
              for n in range(options.passes)]

    shape = parse_network(options.network)
    model = DeepLayers(shape, len(frozen.shape.layers))
    deep = PhaseSettings(options.deep_steps, options.batch, options.rate, seed=options.seed)
    settled = PhaseSettings(options.settle_steps, 3 * options.batch // 2, options.rate / 4, descriptor=6.0,
                            relation=0.5, seed=options.seed + 11)
    # Once for both phases, and not at all where both are done.
    behind = cache(lambda: behind_fourth_block(model, [*passes, held_out]))
    phases = [
        ("start", lambda _: regress(model, teacher, passes[: options.start_passes], held_out, log)),
        ("deep", lambda path: train_deep(model, behind(), deep, path, log)),
        ("settled", lambda path: train_deep(model, behind(), settled, path, log)),
    ]
    for name, run in phases:
        path = folder / f"{name}.pt"
        if path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
            continue
        run(folder / f"{name}.checkpoint")
        torch.save(model.state_dict(), path)
        save_weights(model.network(shape, frozen), folder / "float.safetensors")


if __name__ == "__main__":
    sys.exit(main())
