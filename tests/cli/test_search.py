"""Describe, index and search as a user runs them: any folder, many bits, vectors of other programs."""

import json

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.descriptor import load_descriptors
from kestrel.sw.retrieval.search import structures
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
SMALL = ["--height", "32", "--width", "32"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A network and photographs in folders: equal names, a link back up, a file that is no picture."""
    network = random_network(np.random.default_rng(5), parse_network(NAME).layers, 3, name=NAME)
    save_network(network, tmp_path / "n.safetensors")
    for n, name in enumerate(("photos/a/x.png", "photos/b/x.png", "photos/b/y.gif", "photos/z.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generate_picture(40, 50, n)).save(tmp_path / name)
    (tmp_path / "photos" / "b" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "notes.odt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kestrel(capsys, *arguments):
    """The JSON object and the standard error of a run that must succeed."""
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out), err


def refused(capsys, *arguments):
    capsys.readouterr()
    assert run(list(map(str, arguments))) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_any_folder_to_a_page_from_elsewhere(here, capsys, monkeypatch):
    found, err = kestrel(capsys, "describe", "n.safetensors", "photos", "-o", "d.npz", *SMALL)
    assert found["count"] == 4
    assert err == "kestrel: warning: photos: 1 files are not read: 1 .odt (notes.odt)\n"
    assert load_descriptors("d.npz").names == ("a/x.png", "b/x.png", "b/y.gif", "z.png")
    kestrel(capsys, "index", "add", "i.index", "d.npz")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    found, err = kestrel(capsys, "search", here / "i.index", here / "photos/b/x.png", "--network",
                         here / "n.safetensors", "--html", "page.html")
    assert found["queries"][0]["matches"][0]["name"] == "b/x.png"
    assert err == ""
    text = (here / "elsewhere" / "page.html").read_text(encoding="utf-8")
    assert "no picture" not in text
    assert text.count("data:image/jpeg") == 5 + 4, "the four once more, large"
    (here / "photos" / "z.png").unlink()
    _, err = kestrel(capsys, "search", here / "i.index", here / "d.npz", "--html", "page.html")
    assert "i.index: 1 of 4 pictures are not found, such as z.png; --images FOLDER tells where" in err
    # The folder of --images goes before what the index remembers.
    _, err = kestrel(capsys, "search", here / "i.index", here / "d.npz", "--html", "page.html",
                     "--images", ".")
    assert "4 of 4 pictures are not found" in err


def test_the_structure_goes_by_the_number_and_its_recall_is_measured(here, capsys, rng):
    """Beyond EXACT_UP_TO, which is lowered here, codes in memory; the answers come from the file."""
    x = rng.normal(size=(400, 24))
    np.savez("many.npz", files=[f"{n}.jpg" for n in range(400)], vectors=x.astype(np.float32))
    found, _ = kestrel(capsys, "index", "add", "few.index", "many.npz")
    assert found["structure"] == "flat"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(structures.EXACT_UP_TO, "floats", 399)
        found, _ = kestrel(capsys, "index", "add", "many.index", "many.npz")
    assert (found["structure"], found["count"]) == ("ivfpq", 400)
    found, _ = kestrel(capsys, "index", "info", "many.index", "--recall", 50)
    assert (found["recall"]["queries"], found["recall"]["depth"]) == (50, 10)
    assert found["recall"]["at_1"] == found["recall"]["at_depth"] == 1, "all are candidates"
    found, _ = kestrel(capsys, "search", "many.index", "many.npz", "-n", 1)
    assert all(query["query"] == query["matches"][0]["name"] for query in found["queries"])
    assert refused(capsys, "index", "info", "many.index", "--recall", 0).endswith(
        "recall of 0 queries; allowed: 1..10000")
    assert run(["index", "info", "many.index", "--recall", "50"]) == 0
    out = capsys.readouterr().out
    assert "recall        1.000 at 1, 1.000 at 10 of the exact search, 50 queries in" in out


def test_bits_as_many_as_wanted_and_queries_that_keep_their_floats(here, capsys):
    kestrel(capsys, "describe", "n.safetensors", "photos", "-o", "plain.npz", *SMALL)
    found, _ = kestrel(capsys, "describe", "n.safetensors", "photos", "-o", "d.npz", *SMALL,
                       "--codes", "bits", "--bits", 24, "--train", "plain.npz")
    assert found["bits"] == 24
    given = load_descriptors("d.npz")
    assert given.codes is not None
    assert given.codes.values.shape == (4, 3)
    kestrel(capsys, "index", "add", "i.index", "d.npz", "--codes", "bits")
    info, _ = kestrel(capsys, "index", "info", "i.index")
    assert (info["dimension"], info["bits"]) == (4, 24)
    found, _ = kestrel(capsys, "search", "i.index", "plain.npz", "--asymmetric")
    assert found["measure"] == "inner product with bits"
    scores = [[match["score"] for match in query["matches"]] for query in found["queries"]]
    assert all(len(row) == 4 and row == sorted(row, reverse=True) for row in scores)
    for more in ((), ("--asymmetric",)):
        result, _ = kestrel(capsys, "evaluate", "--descriptors", "plain.npz", "--dataset", group(here),
                            "--codes", "bits", "--bits", 40, *more)
        assert result["settings"]["bits"] == 40
        assert result["settings"]["asymmetric"] == bool(more)
    assert "--bits has no effect in a new index without --codes bits; allowed: with --codes bits" in refused(
        capsys, "index", "add", "new.index", "plain.npz", "--codes", "bytes", "--bits", 9)
    assert "bits 99999; allowed: 1..16384" in refused(
        capsys, "index", "add", "new.index", "plain.npz", "--codes", "bits", "--bits", 99999)
    assert "--asymmetric has no effect with --codes floats; allowed: with --codes bits" in refused(
        capsys, "evaluate", "--descriptors", "plain.npz", "--dataset", "photos", "--asymmetric")
    assert "--bits 9: i.index is there already" in refused(
        capsys, "index", "add", "i.index", "plain.npz", "--bits", 9)


def group(here):
    (here / "photos" / "manifest.csv").write_text("file,group\na/x.png,1\nb/x.png,1\nb/y.gif,2\nz.png,2\n")
    return here / "photos"


def test_vectors_of_other_programs_are_evaluated_indexed_and_marked(here, capsys, rng):
    names = ["a/x.png", "b/x.png", "b/y.gif", "z.png"]
    np.savez(here / "f.npz", features=rng.normal(size=(4, 6)), files=names)
    result, err = kestrel(capsys, "evaluate", "--descriptors", "f.npz", "--dataset", group(here))
    assert result["settings"]["foreign"] is True
    assert "f.npz: vectors of another program, brought to unit length" in err
    info, _ = kestrel(capsys, "index", "add", "f.index", "f.npz")
    assert info["settings"]["arithmetic"] == "foreign"
    found, _ = kestrel(capsys, "search", "f.index", "f.npz", "-n", 1)
    assert [query["matches"][0]["name"] for query in found["queries"]] == names
    assert "descriptors of another program, which pictures cannot be described like" in refused(
        capsys, "search", "f.index", "photos/z.png", "--network", "n.safetensors")
    kestrel(capsys, "describe", "n.safetensors", "photos", "-o", "d.npz", *SMALL)
    assert "cannot be compared" in refused(capsys, "index", "add", "f.index", "d.npz")
