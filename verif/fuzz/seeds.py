"""Good files of every kind that is read, from which bad ones are made. They are small, so that many run."""

import io
import json
import pickle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.export.exchange.write import write_floats
from kestrel.export.export import export_network
from kestrel.export.formats.files import write_words
from kestrel.export.formats.words import Words
from kestrel.hw.spec.configurations import NAMED, config_text
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.storage.save import save_weights
from kestrel.sw.model.weights import random_network as random_floats
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrain.checkpoint import Checkpoint, save_checkpoint
from kestrel.sw.retrieval.describe.descriptor import Codes, Descriptors, DescriptorSettings, save_descriptors
from kestrel.sw.retrieval.describe.whitening import MapWhitening, Whitening, save_whitening
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.structures import Kind
from kestrel.verif.cases.descriptor_case import random_constants
from kestrel.verif.cases.random_graph import random_graph
from kestrel.verif.cases.random_network import random_network, stack

WORD_BITS, WORDS = 32, 8
"""Of the ROM images."""

UNIT = DescriptorConfig(rom_words=4096)
STACK = "vgg16/32:pool1"
"""The network of the weight files."""

SETTINGS = DescriptorSettings("0" * 64, "integer", 32, 32, "none", "whole", "nip", 1, "")


def networks(folder: Path) -> list[bytes]:
    """Network files of a stack, of a graph, and of one with tables of scalars."""
    rng = np.random.default_rng(1)
    made = (
        random_network(rng, stack([3, 4, 2], [0]), 3),
        random_graph(rng, 3, (2, 3)),
        random_network(rng, stack([3, 2]), 5, tables=True),
    )
    files = []
    for number, network in enumerate(made):
        path = folder / f"network{number}.safetensors"
        save_network(network, path)
        files.append(path.read_bytes())
    return files


def rom_image(folder: Path, suffix: str) -> list[bytes]:
    """An image of WORDS words of WORD_BITS bits, in the format of the suffix."""
    path = folder / f"image.{suffix}"
    write_words(Words.from_ints(WORD_BITS, [0x01234567 * n % (1 << 32) for n in range(WORDS)]), path)
    return [path.read_bytes()]


def export(folder: Path) -> Path:
    """The folder of an export, in ``folder``."""
    place = folder / "export"
    network = random_network(np.random.default_rng(2), stack([3, 4], [0]), 3)
    export_network(network, NAMED["nano"], 8, 8, place)
    return place


def descriptor_roms() -> list[bytes]:
    """ROMs of the descriptor unit, with and without whitening."""
    source = Random(3)
    return [encode_descriptor(random_constants(source, 8, 4, 5, n % 2 == 1), UNIT).data for n in range(4)]


def _vectors(count: int = 40) -> np.ndarray:
    vectors = np.random.default_rng(4).standard_normal((count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _archive(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def descriptors(folder: Path) -> list[bytes]:
    """Files as ``describe`` writes them, with codes and without, and of another program."""
    vectors, names = _vectors(), tuple(f"{n}.jpg" for n in range(40))
    files = [_archive(features=vectors, labels=np.array(names), other=np.arange(3))]
    quantiser = DescriptorIndex.create(Kind("bits", "flat"), Descriptors(SETTINGS, names, vectors)).quantiser
    codes = Codes("bits", np.packbits(vectors > quantiser.thresholds, axis=1, bitorder="little"), quantiser)
    for number, made in enumerate((None, codes)):
        path = folder / f"descriptors{number}.npz"
        save_descriptors(Descriptors(SETTINGS, names, vectors, made, folder), path)
        files.append(path.read_bytes())
    return files


def indexes(folder: Path) -> list[bytes]:
    """Indexes of several structures."""
    files = []
    kinds = (Kind("floats", "flat"), Kind("bits", "hnsw"), Kind("bytes", "ivf"), Kind("floats", "ivfpq"))
    for number, kind in enumerate(kinds):
        count = 256 if kind.structure == "ivfpq" else 40  # what it learns its cells from
        training = Descriptors(SETTINGS, tuple(f"{n}" for n in range(count)), _vectors(count))
        index = DescriptorIndex.create(kind, training)
        index.add(training, "seeds")
        path = folder / f"{number}.index"
        index.save(path)
        files.append(path.read_bytes())
    return files


def whitenings(folder: Path) -> list[bytes]:
    """A whitening of one map and one of two."""
    rng = np.random.default_rng(5)
    part = MapWhitening(
        rng.standard_normal(8).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32), "after"
    )
    files = []
    for count in (1, 2):
        path = folder / f"whitening{count}.safetensors"
        save_whitening(Whitening((part,) * count, SETTINGS, 9, 9), path)
        files.append(path.read_bytes())
    return files


def checkpoints(folder: Path) -> list[bytes]:
    """A state of a training."""
    state = {"0.weight": torch.ones(2, 3)}
    about = {"step": 3, "measures": [0.5], "settings": {"rate": 0.1}}
    path = folder / "checkpoint.safetensors"
    save_checkpoint(Checkpoint(state, {}, state, {0: {"exp_avg": torch.ones(2)}}, about), path)
    return [path.read_bytes()]


def configurations() -> list[bytes]:
    """TOML files of an engine."""
    little = b'base = "edge"\noutput_lanes = 4\nfeature_words = [64, 64]\n'
    return [config_text(NAMED["nano"]).encode(), little]


GRID = b"""title = "Small"
whitenings = ["none", "after"]
[[data]]
name = "scenes"
folder = "scenes"
training = "train"
size = 48
[[networks]]
name = "squeezenet1_1"
weights = "random:1"
cuts = ["fire2"]
[[codecs]]
family = "scalar"
bits = [4, 5]
coding = ["fixed", "huffman"]
[[poolings]]
name = "nip"
"""
"""A grid of a study."""


def weights(folder: Path, suffix: str) -> list[bytes]:
    """The float weights of STACK as a file of the suffix."""
    network = random_floats(parse_network(STACK), 6)
    path = folder / f"floats.{suffix}"
    if suffix == "onnx":
        layers = parse_network(STACK).layers
        write_floats(random_network(np.random.default_rng(7), layers, 3, name=STACK), path)
        return [path.read_bytes()]
    plain = folder / "floats.safetensors"
    save_weights(network, plain)
    arrays = {
        f"features.{index}.{part}": array
        for index, *parts in zip(network.shape.features, network.weights, network.biases, strict=True)
        for part, array in zip(("weight", "bias"), parts, strict=True)
    }
    if suffix == "pth":
        torch.save({key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}, path)
        return [path.read_bytes()]
    if suffix == "npz":
        return [_archive(**arrays)]
    half = {key: np.asarray(array, np.float16) for key, array in arrays.items()}
    return [plain.read_bytes(), save(half)]


def pictures() -> list[bytes]:
    """A picture in many formats and kinds of samples."""
    rgb = Image.fromarray(generate_picture(12, 17, 1))
    files = []
    for mode, kind in (
        ("RGB", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG"), ("I;16", "PNG"),
        ("RGB", "JPEG"), ("CMYK", "JPEG"), ("P", "GIF"), ("RGB", "TIFF"), ("F", "TIFF"), ("LAB", "TIFF"),
        ("RGB", "BMP"), ("RGB", "WEBP"), ("RGB", "PPM"), ("RGB", "TGA"), ("RGB", "JPEG2000"), ("RGB", "AVIF"),
    ):  # fmt: skip
        stream = io.BytesIO()
        plain = rgb.convert("L").convert("I").convert(mode) if mode == "I;16" else rgb
        (plain if plain.mode == mode else _as(rgb, mode)).save(stream, kind)
        files.append(stream.getvalue())
    return files


def _as(rgb: Image.Image, mode: str) -> Image.Image:
    return Image.new("LAB", rgb.size, (50, 3, 4)) if mode == "LAB" else rgb.convert(mode)


TRUTH = {
    "imlist": ["a", "b", "c"], "qimlist": ["q"],
    "gnd": [{"easy": [0], "hard": [1], "junk": [2], "bbx": [1.0, 2.0, 9.0, 9.0]}],
}  # fmt: skip
"""A ground truth of revisited Oxford."""


def pickles() -> list[bytes]:
    """TRUTH as pickles, with lists and with arrays."""
    arrays = TRUTH | {"gnd": [{"easy": np.array([0, 1]), "junk": [], "bbx": np.array([1.0, 2.0, 3.0, 4.0])}]}
    return [pickle.dumps(value, protocol) for value in (TRUTH, arrays) for protocol in (2, 3, 4)]


def truth_json() -> list[bytes]:
    return [json.dumps(TRUTH).encode()]
