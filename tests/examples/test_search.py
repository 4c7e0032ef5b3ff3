"""The example: photograph in, nearest photographs out, through the simulated chip."""

import json
import sys

import numpy as np
import pytest

from kestrel.cli.main import run
from kestrel.examples import search
from kestrel.examples.search import ChipSearch
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.sw.model.compressed import load_network
from kestrel.sw.pictures.images import list_images, open_image
from kestrel.sw.pictures.scenes import write_scenes
from kestrel.sw.retrieval.describe.options import DescriptorOptions

CONFIG = NAMED["nano"].with_options(
    partial_depth=64, max_width=40, feature_words=(1000, 1000), weight_words=2048, table_words=512
)
CHIP = DescriptorConfig(8, 256)


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    command = ["compress", "random:1", "-o", str(path), "--network", "vgg16/32:conv2_1", "--mask-bits", "3"]
    assert run(command) == 0
    return path


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    write_scenes(folder, 4, 3, 1, 48, 64, lambda count: None)
    return folder


@pytest.fixture(scope="module")
def chip(network_file, collection):
    options = DescriptorOptions(size=16, pooling="rnip5x")
    return ChipSearch(load_network(network_file), CONFIG, list_images(collection)[1:], options, CHIP)


def test_a_photograph_finds_what_the_reference_finds(chip, collection, seed):
    names = chip.index.names
    for path in list_images(collection)[:2]:
        answer = chip.ask(path.name, open_image(path), 3, seed=seed)
        assert answer.report.found == answer.report.expected
        assert answer.report.frames == 5
        assert answer.found == answer.expected
        assert answer.bit_exact
        assert {match.name for match in answer.found.matches} <= set(names)
        assert len(answer.found.matches) == 3


def test_the_index_holds_the_bytes_that_were_sent(chip, collection):
    """One photograph's own bytes, byte by byte."""
    path = list_images(collection)[1]
    code = chip.simulation.reference(open_image(path))
    decoded = chip.index.search(chip._decoded([code]), 1)[0]
    assert decoded.names == (path.name,)
    step = (chip.quantiser.high - chip.quantiser.low) / 256
    values = chip.quantiser.low + (np.frombuffer(code, np.uint8) + 0.5) * step
    assert decoded.scores[0] == pytest.approx(float(values @ values), rel=1e-5)


def test_another_descriptor_finds_something_else(chip, collection, monkeypatch, seed):
    """A chip that sent wrong bytes would be noticed."""
    other = chip.simulation.reference(open_image(list_images(collection)[-1]))
    path = list_images(collection)[0]
    monkeypatch.setattr(chip.simulation, "reference", lambda rgb, select=1: other)
    answer = chip.ask(path.name, open_image(path), 1, seed=seed)
    assert not answer.bit_exact
    assert answer.found != answer.expected


def test_the_command(network_file, collection, monkeypatch, capsys, tmp_path):
    toml = tmp_path / "small.toml"
    toml.write_text(
        'base = "nano"\npartial_depth = 64\nmax_width = 40\nfeature_words = [1000, 1000]\n'
        "weight_words = 2048\ntable_words = 512\n"
    )
    query = list_images(collection)[0]
    command = [str(network_file), str(collection), str(query), "--config", str(toml), "--size", "16"]
    monkeypatch.setattr(sys, "argv", ["search", *command, "-n", "2", "--json"])
    assert search.main() == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["indexed"] == 12
    assert payload["bit_exact"]
    assert payload["queries"][0]["matches"][0]["name"] == query.name


def test_a_photograph_that_is_not_there(network_file, collection, monkeypatch, capsys):
    command = [str(network_file), str(collection), "nothing.jpg"]
    monkeypatch.setattr(sys, "argv", ["search", *command])
    with pytest.raises(SystemExit, match="2"):
        search.main()
    assert "nothing.jpg" in capsys.readouterr().err
