"""``kestrel report retrieval``: its rows are those of evaluate, crops are computed once, a stopped run
continues."""

import contextlib
import io
import itertools
import json
import re
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from kestrel.cli.main import run
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.digest import network_digest
from kestrel.sw.pictures.images import generate_picture, open_image
from kestrel.sw.retrieval.describe.backends import ReferenceBackend
from kestrel.sw.retrieval.describe.crops import PRESETS
from kestrel.sw.retrieval.describe.extract import POOLINGS, make_describer
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.describe.whitening import load_whitening
from kestrel.sw.retrieval.report import measure as report_module
from kestrel.sw.retrieval.report.crop_store import CropStore, Picture
from kestrel.sw.retrieval.report.plots import DARK, NARROW, WIDE
from kestrel.sw.retrieval.report.tables import POOLING_NAMES

SMALL = ["--size", "16"]


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A folder with a network, a set of four groups of three views and training pictures."""
    folder = tmp_path_factory.mktemp("user")
    assert run(["compress", "random:1", "-o", str(folder / "net.safetensors"), "--network", "vgg16/16:pool1",
                "--mask-bits", "3", "--size", "16x16"]) == 0
    (folder / "set").mkdir()
    (folder / "train").mkdir()
    for group in range(4):
        scene = generate_picture(60, 80, group)
        for view in range(3):
            part = scene[view * 4 : view * 4 + 44, view * 6 : view * 6 + 60]
            Image.fromarray(part).save(folder / "set" / f"{group:03}{view:02}.png")
    for n in range(6):
        Image.fromarray(generate_picture(30, 40, 100 + n)).save(folder / "train" / f"{n}.png")
    return folder


@pytest.fixture
def here(user, monkeypatch):
    monkeypatch.chdir(user)
    return user


@pytest.fixture
def small_large(monkeypatch):
    """Table 2's large picture, smaller."""
    monkeypatch.setattr(report_module, "LARGE", (24, 32))


def report(capsys, *arguments):
    capsys.readouterr()
    assert run(["report", "retrieval", "--dataset", "set", "--network", "net.safetensors", *SMALL,
                *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def evaluated(capsys, *arguments):
    capsys.readouterr()
    assert run(["evaluate", "net.safetensors", "--dataset", "set", "--workers", "0", *map(str, arguments),
                "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def row(found, **wanted):
    rows = [r for r in found["rows"] if all(r[key] == value for key, value in wanted.items())]
    assert len(rows) == 1
    return rows[0]


def test_rows_are_those_of_evaluate(here, tmp_path, capsys, small_large):
    found = report(capsys, "--weights", "random:1", "--train", "train", "-o", tmp_path / "out",
                   "--whitening-mode", "roi", "--rotations", "2")
    assert len(found["rows"]) == (2 * 4 + 1) * 2 * 3
    whitened = tmp_path / "out" / "whitening-integer-16x16-rnip9x.safetensors"
    assert load_whitening(whitened).mode == "roi"
    for wanted, arguments in (
        ({"arithmetic": "integer", "pooling": "nip", "whitening": "", "codes": "floats"}, SMALL),
        ({"arithmetic": "integer", "pooling": "rnip9x", "whitening": "roi", "codes": "bytes"},
         [*SMALL, "--whitening", whitened]),
        ({"arithmetic": "integer", "pooling": "rnip14x", "whitening": "", "codes": "bits"}, SMALL),
        ({"arithmetic": "float", "height": 16, "pooling": "rnip5x", "whitening": "", "codes": "bits"},
         [*SMALL, "--backend", "float", "--weights", "random:1"]),
        ({"arithmetic": "float", "height": 24, "pooling": "nip", "whitening": "", "codes": "floats"},
         ["--size", "24x32", "--fit", "keep", "--backend", "float", "--weights", "random:1"]),
    ):  # fmt: skip
        mine = row(found, **wanted)
        learned = [] if mine["codes"] == "floats" else ["--train", "train"]
        theirs = evaluated(capsys, "--rotations", "2", *learned, "--pooling", mine["pooling"],
                           "--codes", mine["codes"],
                           *arguments)
        assert mine["map"] == theirs["map"], wanted
        assert mine["recall"] == theirs["recall"]
        assert mine["dimension"] == theirs["settings"]["dimension"]


def test_descriptors_of_the_store_are_the_describers(here, tmp_path):
    plain = {name: crops for name, crops in PRESETS.items() if "mosaic" not in crops}
    union = ",".join(plain.values())
    paths = sorted((here / "set").iterdir())[:3]
    store = CropStore(tmp_path, make_describer("net.safetensors", DescriptorOptions(
        size=16, crops=union, rotations=4)))
    pictures = [Picture(path.name, path) for path in paths]
    store.fill(pictures, "features")
    for name, crops in plain.items():
        describer = make_describer("net.safetensors", DescriptorOptions(size=16, pooling=name, rotations=4))
        assert store.settings(crops, None) == describer.settings
        for picture in pictures:
            found = store.descriptor(store.vectors(picture, [crops])[crops], None)
            np.testing.assert_array_equal(found, describer.describe_picture(open_image(picture.path)))


def test_mosaics_stand_beside_crops_and_other_chains(here, tmp_path, capsys):
    found = report(capsys, "--train", "train", "-o", tmp_path / "out", "--poolings", "nip,rnip18m,rmac,sqrt",
                   "--rotations", "2")
    assert row(found, pooling="rnip18m", whitening="", codes="floats")["crops"] == 18
    for pooling in ("nip", "rnip18m", "rmac", "sqrt"):
        path = tmp_path / "out" / f"whitening-integer-16x16-{pooling}.safetensors"
        for whitening, arguments in (("", ()), ("after", ("--whitening", path))):
            mine = row(found, pooling=pooling, whitening=whitening, codes="bytes")
            theirs = evaluated(capsys, "--rotations", "2", "--train", "train", "--pooling", pooling,
                               "--codes", "bytes", *SMALL, *arguments)
            assert mine["map"] == theirs["map"], (pooling, whitening)


def test_every_pooling_has_a_name_to_print():
    assert POOLING_NAMES.keys() == POOLINGS.keys()


def test_a_whitening_of_the_report_is_that_of_whiten(here, tmp_path, capsys):
    report(capsys, "--train", "train", "-o", tmp_path / "out", "--poolings", "rnip5x")
    assert run(["whiten", "net.safetensors", "train", "-o", str(tmp_path / "w.safetensors"), "--pooling",
                "rnip5x", "--mode", "after", "--workers", "0", *SMALL]) == 0
    mine = load_whitening(tmp_path / "out" / "whitening-integer-16x16-rnip5x.safetensors")
    theirs = load_whitening(tmp_path / "w.safetensors")
    assert (mine.settings, mine.vectors, mine.pictures) == (theirs.settings, theirs.vectors, theirs.pictures)
    np.testing.assert_array_equal(mine.projection, theirs.projection)


class CountingBackend(ReferenceBackend):
    """Counts the crops, and stops after ``limit`` of them."""

    crops: ClassVar[Counter[bytes]] = Counter()
    limit = 10**9

    def features(self, pictures):
        if self.crops.total() >= self.limit:
            raise KeyboardInterrupt
        self.crops.update(picture.tobytes() for picture in pictures)
        return super().features(pictures)

    def batch(self, height, width):
        return 1


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(
        "kestrel.sw.retrieval.describe.extract.make_backend", lambda name, request: CountingBackend(request)
    )
    monkeypatch.setattr(CountingBackend, "crops", Counter())
    return CountingBackend


def test_crops_shared_by_poolings_are_computed_once(here, tmp_path, capsys, counting):
    report(capsys, "-o", tmp_path / "out")
    # 1 + 4 + 9 of the stretched grid, the first being the whole, and 2 + 6 squares, for each of 12 pictures.
    assert counting.crops.total() == 12 * (14 + 8)


def test_a_stopped_run_continues(here, tmp_path, capsys, counting, monkeypatch):
    whole = report(capsys, "-o", tmp_path / "whole", "--poolings", "nip,rnip5x")
    counting.crops.clear()
    monkeypatch.setattr(counting, "limit", 32)
    command = ["report", "retrieval", "--dataset", "set", "--network", "net.safetensors", *SMALL,
               "-o", str(tmp_path / "out"), "--poolings", "nip,rnip5x", "--json"]
    assert run(command) == 130
    monkeypatch.setattr(counting, "limit", 10**9)
    done = len(list((tmp_path / "out" / "features").rglob("*.npz")))
    assert 0 < done < 12
    assert not (tmp_path / "out" / "report.json").exists()
    counting.crops.clear()
    capsys.readouterr()
    again = report(capsys, "-o", tmp_path / "out", "--poolings", "nip,rnip5x")
    assert counting.crops.total() == (12 - done) * 5
    assert again["rows"] == whole["rows"]
    assert again["differences"] == whole["differences"]
    assert not (tmp_path / "out" / "features").exists()


def test_files_of_a_report(here, tmp_path, capsys, small_large):
    found = report(capsys, "--weights", "random:1", "--train", "train", "-o", tmp_path / "out",
                   "--poolings", "nip,rnip9x", "--keep-features")
    out = tmp_path / "out"
    assert {file.rpartition("/")[2] for file in found["files"]} == {
        "report.html", "report.md", "report.json", "map.svg", "differences.svg"}
    assert (out / "features").is_dir()
    stored = json.loads((out / "report.json").read_text())
    assert stored["rows"] == found["rows"]
    page = (out / "report.html").read_text()
    # Nothing is loaded from elsewhere.
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "@import" not in page
    assert page.count("data:image/svg+xml") == 4, "each plot for a screen and for a phone"
    words = re.findall(r'<img [^>]*alt="([^"]+)"', page)
    assert len(set(words)) == 2
    assert "Dots with 95% intervals: mean average precision on set by pooling (NIP, RNIP 9x)" in words[0]
    assert re.search("whitening: [0-2] of 2;", words[1])
    markdown = (out / "report.md").read_text()
    bits = row(found, arithmetic="integer", pooling="rnip9x", whitening="", codes="bits")
    for text in (page, markdown):
        assert f"{bits['map']:.4f}" in text
        assert "Table 2" in text
        assert "without whitening" in text
        assert "Retrieval on set with vgg16/16:pool1" in text
        for line in ("net.safetensors", found["provenance"]["network_hash"], "kestrel 0", " UTC"):
            assert line in text
    assert found["provenance"]["network_hash"] == network_digest(load_network("net.safetensors"))
    assert found["provenance"]["dataset"] == "set"
    assert found["model_bytes"]["float"] == 4 * 9 * (3 * 4 + 4 * 4)
    assert found["model_bytes"]["integer"] == (3 * 4 + 4 * 4) * 35 // 8 + 1
    abouts = Counter(d["about"] for d in found["differences"])
    assert abouts == {"integer against float network": 4, "more crops": 2, "whitening": 2,
                      "bytes against floats": 4, "bits against floats": 4,
                      "small input with RNIP against large input with NIP": 6}
    for mine in found["rows"]:
        assert mine["low"] <= mine["map"] <= mine["high"]
    for difference in found["differences"]:
        assert difference["low"] <= difference["difference"] <= difference["high"]
        expected = difference["this"]["map"] - difference["other"]["map"]
        assert difference["difference"] == pytest.approx(expected)


def test_the_integer_network_stands_alone_without_weights(here, tmp_path, capsys):
    found = report(capsys, "-o", tmp_path / "out", "--poolings", "nip")
    assert {r["arithmetic"] for r in found["rows"]} == {"integer"}
    assert found["quantiser"] == "the benchmark's own images"
    assert "Table 2" not in (tmp_path / "out" / "report.md").read_text()


def test_a_bad_picture_is_named_once_and_left_out(here, tmp_path, capsys, small_large):
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in (here / "set").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "00301.png").write_bytes(b"no picture")
    arguments = ["report", "retrieval", "--dataset", str(folder), "--network", "net.safetensors", *SMALL,
                 "--weights", "random:1", "-o", str(tmp_path / "out"), "--poolings", "nip", "--json"]
    capsys.readouterr()
    assert run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["skipped"], found["images"]) == (["00301.png"], 11)
    assert run([*arguments, "--strict"]) == 2
    assert "00301.png" in capsys.readouterr().err


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "area"}, "No such command 'area'"),
    ({"--poolings": "nip,x"}, "pooling 'x'; allowed: nip"),
    ({"--whitening-mode": "x", "--train": "train"}, "whitening mode 'x'; allowed: roi, after"),
    ({"-o": "no/o"}, "does not exist"),
    ({"-o": "net.safetensors"}, "is a file"),
    ({"--weights": "none.npz"}, "none.npz"),
    ({"--threshold": "x"}, "threshold 'x'"),
    ({"--network": "none.safetensors"}, "none.safetensors"),
    ({"--train": "none"}, "none: no such folder"),
    ({"--dataset": "none"}, "none: no such folder"),
])
def test_what_cannot_be_used_is_refused_in_one_line(here, capsys, changes, message):
    options = {"--dataset": "set", "--network": "net.safetensors", "-o": "o", **changes}
    kind = options.pop("kind", "retrieval")
    capsys.readouterr()
    assert run(["report", kind, *itertools.chain(*options.items()), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.strip().splitlines()[-1]
    assert not (here / "o").exists()


def test_a_place_for_features_that_is_none_is_refused(here, tmp_path):
    (tmp_path / "features").write_text("")
    store = CropStore(tmp_path / "features", make_describer("net.safetensors", DescriptorOptions(size=16)))
    with pytest.raises(InputError, match="folder of features"):
        store.fill([], "features")


@pytest.fixture(scope="module")
def made(user, tmp_path_factory):
    """The page of a report with everything in it, and its figures."""
    out = tmp_path_factory.mktemp("made") / "out"
    with contextlib.chdir(user), pytest.MonkeyPatch.context() as patched:
        patched.setattr(report_module, "LARGE", (24, 32))
        assert run(["report", "retrieval", "--dataset", "set", "--network", "net.safetensors", *SMALL,
                    "--weights", "random:1", "--train", "train", "--poolings", "nip,rnip9x",
                    "-o", str(out)]) == 0
    return out


@pytest.mark.parametrize("width", [320, 390, 700, 1300])
def test_every_difference_and_interval_is_in_sight_at_every_width(made, open_file, width):
    page = open_file(made / "report.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wanted = [[f"{d['difference']:+.4f}", f"{d['low']:+.4f} .. {d['high']:+.4f}"]
              for d in json.loads((made / "report.json").read_text())["differences"]]
    cells = page.evaluate("""() => [...document.querySelectorAll(".differences tbody tr")].map((row) =>
      [...row.children].slice(2).map((cell) => {
        const box = cell.getBoundingClientRect();
        return [cell.innerText, box.left, box.right, box.height]; }))""")
    assert sorted([text for text, *_ in row] for row in cells) == sorted(wanted)
    for row in cells:
        for text, left, right, height in row:
            assert 0 <= left < right <= width, text
            assert height > 0, text
    # The drawing for phones where there is one, with its whole width.
    picture = page.locator(".plot img").first
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == (
        pytest.approx((NARROW if width <= 640 else WIDE) * 96, abs=2))
    assert picture.bounding_box()["width"] > 0.75 * min(width, 1000)


def test_dark_mode_reaches_the_plots(made, open_file, contrasts):
    for scheme, wanted in (("light", (255, 255, 255)), ("dark", (27, 34, 43))):
        page = open_file(made / "report.html", scheme=scheme)
        found = contrasts(page, "h1", "h2", "h3", "p", ".facts b", ".facts span", "caption", "thead th", "td",
                          "dt")
        assert min(found.values()) >= 4.5, (scheme, found)
        for plot in page.locator(".plot img").all():
            shot = Image.open(io.BytesIO(plot.screenshot())).convert("RGB")
            assert shot.getpixel((3, 3)) == wanted
            lights = np.asarray(shot).mean(axis=2)
            assert (lights.max() > 200) if scheme == "dark" else (lights.min() < 60), "the letters"


def test_plots_stand_alone_and_begin_nowhere_but_at_their_values(made):
    for name in ("map.svg", "differences.svg"):
        text = (made / name).read_text()
        assert "prefers-color-scheme: dark" in text
        assert ">set: " in text, "the title names the data set"
        # Every colour of the drawing has its counterpart.
        used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text.partition("</style>")[2]))
        assert used <= set(DARK), used - set(DARK)
