import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kestrel.cli import main
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import save_network
from kestrel.sw.model.network import parse_network
from kestrel.sw.pictures.scenes import write_scenes
from kestrel.sw.retrieval.benchmark.datasets import Benchmark, Judgement, Query
from kestrel.sw.retrieval.describe.descriptor import Descriptors, load_descriptors, save_descriptors
from kestrel.sw.retrieval.describe.extract import POOLINGS
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.nip import NipSettings
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.query import (
    IGNORED,
    RIGHT,
    WRONG,
    Truth,
    describer_like,
    parse_chain,
    search,
)
from kestrel.sw.retrieval.search.structures import Kind
from kestrel.verif.cases.random_network import random_network

NAME = "vgg16/32:pool2"
SIZE = ["--size", "40x48"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with scenes, a network, and descriptors of the scenes."""
    folder = tmp_path_factory.mktemp("place")
    write_scenes(folder / "scenes", 4, 3, 1, 48, 64, lambda steps: None)
    for n, name in enumerate(("net", "other")):
        network = random_network(np.random.default_rng(n), parse_network(NAME).layers, 3, name=NAME)
        save_network(network, folder / f"{name}.safetensors")
    assert main.run(["describe", str(folder / "net.safetensors"), str(folder / "scenes"), "-o",
                     str(folder / "d.npz"), *SIZE, "--rotations", "2", "--crops", "whole,grid:1x2*0.5",
                     "--rois", "1+2", "--filter", "lanczos", "--workers", "0"]) == 0
    return folder


@pytest.fixture
def inside(place, tmp_path, monkeypatch, capsys):
    """The working folder: fresh, with links to what ``place`` holds."""
    for path in place.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return tmp_path


def run(capsys, *arguments):
    assert main.run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *arguments):
    assert main.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.removeprefix("kestrel: error: ").strip()


@pytest.mark.parametrize("chain", [
    *(chain for _, chain in POOLINGS.values()), NipSettings(moment="std", levels=(2, 4), region_norm=False),
    NipSettings(moment="sqrt-sum", across="std"),
], ids=lambda chain: chain.text)
def test_a_recorded_chain_is_understood_again(chain):
    assert parse_chain(chain.text) == chain


def test_a_chain_that_is_none_is_refused():
    with pytest.raises(InputError, match="pooling 'guess'; allowed: a chain"):
        parse_chain("guess")


def test_truth_knows_right_wrong_and_ignored_by_name(tmp_path):
    benchmark = Benchmark("groups", tmp_path, ("a", "b", "c", "d"), (Query("a", "a"), Query("b", "b")),
                          {"all": (Judgement((1,), (0,)), Judgement((0, 3), ()))})
    truth = Truth(benchmark)
    assert [truth.verdict("a", name) for name in "abcd"] == [IGNORED, RIGHT, WRONG, WRONG]
    assert [truth.verdict("b", name) for name in "abcd"] == [RIGHT, WRONG, WRONG, RIGHT]
    assert truth.verdict("c", "a") is None
    assert truth.positives("b") == {"a", "d"}
    assert truth.positives("c") is None
    assert truth.name_of(tmp_path / "x" / ".." / "a") == "a"
    assert truth.name_of(Path("/elsewhere/a")) == "/elsewhere/a"


def test_wanted_counts_the_right_ones_that_the_index_holds(place):
    given = load_descriptors(place / "d.npz")
    index = DescriptorIndex.create(Kind("floats", "flat"), given)
    index.add(given, "d")
    benchmark = Benchmark("groups", place, (*given.names[:3], "absent"), (Query("q", given.names[0]),),
                          {"all": (Judgement((1, 2, 3), (0,)),)})
    result = search(index, given.vectors[:2], given.names[:2], 12, truth=Truth(benchmark))
    assert (result[0].wanted, result[0].right) == (2, 2)
    assert (result[1].wanted, result[1].right) == (None, 0)
    assert search(index, given.vectors[:1], given.names[:1], 3)[0].wanted is None


def test_a_describer_is_made_from_the_settings_of_an_index(place):
    given = load_descriptors(place / "d.npz")
    describer = describer_like(given.settings, place / "net.safetensors")
    assert describer.settings == given.settings
    paths = [place / "scenes" / name for name in given.names[:2]]
    again = describer.describe(paths, given.names[:2], workers=0)
    np.testing.assert_array_equal(again.vectors, given.vectors[:2])
    message = r"made with .*other\.safetensors and the index cannot be compared: network is SHA-256"
    with pytest.raises(InputError, match=message):
        describer_like(given.settings, place / "other.safetensors")
    with pytest.raises(InputError, match=r"compared: whitening is .. in the one and SHA-256 ee"):
        describer_like(replace(given.settings, whitening="ee" * 32), place / "net.safetensors")
    with pytest.raises(InputError, match="cannot be compared: arithmetic is 'integer'"):
        describer_like(replace(given.settings, arithmetic="float"), place / "net.safetensors",
                       DescriptorOptions(backend="reference"))


def test_from_pictures_to_a_page(inside, capsys):
    added = run(capsys, "index", "add", "i", "d.npz")
    assert (added["created"], added["added"], added["count"], added["codes"]) == (True, 12, 12, "floats")
    found = run(capsys, "search", "i", "scenes/00101.png", "scenes/00200.png", "--network", "net.safetensors",
                "-n", "12", "--dataset", "scenes", "--html", "page.html")
    assert (found["measure"], found["exact"], found["html"]) == ("inner product", True, "page.html")
    given = load_descriptors("d.npz")
    for query, row in zip(found["queries"], (4, 6), strict=True):
        name = given.names[row]
        assert query["query"] == name
        products = given.vectors.astype(np.float64) @ given.vectors[row].astype(np.float64)
        assert [m["name"] for m in query["matches"]] == [given.names[n] for n in np.argsort(-products)]
        np.testing.assert_allclose([m["score"] for m in query["matches"]], np.sort(products)[::-1], atol=1e-9)
        for match in query["matches"]:
            right = "right" if match["name"][:3] == name[:3] else "wrong"
            assert match["verdict"] == ("ignored" if match["name"] == name else right)
        assert (query["right"], query["wanted"]) == (2, 2)
    assert Path("page.html").read_text(encoding="utf-8").count("<img") == 26 + 12, "and each once, large"
    # The same through a descriptor file, without a network.
    again = run(capsys, "search", "i", "d.npz", "-n", "12", "--dataset", "scenes")
    assert [again["queries"][4], again["queries"][6]] == found["queries"]
    assert main.run(["search", "i", "d.npz", "-n", "2"]) == 0
    assert "00101.png" in capsys.readouterr().out


@pytest.mark.parametrize(("codes", "structure"), [("bytes", "hnsw"), ("bits", "flat"), ("floats", "ivf")])
def test_add_remove_and_info_agree(codes, structure, inside, capsys):
    given = load_descriptors("d.npz")
    for name, rows in (("a.npz", slice(0, 7)), ("b.npz", slice(7, 12))):
        save_descriptors(Descriptors(given.settings, given.names[rows], given.vectors[rows]), name)
    options = ["--codes", codes, "--structure", structure]
    assert run(capsys, "index", "add", "i", "a.npz", *options, "--train", "d.npz")["created"]
    added = run(capsys, "index", "add", "i", "b.npz", *options)
    assert (added["created"], added["added"], added["count"]) == (False, 5, 12)
    info = run(capsys, "index", "info", "i", "--names")
    assert info["names"] == list(given.names)
    assert (info["codes"], info["structure"], info["exact"]) == (codes, structure, structure == "flat")
    assert info["settings"]["rotations"] == 2
    assert info["bytes"] == Path("i").stat().st_size
    if codes != "floats":
        assert info["quantiser"]["source"] == "d.npz, 12 images, median"
    removed = run(capsys, "index", "remove", "i", "001*.png", "00000.png")
    gone = ["00000.png", "00100.png", "00101.png", "00102.png"]
    assert (removed["removed"], removed["names"], removed["count"]) == (4, gone, 8)
    found = run(capsys, "search", "i", "d.npz", "-n", "20")
    assert all({m["name"] for m in q["matches"]} == set(given.names) - set(gone) for q in found["queries"])
    assert main.run(["index", "info", "i"]) == 0
    assert codes in capsys.readouterr().out


def test_refusals_are_one_line_and_leave_the_index_alone(inside, capsys):
    run(capsys, "index", "add", "i", "d.npz", "--codes", "bits")
    given, before = load_descriptors("d.npz"), Path("i").read_bytes()
    names = tuple(f"x{n}" for n in given.names)
    other = Descriptors(replace(given.settings, rotations=1), names, given.vectors)
    save_descriptors(other, "o.npz")
    Path("junk").write_bytes(b"junk")
    cases = [
        (["index", "add", "i", "d.npz"], "d.npz: 00000.png is in the index already"),
        (["index", "add", "i", "o.npz"], "the index and o.npz cannot be compared: rotations is 2"),
        (["index", "add", "new", "d.npz", "o.npz"], "d.npz and o.npz cannot be compared"),
        (["index", "add", "new", "d.npz", "d.npz"], "00000.png is in the index already"),
        (["index", "add", "new", "d.npz", "--train", "o.npz", "--codes", "bytes"],
         "o.npz and d.npz cannot be compared"),
        (["index", "add", "new", "d.npz", "--codes", "bits", "--structure", "ivf"], "'ivf' of bits"),
        (["index", "add", "new", "d.npz", "--codes", "nibbles"], "'nibbles'; allowed: floats, bytes, bits"),
        (["index", "add", "new", "d.npz", "--threshold", "mean"], "--threshold has no effect in a new index"),
        (["index", "add", "new", "d.npz", "--codes", "bits", "--threshold", "mode"], "'mode'; allowed"),
        (["index", "add", "no/new", "d.npz"], "does not exist"),
        (["index", "add", "i", "o.npz", "--codes", "floats"], "--codes floats: i has bits; allowed: bits"),
        (["index", "add", "i", "o.npz", "--train", "d.npz"], "--train d.npz: i is there already"),
        (["index", "add", "junk", "d.npz"], "junk: not a readable index"),
        (["index", "info", "missing"], "missing: no such index"),
        (["index", "info", "junk"], "junk: not a readable index"),
        (["index", "remove", "i", "nobody"], "nobody is not in the index; allowed: one of its 12 names"),
        (["index", "remove", "i", "no*"], "no* is not in the index"),
        (["index"], "Missing command"),
        (["index", "polish", "i"], "No such command 'polish'"),
        (["search", "i", "scenes/00000.png"], "scenes/00000.png: a picture has to be described first"),
        (["search", "i", "scenes/00000.png", "--network", "other.safetensors"], "network is"),
        (["search", "i", "o.npz"], "o.npz and i cannot be compared: rotations is 1"),
        (["search", "i", "d.npz", "-n", "0"], "--count 0; allowed: 1..16384"),
        (["search", "i", "d.npz", "--effort", "9"], "effort 9 in a flat index"),
        (["search", "i", "d.npz", "--html", "no/page.html"], "does not exist"),
        (["search", "i", "d.npz", "--dataset", "scenes", "--protocol", "none"], "'none' is not known"),
        (["search", "junk", "d.npz"], "junk: not a readable index"),
        (["search", "i", "none.png", "--network", "net.safetensors"], "none.png: no such file"),
    ]
    for arguments, message in cases:
        assert message in refusal(capsys, *arguments), arguments
    assert Path("i").read_bytes() == before
    assert not Path("new").exists()
    Path("i").write_bytes(before[:-30])
    assert "i: not a readable index" in refusal(capsys, "search", "i", "d.npz")


def test_a_picture_outside_the_ground_truth_is_searched_and_not_judged(inside, capsys):
    run(capsys, "index", "add", "i", "d.npz")
    Image.open("scenes/00000.png").save("copy.png")
    assert main.run(["search", "i", "copy.png", "--network", "net.safetensors", "--dataset", "scenes",
                     "--html", "page.html", "--json"]) == 0
    out, err = capsys.readouterr()
    (query,) = json.loads(out)["queries"]
    assert (query["query"], query["matches"][0]["name"]) == ("copy.png", "00000.png")
    assert query["matches"][0]["score"] == pytest.approx(1, abs=1e-6)
    assert "verdict" not in query["matches"][0]
    assert "no query of the ground truth" in err
    assert "no picture" not in Path("page.html").read_text(encoding="utf-8")


def test_sub_commands_are_listed_and_explained(capsys):
    assert main.run(["--help"]) == 0
    assert "Keep an index of descriptors: add, build, merge, remove, info." in capsys.readouterr().out
    assert main.run(["index", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("add", "remove", "info"))
    assert main.run(["index", "add", "--help"]) == 0
    assert "--structure" in capsys.readouterr().out


def test_scenes_are_written_by_their_command(tmp_path, capsys):
    out = str(tmp_path / "s")
    made = run(capsys, "scenes", "-o", out, "--groups", "2", "--views", "2", "--size", "32x40")
    assert (made["images"], made["manifest"]) == (4, f"{out}/manifest.csv")
    assert len(list(tmp_path.glob("s/*.png"))) == 4
    assert "groups 0; allowed: 1..999" in refusal(capsys, "scenes", "-o", out, "--groups", "0")
    (tmp_path / "s" / "mine.txt").write_text("keep")
    assert "holds files that are not an earlier output" in refusal(capsys, "scenes", "-o", out)
