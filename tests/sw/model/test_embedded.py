"""The networks of the package are what their descriptions say; the small one recognises places."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch

from kestrel.cli.main import run
from kestrel.sw.compress.calibrate import generated_pictures
from kestrel.sw.compress.mask_plan import parse_mask_plan
from kestrel.sw.compress.pipeline import compress
from kestrel.sw.model.compressed import load_network, same
from kestrel.sw.model.embedded import (
    COMPACT_MAPS,
    COMPACT_RETRIEVAL,
    EMBEDDED,
    NETWORK_PATHS,
    RESNET18_MAPS,
    RESNET18_RETRIEVAL,
    TEXT_PATHS,
    VGG16_MAPS,
    VGG16_RETRIEVAL,
)
from kestrel.sw.model.network import parse_network
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.model.reference import Reference
from kestrel.sw.model.weights import random_network
from kestrel.sw.pictures.images import first_map, generate_picture
from kestrel.sw.pictures.scenes import write_scenes
from kestrel.sw.retrieval.benchmark.evaluate import evaluate
from kestrel.sw.retrieval.benchmark.protocols import load_benchmark
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import load_whitening

LARGEST = {EMBEDDED: 1 << 20, RESNET18_RETRIEVAL: 2 << 20, VGG16_RETRIEVAL: 4 << 20,
           COMPACT_RETRIEVAL: 128 << 10}
"""Bytes of a file: a repository is downloaded whole."""


@pytest.fixture(scope="module", params=list(NETWORK_PATHS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    return load_network(name)


def test_the_text_tells_the_file(name, network):
    text = TEXT_PATHS[name].read_text(encoding="utf-8")

    def told(what):
        """A row of the text's first table."""
        match = re.search(rf"^\| {re.escape(what)} \| (.+) \|$", text, re.MULTILINE)
        assert match, f"{TEXT_PATHS[name].name} has no row {what!r}"
        return match[1].strip("`")

    content = NETWORK_PATHS[name].read_bytes()
    assert told("SHA-256") == hashlib.sha256(content).hexdigest()
    assert told("Bytes") == f"{len(content):,}"
    assert len(content) < LARGEST[name]
    assert told("Network") == network.name
    layers = tuple(layer.mask_bits for layer in network.layers)
    assert layers == tuple(parse_mask_plan(told("Mask bits"), parse_network(network.name)))
    assert told("Activation bits") == str(network.activation_bits)
    assert told("Preprocessing") == network.preprocessing
    assert told("Masks and scalars") == f"{-(-network.weight_bits // 8):,} bytes"


def test_it_is_a_trained_network_of_its_name(network):
    assert tuple(layer.shape for layer in network.layers) == parse_network(network.name).layers
    assert all(layer.trained for layer in network.layers)


def test_its_layers_neither_die_nor_saturate(network):
    prepared = find_preprocessing(network.preprocessing)
    pixels = np.stack([
        first_map(generate_picture(64, 64, seed), prepared, network.activation_bits, blocks=network.blocks)
        for seed in range(4)
    ])
    for layer, y in zip(network.layers, Reference(network).run(torch.from_numpy(pixels)), strict=True):
        assert 0.03 < float((y > 0).float().mean()) < 0.97, layer.shape.name
        assert float((y == 255).float().mean()) < 0.02, layer.shape.name
        assert int(y.max()) > 60, layer.shape.name


def test_the_small_one_knows_generated_scenes_better_than_random_weights_do(tmp_path):
    network = load_network(EMBEDDED)
    scenes = tmp_path / "scenes"
    rows = write_scenes(scenes, groups=8, views=3, seed=1, height=96, width=96, advance=lambda count: None)
    names = [name for name, _ in rows]
    benchmark = load_benchmark("groups", scenes)

    def precision(found):
        describer = make_describer(found, DescriptorOptions(size=96))
        return evaluate(benchmark, describer.describe([scenes / n for n in names], names, workers=0)).map

    shape = parse_network(network.name)
    plan = [layer.mask_bits for layer in network.layers]
    random = [
        precision(compress(random_network(shape, seed, min(find_preprocessing("torchvision").scale)), plan,
                           generated_pictures(64, 64, count=4), preprocessing="torchvision")[0])
        for seed in (1, 2, 3)
    ]  # fmt: skip
    found = precision(network)
    assert found > max(random), random
    assert found > np.mean(random) + 0.1, random


def test_its_name_stands_for_its_file(name, network, capsys):
    assert same(network, load_network(NETWORK_PATHS[name]))
    assert run(["list", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["embedded"]}[name]
    assert found["network"] == network.name
    assert found["mask_bits"] == [layer.mask_bits for layer in network.layers]


@pytest.mark.parametrize(
    ("network", "name", "maps", "mode", "dimensions"),
    [(RESNET18_RETRIEVAL, RESNET18_RETRIEVAL, (), "roi", [256]),
     (RESNET18_RETRIEVAL, RESNET18_MAPS, ("layer3.0", "layer4.0"), "after", [256, 256]),
     (VGG16_RETRIEVAL, VGG16_MAPS, ("pool3", "pool5"), "after", [256, 256]),
     (COMPACT_RETRIEVAL, COMPACT_MAPS, ("pool3", "pool4"), "after", [64, 128])],
)
def test_a_name_stands_for_the_whitening_of_its_network(network, name, maps, mode, dimensions, tmp_path):
    """It is of the network's descriptors, and a description with it has the whitening's dimensions."""
    network, whitening = load_network(network), load_whitening(name)
    names = [name for name, _ in write_scenes(tmp_path, groups=1, views=2, seed=3, height=224, width=224,
                                              advance=lambda count: None)]
    describer = make_describer(network, DescriptorOptions(whitening=whitening, pool_maps=maps))
    found = describer.describe([tmp_path / name for name in names], names, workers=0)
    assert found.vectors.shape == (2, whitening.dimension)
    assert [part.dimension for part in whitening.maps] == dimensions
    assert whitening.mode == mode
