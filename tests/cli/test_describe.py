"""``kestrel describe`` and ``kestrel whiten`` as a user runs them."""

import json

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, to_bits, to_bytes
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
SMALL = ["--size", "32"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user works: a network, photographs with a bad one among them, others to train on."""
    network = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
    save_network(network, tmp_path / "n.safetensors")
    for name, count in (("photos", 4), ("train", 6)):
        (tmp_path / name).mkdir()
        for n in range(count):
            Image.fromarray(generate_picture(40, 50, 10 * count + n)).save(tmp_path / name / f"{n}.png")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "bad.jpg").write_bytes(b"no picture")
    Image.fromarray(generate_picture(9, 9, 1)).save(tmp_path / "mixed" / "good.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def describe(*arguments):
    return run(["describe", "n.safetensors", *SMALL, *arguments, "--json"])


def answer(capsys):
    return json.loads(capsys.readouterr().out)


def test_json_is_one_object_with_the_promised_keys(folder, capsys):
    assert describe("photos", "-o", "d.npz", "--pooling", "rnip5x", "--rotations", "4") == 0
    found = answer(capsys)
    assert (found["count"], found["dimension"], found["pooling"], found["rotations"]) == (4, 4, "rnip5x", 4)
    assert found["seconds"] > 0
    assert found["skipped"] == []
    file = load_descriptors("d.npz")
    assert file.names == ("0.png", "1.png", "2.png", "3.png")
    assert (file.settings.crops, file.settings.rotations, file.settings.height) == ("square:1+2", 4, 32)
    assert not (folder / "d.npz.parts").exists()


def test_options_of_the_chain_are_recorded(folder):
    assert describe("photos/0.png", "-o", "d.npz", "--rois", "1+2", "--moment", "std", "--across", "std",
                    "--no-region-norm", "--crops", "grid:2x2~25", "--fit", "keep", "--filter", "box") == 0
    settings = load_descriptors("d.npz").settings
    assert settings.pooling == "std over levels 1+2, no L2, std"
    assert (settings.crops, settings.resize) == ("grid:2x2~25", "keep, box")
    assert describe("photos/0.png", "-o", "d.npz", "--rois", "none") == 0
    assert load_descriptors("d.npz").settings.pooling == "sqrt over the whole map, L2, mean"


def test_names_of_several_arguments_say_where_they_lie(folder):
    assert describe("photos", "train/1.png", "-o", "d.npz") == 0
    assert load_descriptors("d.npz").names == (*(f"photos/{n}.png" for n in range(4)), "train/1.png")


def test_bad_files_in_a_folder_are_named_and_skipped_unless_strict(folder, capsys):
    assert describe("mixed", "-o", "d.npz") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["skipped"] == ["bad.jpg"]
    assert "skipped mixed/bad.jpg: not a readable image" in output.err
    assert load_descriptors("d.npz").names == ("good.png",)
    assert describe("mixed", "-o", "e.npz", "--strict") == 2
    assert "mixed/bad.jpg: not a readable image" in capsys.readouterr().err
    assert describe("photos/0.png", "mixed/bad.jpg", "-o", "e.npz") == 2, "asked for by its name"
    assert not list(folder.glob("e.npz*")), "no folder of parts either, as there are none"


def test_a_stopped_run_leaves_its_parts_and_continues(folder, capsys, monkeypatch):
    """Stopped by a bad file at the end; put right, the run goes on from the part that was written."""
    (folder / "photos" / "4.png").write_bytes(b"no picture")
    assert describe("photos", "-o", "d.npz", "--strict", "--size", "640") == 2
    assert list((folder / "d.npz.parts").glob("part-*.npz"))
    Image.fromarray(generate_picture(9, 9, 1)).save(folder / "photos" / "4.png")
    capsys.readouterr()
    assert describe("photos", "-o", "d.npz", "--strict", "--size", "640") == 0
    assert "continuing from d.npz.parts" in capsys.readouterr().err
    assert len(load_descriptors("d.npz").names) == 5
    assert not (folder / "d.npz.parts").exists()


@pytest.mark.parametrize("kind", ["bytes", "bits"])
def test_codes_with_ranges_and_thresholds_of_a_training_folder(folder, kind):
    assert describe("train", "-o", "t.npz") == 0
    assert describe("photos", "-o", "a.npz", "--codes", kind, "--train", "train", "--threshold", "mean") == 0
    assert describe("photos", "-o", "b.npz", "--codes", kind, "--train", "t.npz", "--threshold", "mean") == 0
    learned = fit_quantiser(load_descriptors("t.npz").vectors, "mean")
    for name in ("a.npz", "b.npz"):
        file = load_descriptors(name)
        assert file.codes is not None
        make = to_bytes if kind == "bytes" else to_bits
        np.testing.assert_array_equal(file.codes.values, make(file.vectors, learned))
        np.testing.assert_array_equal(file.codes.quantiser.thresholds, learned.thresholds)
        assert "6 images, mean" in file.codes.quantiser.source


@pytest.mark.parametrize("mode", ["roi", "after"])
def test_whitening_is_learned_and_used(folder, capsys, mode):
    assert run(["whiten", "n.safetensors", "train", "-o", "w.safetensors", "--dimension", "3", "--mode", mode,
                "--limit", "4", *SMALL, "--json"]) == 0
    found = answer(capsys)
    assert (found["dimension"], found["from_dimension"], found["images"], found["vectors"]) == (3, 4, 4, 56)
    assert describe("photos", "-o", "d.npz", "--whitening", "w.safetensors", "--rotations", "2") == 0
    assert answer(capsys)["dimension"] == 3
    file = load_descriptors("d.npz")
    assert file.settings.whitening == found["sha256"]
    assert describe("photos", "-o", "p.npz") == 0
    assert describe("photos", "-o", "e.npz", "--whitening", "w.safetensors", "--pooling", "rnip5x") == 2
    assert "trained with crops 'whole'" in capsys.readouterr().err


def test_float_engine(folder, capsys):
    assert describe("photos", "-o", "f.npz", "--backend", "float", "--weights", "random:3") == 0
    assert describe("photos", "-o", "r.npz") == 0
    capsys.readouterr()
    assert describe("photos", "-o", "g.npz", "--codes", "bits", "--train", "f.npz") == 2
    assert "f.npz and g.npz cannot be compared: network is" in capsys.readouterr().err


REFUSED = [
    (["photos", "-o", "d.txt"], "suffix '.txt'; allowed: .npz"),
    (["photos", "-o", "nowhere/d.npz"], "the folder"),
    (["nowhere", "-o", "d.npz"], "nowhere: no such file or folder"),
    (["empty", "-o", "d.npz"], "empty: no images"),
    (["photos", "photos/0.png", "-o", "d.npz"], "photos/0.png: given twice"),
    (["photos", "-o", "d.npz", "--pooling", "gem"], "pooling 'gem'; allowed: nip"),
    (["photos", "-o", "d.npz", "--rotations", "3"], "rotations 3; allowed: 1, 2, 4"),
    (["photos", "-o", "d.npz", "--backend", "float"], "needs the float weights"),
    (["photos", "-o", "d.npz", "--backend", "magic"],
     "backend 'magic'; allowed: board, float, reference, rtl"),
    (["photos", "-o", "d.npz", "--rois", "1+x"], "rois '1+x'; allowed"),
    (["photos", "-o", "d.npz", "--rois", "0"], "levels 0"),
    (["photos", "-o", "d.npz", "--crops", "levels"], "crops 'levels'"),
    (["photos", "-o", "d.npz", "--backend", "rtl", "--backend-set", "config"],
     "--backend-set 'config'; allowed: NAME=VALUE"),
    (["photos", "-o", "d.npz", "--codes", "bits"], "codes 'bits' need ranges and thresholds"),
    (["photos", "-o", "d.npz", "--codes", "nibbles", "--train", "train"], "codes 'nibbles'; allowed"),
    (["photos", "-o", "d.npz", "--train", "train"], "--train has no effect without --codes"),
    (["photos", "-o", "d.npz", "--codes", "bits", "--train", "train", "--threshold", "mode"],
     "threshold 'mode'; allowed: median, mean"),
    (["photos", "-o", "d.npz", "--whitening", "n.safetensors"], "n.safetensors: not a whitening file"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_options_are_refused_in_one_line(folder, capsys, arguments, message):
    before = sorted(folder.iterdir())
    assert describe(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before, "nothing is left behind"


@pytest.mark.parametrize(("arguments", "message"), [
    (["-o", "w.npz"], "suffix '.npz'; allowed: .safetensors"),
    (["-o", "w.safetensors", "--mode", "x"], "mode 'x'"),
    (["-o", "w.safetensors", "--dimension", "5"], "dimension 5; allowed: 1..4"),
])
def test_bad_options_of_whiten_are_refused(folder, capsys, arguments, message):
    assert run(["whiten", "n.safetensors", "train", *arguments, *SMALL]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "w.safetensors").exists()
