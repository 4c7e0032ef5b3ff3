"""``kestrel allocate`` as a user runs it."""

import json

import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.pictures.images import generate_picture

SMALL = ["--network", "vgg16/16:pool1", "--size", "16x16", "--trials", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user works: photographs to measure on and others."""
    monkeypatch.chdir(tmp_path)
    for name, first in (("photos", 0), ("others", 5)):
        (tmp_path / name).mkdir()
        for n in range(3):
            Image.fromarray(generate_picture(20, 30, first + n)).save(tmp_path / name / f"{n}.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    return tmp_path


def allocate(capsys, *arguments):
    assert run(["allocate", "random:3", "--calibrate", "photos", *SMALL, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_plan_is_what_compress_takes_and_has_the_size(folder, capsys):
    found = allocate(capsys, "--bits-per-weight", "3", "--held-out", "others", "--compare", "1",
                     "--plot", "p.svg")
    assert found["bits_per_weight"] <= 3
    assert run(["compress", "random:3", "-o", "n.safetensors", "--network", "vgg16/16:pool1", "--calibrate",
                "photos", "--size", "16x16", "--mask-bits", found["mask_bits"], "--json"]) == 0
    compressed = json.loads(capsys.readouterr().out)
    assert (compressed["bits"], compressed["bytes"]) == (found["bits"], found["bytes"])
    assert {"3*1,1*1", "1*2"} <= {plan["mask_bits"] for plan in [found, *found["compared"]]}
    for plan in [found, *found["compared"]]:
        assert 0 < plan["cosine_lowest"] <= plan["cosine"] < 1
        assert 0 < plan["cosine_held_out"] < 1
    for plan in found["compared"]:
        assert 0 <= plan["held_out_worse"] <= found["held_out_pictures"] == 3
    assert next(p for p in found["compared"] if p["mask_bits"] == "1*2")["held_out_worse"] == 3
    assert [layer["name"] for layer in found["layers"]] == ["conv1_1", "conv1_2"]
    for layer in found["layers"]:
        assert [choice["mask_bits"] for choice in layer["choices"]] == [1, 2, 3]
        assert all(choice["distortion"] >= 0 for choice in layer["choices"])
    assert "found and measured" in (folder / "p.svg").read_text()


@pytest.mark.usefixtures("folder")
def test_a_network_with_shared_layers(capsys):
    """The last ``--network`` counts; plans have no entries for layers that share another's integers."""
    name = "shared_resnet/32:layer1.1"
    arguments = ("--network", name, "--bits-per-weight", "3", "--compare", "3,2,1", "--rounds", "1")
    found = allocate(capsys, *arguments)
    assert [(layer["name"], layer["shared_by"]) for layer in found["layers"]] == [
        ("conv1", []), ("layer1_0_conv1", ["layer1_1_conv1"]), ("layer1_0_conv2", ["layer1_1_conv2"])]
    assert run(["compress", "random:3", "-o", "n.safetensors", "--network", name, "--calibrate", "photos",
                "--size", "16x16", "--mask-bits", found["mask_bits"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits"] == found["bits"]
    assert run(["allocate", "random:3", "--calibrate", "photos", *SMALL, *arguments]) == 0
    assert "layer1_0_conv1 and 1 more" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_the_same_plan_again(capsys):
    first, second = (allocate(capsys, "--cosine", "0.95") for _ in range(2))
    assert first == second
    assert first["cosine"] >= 0.95


@pytest.mark.usefixtures("folder")
def test_sizes_in_bytes_and_of_a_plan(capsys):
    like = allocate(capsys, "--size-of", "1,3")
    assert like["bits"] <= 3 * 4 * 17 + 4 * 4 * 35
    same = allocate(capsys, "--bytes", str(-(-(3 * 4 * 17 + 4 * 4 * 35) // 8)))
    assert same["mask_bits"] == like["mask_bits"]


@pytest.mark.usefixtures("folder")
def test_more_cycles_open_wider_masks(capsys):
    found = allocate(capsys, "--bits-per-weight", "6", "--max-cycles", "3")
    assert max(layer["mask_bits"] for layer in found["layers"]) > 3
    assert 1 < found["cycles"] <= 3


@pytest.mark.usefixtures("folder")
def test_table_is_for_people(capsys):
    assert run(["allocate", "random:3", "--calibrate", "photos", *SMALL, "--bits-per-weight", "2.5"]) == 0
    out = capsys.readouterr().out
    for text in ("conv1_2", "bits a weight", "kestrel compress --mask-bits '"):
        assert text in out


BAD = {
    "no target": ([], "targets given: none; allowed: one of --bits-per-weight, --bytes, --size-of, --cosine"),
    "two targets": (["--bytes", "99", "--cosine", "0.9"], "targets given: --bytes, --cosine"),
    "negative": (["--bytes", "-1"], "--bytes -1; allowed: above 0"),
    "not a number": (["--bits-per-weight", "nan"], "--bits-per-weight nan; allowed: above 0"),
    "too small": (["--bytes", "9"], "target size 72 bits; allowed: at least"),
    "cosine": (["--cosine", "1.5"], "cosine 1.5; allowed: between 0 and 1"),
    "plan": (["--size-of", "3*7"], "describe 7 layers"),
    "plan of other widths": (["--size-of", "5"], "mask bits '5'; allowed here: 1, 2, 3"),
    "compared plan": (["--bytes", "99", "--compare", "4"], "mask bits '4'; allowed here: 1, 2, 3"),
    "widths": (["--bytes", "99", "--mask-widths", "1-3"], "mask widths '1-3'"),
    "width": (["--bytes", "99", "--mask-widths", "1,8"], "mask widths '1,8'; allowed: 1..5"),
    "cycles": (["--bytes", "99", "--max-cycles", "0.5"], "cycles 0.5"),
    "rounds": (["--bytes", "99", "--rounds", "-1"], "rounds -1; allowed: 0 or more"),
    "pictures": (["--bytes", "99", "--pictures", "0"], "pictures 0; allowed: 1..1024"),
    "fit": (["--bytes", "99", "--fit", "kmeans"], "fit 'kmeans'"),
    "activation bits": (["--bytes", "99", "--activation-bits", "9"], "activation bits = 9"),
    "folder": (["--bytes", "99", "--calibrate", "nowhere"], "nowhere: no such folder"),
    "photograph": (["--bytes", "99", "--calibrate", "broken"], "not a readable image"),
    "held out": (["--bytes", "99", "--held-out", "broken"], "not a readable image"),
    "plot suffix": (["--bytes", "99", "--plot", "p.pdf"], "allowed: .svg, .png"),
    "plot folder": (["--bytes", "99", "--plot", "no/p.svg"], "does not exist"),
    "size": (["--bytes", "99", "--size", "1x1"], "1 x 1 is too small"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, what):
    before = sorted(folder.rglob("*"))
    arguments, message = BAD[what]
    assert run(["allocate", "random:3", "--calibrate", "photos", *SMALL, *arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("kestrel: error: ")
    assert captured.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
