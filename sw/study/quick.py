"""The grid that comes along: a few minutes on generated scenes with seeded weights, to see that a study
works. Its sizes mean something, its mAP does not."""

from pathlib import Path

from kestrel.sw.pictures.scenes import write_scenes
from kestrel.sw.study.grid import Grid, parse_grid
from kestrel.sw.study.run import DATA

SCENES, TRAINING = "scenes", "training"
SIDE = 96

TEXT = f"""
title = "Quick study: generated scenes, seeded weights"
seed = 0
whitenings = ["none", "after"]

[[data]]
name = "scenes"
folder = "{SCENES}"
size = {SIDE}
training = "{TRAINING}"
training_pictures = 24
calibration = "{TRAINING}"
calibration_pictures = 4

[[poolings]]
name = "nip"

[[networks]]
name = "resnet18"
weights = "random:1"
cuts = ["layer1.1", "layer2.1"]

[[networks]]
name = "squeezenet1_1"
weights = "random:1"
cuts = ["fire4", "fire9"]

[[codecs]]
family = "scalar"
bits = [2, 3, 4, 8]
coding = ["fixed", "huffman"]

[[codecs]]
family = "scalar"
bits = 4
batch_norm = 4

[[codecs]]
family = "scalar"
method = ["uniform", "kmeans"]
bits = 3

[[codecs]]
family = "vector"
block = 4
codewords = 256

[[codecs]]
family = "pruned"
threshold = [0.5, 1.0]
bits = [5, 8]

[[codecs]]
family = "masks"
bits = [1, 2, 3]
coding = ["fixed", "huffman"]
others = 4

[[codecs]]
family = "masks"
rule = "sequential"
bits = 2
"""


def quick_grid() -> Grid:
    """The grid."""
    return parse_grid(TEXT)


def make_data(output: Path) -> Path:
    """Generates its pictures in the folder of a study, unless they are there, and gives their root."""
    root = output / DATA
    root.mkdir(exist_ok=True)
    for name, places, seed in ((SCENES, 10, 1), (TRAINING, 8, 1001)):
        if not (root / name).is_dir():
            write_scenes(root / name, places, 3, seed, SIDE, SIDE, lambda _: None)
    return root
