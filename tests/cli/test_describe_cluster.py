"""``kestrel describe`` in pieces: equal to the byte with 0, 1 and 2 processes; and what is refused."""

import json
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.cli.options import cluster as option_module
from kestrel.sw.cluster import runner as runner_module
from kestrel.sw.cluster.lock import lock_output, lock_path
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe import pieces
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
COUNT = 7
SMALL_DISK = 2240
"""Bytes of a file: more than a part of one descriptor has here, less than one of three."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    network = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
    save_network(network, tmp_path / "n.safetensors")
    (tmp_path / "photos").mkdir()
    for n in range(COUNT):
        Image.fromarray(generate_picture(40, 50, n)).save(tmp_path / "photos" / f"{n}.png")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pieces, "PICTURES", 3)
    return tmp_path


def describe(output, *arguments):
    return run(["describe", "n.safetensors", "photos", "-o", output, "--size", "32", "--json", *arguments])


def test_descriptors_are_equal_to_the_byte(folder, cluster_address, capsys):
    assert describe("alone.npz") == 0
    expected = (folder / "alone.npz").read_bytes()
    assert describe("pieces.npz", "--dask-workers", "0") == 0
    assert (folder / "pieces.npz").read_bytes() == expected
    capsys.readouterr()
    assert describe("two.npz", "--scheduler", cluster_address) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["count"], found["skipped"]) == (COUNT, ["bad.jpg"])
    assert (folder / "two.npz").read_bytes() == expected
    for count in ("1", "4"):
        assert describe(f"{count}.npz", "--dask-workers", count) == 0
        assert (folder / f"{count}.npz").read_bytes() == expected
    assert not [path.name for path in folder.iterdir() if ".parts" in path.name or ".lock" in path.name]


def test_a_run_continues_what_another_kind_has_left(folder, monkeypatch, capsys):
    assert describe("alone.npz") == 0
    described = []
    inner = pieces.describe_piece

    def stopped(recipe, settings, batch):
        if len(described) == 2:
            raise KeyboardInterrupt
        described.append(batch.names)
        return inner(recipe, settings, batch)

    monkeypatch.setattr(pieces, "describe_piece", stopped)
    assert describe("d.npz", "--dask-workers", "0") == 130
    assert "d.npz.parts keeps the vectors that were finished" in capsys.readouterr().err
    assert len(list((folder / "d.npz.parts").iterdir())) == 2
    monkeypatch.setattr(pieces, "describe_piece", inner)
    shutil.copytree("d.npz.parts", "e.npz.parts")
    for output, arguments in (("d.npz", ["--dask-workers", "0"]), ("e.npz", [])):
        assert describe(output, *arguments) == 0
        assert f"continuing from {output}.parts" in capsys.readouterr().err
        assert (folder / output).read_bytes() == (folder / "alone.npz").read_bytes()


def test_a_piece_that_fails_is_named_and_the_others_are_kept(folder, monkeypatch, capsys):
    inner = pieces.describe_piece

    def flawed(recipe, settings, batch):
        if batch.start == 3:
            raise RuntimeError("spilt\nmilk")
        return inner(recipe, settings, batch)

    monkeypatch.setattr(pieces, "describe_piece", flawed)
    assert describe("d.npz", "--dask-workers", "0") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("kestrel: error: 1 of 3 pieces failed: 3.png to 5.png: RuntimeError: spilt milk")
    assert error.endswith("d.npz.parts keeps the others; the same command goes on from there")
    assert not (folder / "d.npz").exists()
    assert len(list((folder / "d.npz.parts").iterdir())) == 2


def test_strict_ends_at_a_bad_picture(folder, capsys):
    assert describe("d.npz", "--dask-workers", "0", "--strict") == 2
    assert "bad.jpg" in capsys.readouterr().err


def test_a_full_disk_costs_the_parts_that_do_not_fit(folder, capsys):
    """Here a limit on the size of files; parts of three descriptors have more, the one of one has not."""
    assert describe("alone.npz") == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, limits[1]))
    try:
        assert describe("d.npz", "--dask-workers", "0") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 3 pieces failed: 0.png to 2.png: output " in error
    assert "cannot be written: File too large" in error
    assert len(list((folder / "d.npz.parts").iterdir())) == 1  # and nothing half-written
    assert not (folder / "d.npz").exists()
    assert describe("d.npz", "--dask-workers", "0") == 0
    assert (folder / "d.npz").read_bytes() == (folder / "alone.npz").read_bytes()


def test_another_network_at_the_same_path_is_refused(folder, cluster_address, monkeypatch, capsys):
    """As where a worker's file is not the one that the run began with."""
    inner = pieces._portable
    other = random_network(np.random.default_rng(6), parse_network(NAME).layers, 3, name=NAME)
    save_network(other, folder / "other.safetensors")
    monkeypatch.setattr(pieces, "_portable", lambda recipe: inner(
        pieces.Recipe(str(folder / "other.safetensors"), recipe.options)))
    assert describe("d.npz", "--scheduler", cluster_address) == 2
    assert "network, weights or whitening are other ones on this worker" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--dask-workers", "0"]])
def test_two_runs_on_one_output_are_refused(folder, capsys, arguments):
    script = ("import sys, time; from pathlib import Path; from kestrel.sw.cluster.lock import lock_output\n"
              "with lock_output(Path('d.npz')): print('locked', flush=True); time.sleep(600)")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert describe("d.npz", *arguments) == 2
        owner = f"output d.npz is being written by another run (process {other.pid} on "
        assert owner in capsys.readouterr().err
        other.kill()
        other.wait()
    assert lock_path(folder / "d.npz").exists()  # left by the killed one, and no lock
    assert describe("d.npz", *arguments) == 0
    assert not lock_path(folder / "d.npz").exists()


def test_a_lock_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), lock_output(tmp_path / "d"):
            raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--scheduler", "tcp://a:1"], ["--dask-workers", "1"]])
def test_without_the_extra_one_line_says_what_to_install(folder, monkeypatch, capsys, arguments):
    monkeypatch.setattr(runner_module, "find_spec", lambda name: None)
    assert option_module.check_installed is runner_module.check_installed
    assert describe("d.npz", *arguments) == 2
    assert capsys.readouterr().err == (
        "kestrel: error: a cluster needs dask.distributed, which is not installed; allowed: after "
        "pip install 'kestrel-engine[distributed]'\n")
    assert describe("d.npz", "--dask-workers", "0") == 0  # which needs no cluster
