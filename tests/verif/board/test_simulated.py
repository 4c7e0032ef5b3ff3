"""The whole board in Verilator, with the host's software at its pseudo-terminal, against the reference."""

import json
import time
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from kestrel.api.boards import write_roms
from kestrel.cli.main import run
from kestrel.export.board.design import design_board
from kestrel.hw.spec.boards import find_board
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.link import LinkConfig
from kestrel.sw.board.backend import BoardBackend
from kestrel.sw.board.client import BoardClient
from kestrel.sw.driver.chip import Output
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.backends import BackendRequest, ReferenceBackend
from kestrel.sw.retrieval.describe.crops import CropSettings, cut_crops
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.pooling.integer_nip import describe
from kestrel.verif.board.simulated import SimulatedBoard, build_board_simulation
from kestrel.verif.cases.random_network import random_network

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "vgg16/16:pool2"
SIZE = 16, 20
LINK = LinkConfig(50_000_000, 3_000_000)
PATIENCE = 60.0
"""Seconds: the machine may be busy with other tests."""


@pytest.fixture(scope="module")
def network():
    made = random_network(np.random.default_rng(11), parse_network(NAME).layers, 2, name=NAME)
    return replace(made, preprocessing="caffe")


@pytest.fixture(scope="module")
def design(network):
    return design_board(find_board("ulx3s"), network, *SIZE, lanes=(2, 2))


@pytest.fixture(scope="module")
def build(design):
    return build_board_simulation(design.chip, LINK)


@pytest.fixture(scope="module")
def roms(design, tmp_path_factory):
    folder = tmp_path_factory.mktemp("roms")
    write_roms(design, LINK, folder)
    return folder


@pytest.fixture
def board(build, roms, seed):
    with SimulatedBoard(build, LINK, roms, seed=seed) as running:
        yield running


@pytest.fixture(scope="module")
def expected(network, design):
    """Descriptor and map of a picture by the reference."""
    reference = ReferenceBackend(BackendRequest(network, *SIZE))

    def of(rgb, output=Output.BYTES, crops="whole"):
        inputs = cut_crops(rgb, CropSettings(crops, *SIZE))
        return describe([list(reference.features(inputs.pictures))], design.constants, output - 1)

    return of


def test_descriptors_and_features_equal_the_reference(board, network, expected):
    picture = generate_picture(40, 50, 3)
    small = generate_picture(*SIZE, 4)
    reference = ReferenceBackend(BackendRequest(network, *SIZE))
    with BoardClient(board.port, patience=PATIENCE) as client:
        assert (client.info.network, client.info.height, client.info.width) == (NAME, *SIZE)
        found = client.descriptor(picture)
        assert len(found) == client.info.dimensions
        assert len(set(found)) > 2, "a descriptor that says something"
        assert found == expected(picture)
        assert client.descriptor(picture, Output.BITS) == expected(picture, Output.BITS)
        np.testing.assert_array_equal(client.features(small), reference.features([small])[0])
        assert client.lost == 0


def test_the_crops_of_a_picture_are_summed_on_the_board(build, design, expected, seed, tmp_path):
    write_roms(replace(design, crops="square:1+2"), LINK, tmp_path)
    picture = generate_picture(40, 50, 3)
    with (
        SimulatedBoard(build, LINK, tmp_path, seed=seed) as board,
        BoardClient(board.port, patience=PATIENCE) as client,
    ):
        assert client.descriptor(picture) == expected(picture, crops="square:1+2")
    assert expected(picture, crops="square:1+2") != expected(picture)


def test_a_line_that_disturbs_bytes_costs_time_only(build, roms, expected, seed):
    picture = generate_picture(30, 30, 5)
    with (
        SimulatedBoard(build, LINK, roms, seed=seed, noise=0.001) as board,
        BoardClient(board.port, patience=PATIENCE) as client,
    ):
        for _ in range(2):
            assert client.descriptor(picture) == expected(picture)
        assert client.counts.repeated > 0, "or nothing was disturbed"


def test_a_plug_that_is_pulled_in_the_middle_and_put_back(board, expected):
    picture = generate_picture(30, 30, 6)
    with BoardClient(board.port, patience=PATIENCE) as client:
        client.descriptor(picture)
        until = board.cycles + 40_000  # well inside the next picture, which takes 160 cycles a byte

        def pull():
            while board.cycles < until:
                time.sleep(0.002)
            board.unplug()
            time.sleep(0.2)
            board.plug()

        thread = Thread(target=pull)
        thread.start()
        assert client.descriptor(picture) == expected(picture)
        thread.join()
        assert client.descriptor(picture) == expected(picture)
        assert client.lost > 0, "or it was not pulled in the middle"


def test_a_host_that_dies_in_the_middle_leaves_a_board_for_the_next(board, expected):
    picture = generate_picture(30, 30, 7)
    first = BoardClient(board.port, patience=PATIENCE)
    assert first._connection is not None
    # Half an image, and half a frame.
    first._connection._line.write(b"\x7e\x01\x04\x00\x00half an image")
    first.close()
    with BoardClient(board.port, patience=PATIENCE) as second:
        assert second.descriptor(picture) == expected(picture)


def test_a_board_that_is_reset_between_two_pictures(board, expected):
    picture = generate_picture(30, 30, 8)
    with BoardClient(board.port, patience=PATIENCE) as client:
        assert client.descriptor(picture) == expected(picture)
        board.reset()
        assert client.descriptor(picture) == expected(picture)


def test_the_backend_gives_the_references_maps_and_refuses_other_networks(board, network):
    pictures = [generate_picture(*SIZE, number) for number in (1, 2)]
    options = {"port": board.port, "patience": str(PATIENCE)}
    backend = BoardBackend(BackendRequest(network, *SIZE, options=options))
    reference = ReferenceBackend(BackendRequest(network, *SIZE))
    np.testing.assert_array_equal(backend.features(pictures), reference.features(pictures))
    assert backend.frames == 2
    assert backend.cycles > 0
    del backend
    with pytest.raises(InputError, match=r"wanted: .* at 16 x 16"):
        BoardBackend(BackendRequest(network, 16, 16, options=options))


def test_the_commands_at_a_port(board, network, expected, capsys, tmp_path):
    """board describe gives the board's own descriptors, describe --engine board those of its maps."""
    picture, file = tmp_path / "a.png", tmp_path / "n.safetensors"
    Image.fromarray(generate_picture(30, 40, 9)).save(picture)
    save_network(network, file)
    assert run(["board", "describe", str(picture), "--port", board.port, "--patience", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["descriptors"] == [expected(np.asarray(Image.open(picture))).hex()]
    assert found["board"]["network"] == NAME
    for engine in (["--engine", "board", "--engine-set", f"port={board.port}"], []):
        output = tmp_path / f"{len(engine)}.npz"
        command = ["describe", str(file), str(picture), "-o", str(output), "--size", "16x20", *engine]
        assert run(command) == 0
    by_board, by_reference = (load_descriptors(tmp_path / f"{n}.npz").vectors for n in (4, 0))
    np.testing.assert_array_equal(by_board, by_reference)
