"""``kestrel evaluate`` as a user runs it."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.descriptor import Descriptors, load_descriptors, save_descriptors
from kestrel.sw.retrieval.describe.extract import make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions

SMALL = ["--size", "16", "--workers", "0"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    assert run(["compress", "random:1", "-o", str(path), "--network", "vgg16/16:pool1", "--mask-bits", "3",
                "--size", "16x16"]) == 0
    return path


@pytest.fixture
def user(tmp_path, network, monkeypatch):
    """A folder with a network, a set of four groups of three views, and training pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.safetensors").write_bytes(network.read_bytes())
    (tmp_path / "set").mkdir()
    (tmp_path / "train").mkdir()
    for group in range(4):
        scene = generate_picture(60, 80, group)
        for view in range(3):
            part = scene[view * 4 : view * 4 + 44, view * 6 : view * 6 + 60]
            Image.fromarray(part).save(tmp_path / "set" / f"{group:03}{view:02}.png")
    for n in range(5):
        Image.fromarray(generate_picture(30, 40, 100 + n)).save(tmp_path / "train" / f"{n}.png")
    return tmp_path


def evaluate(capsys, *arguments):
    """The JSON object of a run that must succeed."""
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    """The one line of a run that must not."""
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.strip().splitlines()[-1]


def test_json_has_the_promised_keys(user, capsys):
    found = evaluate(capsys, "net.safetensors", "--dataset", "set", *SMALL)
    assert {"protocol", "map", "queries", "images", "settings", "recall"} <= found.keys()
    assert (found["protocol"], found["queries"], found["images"]) == ("groups", 12, 12)
    assert 0 < found["map"] <= 1
    assert found["recall"].keys() == {"1", "5", "10"}
    assert found["settings"]["codes"] == "floats"
    assert found["settings"]["rotations"] == 1


def test_table_is_for_people(user, capsys):
    assert run(["evaluate", "net.safetensors", "--dataset", "set", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "mAP" in out
    assert "recall at 1, 5, 10" in out


def test_a_descriptor_file_gives_the_same(user, capsys):
    first = evaluate(capsys, "net.safetensors", "--dataset", "set", "--pooling", "rnip5x", "--save", "d.npz",
                     "--per-query", "a.csv", *SMALL)
    second = evaluate(capsys, "--descriptors", "d.npz", "--dataset", "set", "--compare", "a.csv")
    for key in ("map", "recall", "queries", "images"):
        assert first[key] == second[key]
    assert second["compare"]["difference"] == second["compare"]["low"] == second["compare"]["high"] == 0
    assert not (user / "d.npz.parts").exists()


def test_values_by_query_average_to_the_totals(user, capsys):
    found = evaluate(capsys, "net.safetensors", "--dataset", "set", "--per-query", "q.csv", *SMALL)
    with (user / "q.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["query"] for line in lines] == sorted(p.name for p in (user / "set").iterdir())
    assert np.mean([float(line["ap"]) for line in lines]) == pytest.approx(found["map"], abs=1e-15)
    assert np.mean([float(line["recall_5"]) for line in lines]) == pytest.approx(found["recall"]["5"])


@pytest.mark.parametrize("codes", ["bytes", "bits"])
def test_codes_learn_from_a_folder_a_file_or_the_set_itself(user, capsys, codes):
    evaluate(capsys, "net.safetensors", "--dataset", "set", "--save", "d.npz", *SMALL)
    assert run(["describe", "net.safetensors", "train", "-o", "t.npz", *SMALL]) == 0
    common = ("--dataset", "set", "--codes", codes)
    by_folder = evaluate(capsys, "net.safetensors", *common, "--train", "train", *SMALL)
    by_file = evaluate(capsys, "--descriptors", "d.npz", *common, "--train", "t.npz")
    assert by_folder["map"] == by_file["map"]
    assert by_folder["settings"]["quantiser"]["low"] == by_file["settings"]["quantiser"]["low"]
    own = evaluate(capsys, "--descriptors", "d.npz", *common)
    assert "the benchmark's 12 images" in own["settings"]["quantiser"]["source"]


def test_boxed_queries_are_cut_from_their_pictures(user, capsys):
    truth = user / "set" / "gt"
    truth.mkdir()
    (truth / "a_1_query.txt").write_text("oxc1_00000 10.4 5.6 40 300")
    for kind, text in (("good", "00001"), ("ok", "00002"), ("junk", "00000")):
        (truth / f"a_1_{kind}.txt").write_text(text)
    found = evaluate(capsys, "net.safetensors", "--dataset", "set", "--protocol", "oxford5k", "--save",
                     "d.npz", *SMALL)
    assert (found["queries"], found["images"]) == (1, 12)
    saved = load_descriptors("d.npz")
    assert saved.names[-1] == "query:a_1"
    with Image.open(user / "set" / "00000.png") as image:
        part = np.asarray(image)[6:44, 10:40]
    describer = make_describer("net.safetensors", DescriptorOptions(size=16))
    np.testing.assert_array_equal(saved.vectors[-1], describer.describe_picture(part))
    again = evaluate(capsys, "--descriptors", "d.npz", "--dataset", "set", "--protocol", "oxford5k")
    assert again["map"] == found["map"]


def test_a_box_outside_its_picture_is_named(user, capsys):
    (user / "set" / "a_1_query.txt").write_text("00000 100 100 200 200")
    (user / "set" / "b_1_query.txt").write_text("00100 0 0 20 20")
    for kind, text in (("good", "00001"), ("ok", ""), ("junk", "")):
        (user / "set" / f"a_1_{kind}.txt").write_text(text)
        (user / "set" / f"b_1_{kind}.txt").write_text(text.replace("00001", "00101"))
    arguments = ("net.safetensors", "--dataset", "set", "--protocol", "paris6k", *SMALL)
    found = evaluate(capsys, *arguments)
    assert (found["skipped"], found["queries"]) == (["query:a_1"], 1)
    assert "query a_1: box" in refused(capsys, *arguments, "--strict")


def test_a_bad_picture_is_named_and_left_out(user, capsys):
    (user / "set" / "00302.png").write_bytes(b"no picture")
    found = evaluate(capsys, "net.safetensors", "--dataset", "set", *SMALL)
    assert (found["skipped"], found["images"], found["queries"]) == (["00302.png"], 11, 11)
    assert "00302.png" in refused(capsys, "net.safetensors", "--dataset", "set", "--strict", *SMALL)


def test_runs_over_other_sets_are_not_compared(user, capsys):
    evaluate(capsys, "net.safetensors", "--dataset", "set", "--per-query", "a.csv", *SMALL)
    (user / "set" / "00302.png").unlink()
    message = refused(capsys, "net.safetensors", "--dataset", "set", "--compare", "a.csv", *SMALL)
    assert "a.csv: query '00300.png'" in message


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dataset", "set"], "one of a network and --descriptors"),
    (["net.safetensors", "--descriptors", "d.npz", "--dataset", "set"], "one of a network and --descriptors"),
    (["net.safetensors", "--dataset", "set", "--codes", "nibbles"], "codes 'nibbles'; allowed: floats"),
    (["net.safetensors", "--dataset", "set", "--protocol", "inria"], "protocol 'inria' is not known"),
    (["net.safetensors", "--dataset", "none"], "none: no such folder"),
    (["net.safetensors", "--dataset", "set", "--average-precision", "x"], "average precision 'x'"),
    (["net.safetensors", "--dataset", "set", "--codes", "bits", "--threshold", "x"],
     "threshold 'x'; allowed: median, mean"),
    (["net.safetensors", "--dataset", "set", "--save", "d.csv"], "suffix '.csv'; allowed: .npz"),
    (["net.safetensors", "--dataset", "set", "--per-query", "no/q.csv"], "does not exist"),
    (["net.safetensors", "--dataset", "set", "--compare", "no.csv"], "no.csv: no such file"),
    (["--descriptors", "no.npz", "--dataset", "set"], "no.npz: no such file"),
    (["net.safetensors", "--dataset", "set", "--backend", "float"], "--weights"),
])
def test_what_cannot_be_used_is_refused_in_one_line(user, capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_training_descriptors_of_another_kind_are_refused(user, capsys):
    evaluate(capsys, "net.safetensors", "--dataset", "set", "--save", "d.npz", *SMALL)
    assert run(["describe", "net.safetensors", "train", "-o", "t.npz", "--pooling", "rnip5x", *SMALL]) == 0
    arguments = ("--descriptors", "d.npz", "--dataset", "set", "--codes", "bits", "--train")
    assert "t.npz and d.npz cannot be compared: crops is" in refused(capsys, *arguments, "t.npz")
    assert "a folder cannot be described without a network" in refused(capsys, *arguments, "train")


def test_a_descriptor_file_of_other_pictures_is_refused(user, capsys):
    evaluate(capsys, "net.safetensors", "--dataset", "set", "--save", "d.npz", *SMALL)
    whole = load_descriptors("d.npz")
    save_descriptors(Descriptors(whole.settings, whole.names[1:], whole.vectors[1:]), "part.npz")
    message = refused(capsys, "--descriptors", "part.npz", "--dataset", "set")
    assert "part.npz: no descriptor of 00000.png" in message
