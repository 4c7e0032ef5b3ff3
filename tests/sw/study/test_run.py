"""A study from its grid to its report, on generated pictures."""

import csv
import json

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.scenes import write_scenes
from kestrel.sw.study import run as study_run
from kestrel.sw.study.dense import outputs
from kestrel.sw.study.dense_methods import dense_methods
from kestrel.sw.study.grid import parse_grid
from kestrel.sw.study.report.pages import write_report
from kestrel.sw.study.run import Place, claim, run_study, tasks_of

GRID = """
title = "Test"
whitenings = ["none", "after"]
[[data]]
name = "d"
folder = "scenes"
size = 48
training = "scenes"
training_pictures = 6
calibration = "scenes"
calibration_pictures = 2
[[networks]]
name = "resnet18"
weights = "random:1"
cuts = ["pool1", "layer1.0"]
[[networks]]
name = "squeezenet1_1"
weights = "random:2"
cuts = ["fire3"]
[[codecs]]
family = "scalar"
bits = 3
coding = ["fixed", "huffman"]
[[codecs]]
family = "masks"
rule = ["least-squares", "sequential"]
bits = 2
others = 2
[[codecs]]
family = "scalar"
bits = 3
batch_norm = 4
[[codecs]]
family = "pruned"
threshold = 1.0
bits = 5
[[poolings]]
name = "nip"
"""

SHORT = GRID.split('[[networks]]\nname = "squeezenet1_1"', maxsplit=1)[0] + """
[[codecs]]
family = "scalar"
bits = 3
coding = ["fixed", "huffman"]
[[poolings]]
name = "nip"
"""

DENSE = """
[[dense]]
network = "squeezenet1_1"
weights = "random:2"
layer = "classifier.1"
input = "fire9"
pictures = "scenes"
"""


@pytest.fixture(scope="module")
def studied(tmp_path_factory, one_thread):
    """A study that is done, with its results and the tasks in the order in which they ran."""
    root = tmp_path_factory.mktemp("study")
    write_scenes(root / "scenes", 4, 3, 1, 48, 48, lambda _: None)
    grid, place = parse_grid(GRID), Place("grid.toml", root, root / "out")
    claim(grid, place)
    told = []
    return grid, place, run_study(grid, place, report=told.append), told


def test_every_task_has_its_rows(studied):
    grid, _, results, told = studied
    assert len(told) == len(tasks_of(grid)) == 11
    normed = [task.name.partition("/")[0] for task in tasks_of(grid) if task.name.endswith("-bn4")]
    assert normed == ["resnet18"], "the other network has no batch norm"
    keys = [(row.network, row.cut, row.codec, row.whitening) for row in results.rows]
    assert len(set(keys)) == len(keys)
    assert len([row for row in results.rows if row.network == "resnet18"]) == 2 * 2 * 7
    for row in results.rows:
        assert 0 < row.map <= 1
        assert len(row.precisions) == 12
        assert row.command == f"kestrel study grid.toml --root {studied[1].root} -o STUDY --only '{row.task}'"


def test_sizes_grow_with_the_cut_and_shrink_with_the_codec(studied):
    rows = {(row.cut, row.codec): row for row in studied[2].rows if row.network == "resnet18"}
    for codec in {codec for _, codec in rows}:
        assert rows["pool1", codec].file_bytes < rows["layer1.0", codec].file_bytes
    cut = "layer1.0"
    assert rows[cut, "lloyd-max-3bit-huffman"].file_bytes < rows[cut, "lloyd-max-3bit"].file_bytes
    assert rows[cut, "lloyd-max-3bit-bn4"].file_bytes < rows[cut, "lloyd-max-3bit"].file_bytes
    assert rows[cut, "float"].bits_per_weight == pytest.approx(32, abs=0.1)
    assert rows[cut, "lloyd-max-3bit"].bits_per_weight == pytest.approx(3, abs=0.1)
    # 2 bits a tap and 8 for the scalar of nine; the stem's 7x7 becomes 12 kernels of 3x3 from 3.
    assert 2.8 < rows[cut, "masks-sequential-2bit"].bits_per_weight < 3.2
    coded = rows[cut, "lloyd-max-3bit-huffman"]
    assert 0 < coded.entropy_bytes < coded.weight_bytes


def test_codings_share_their_descriptors_and_floats_differ_from_nothing(studied):
    results = studied[2]
    rows = {(row.network, row.cut, row.codec, row.whitening): row for row in results.rows}
    for key, row in rows.items():
        if row.codec == "lloyd-max-3bit":
            assert rows[(*key[:2], "lloyd-max-3bit-huffman", key[3])].precisions == row.precisions
        if row.family == "float":
            drop = results.drop(row)
            assert (drop.difference, drop.low, drop.high) == (0, 0, 0)
        if row.whitening == "none":
            assert row.cosine == pytest.approx(1, abs=1e-6) if row.family == "float" else 0.3 < row.cosine < 1


def test_a_done_task_is_not_done_again_and_a_stopped_one_is(studied, monkeypatch):
    grid, place, results, _ = studied
    asked = []
    monkeypatch.setattr(study_run, "run_task", lambda task, place: asked.append(task.name) or 0.0)
    assert run_study(grid, place) == results
    assert asked == []
    lost = next((place.output / "rows").glob("*pruned*"))
    content = lost.read_text()
    lost.unlink()
    run_study(grid, place)
    assert asked == [lost.stem.replace("--", "/")]
    lost.write_text(content.replace('"seed": 0', '"seed": 1', 1))  # of other settings
    run_study(grid, place)
    assert len(asked) == 2
    lost.write_text(content)


def test_a_task_done_again_gives_the_same_rows(studied):
    grid, place = studied[:2]
    path = place.output / "rows" / "resnet18--lloyd-max-3bit.json"
    before = json.loads(path.read_text())
    path.unlink()
    for kept in (place.output / "kept").glob("resnet18-*.npz"):
        kept.unlink()
    run_study(grid, place, only="resnet18/lloyd-max-3bit")
    after = json.loads(path.read_text())
    for row in (*before["rows"], *after["rows"]):
        del row["seconds"]
    assert after == before


def test_a_damaged_file_of_rows_is_refused(studied, tmp_path):
    grid, place, _, _ = studied
    path = next((place.output / "rows").glob("*pruned*"))
    content = path.read_text()
    path.write_text(content[:-20])
    with pytest.raises(InputError, match="damaged"):
        run_study(grid, place)
    path.write_text(content)


def test_tasks_that_do_not_exist_are_refused(studied):
    with pytest.raises(InputError, match=r"--only 'vgg\*' matches no task; allowed: resnet18/float"):
        run_study(*studied[:2], only="vgg*")


def test_another_studys_folder_is_refused(studied):
    other = parse_grid(GRID.replace("Test", "Other"))
    with pytest.raises(InputError, match="a study of another run: title is"):
        claim(other, studied[1])


def test_the_report_has_every_row_and_table(studied):
    grid, place, results, _ = studied
    files = write_report(results, grid, place.output)
    assert all(path.is_file() for path in files)
    rows = list(csv.DictReader((place.output / "table.csv").read_text().splitlines()))
    assert [float(row["map"]) for row in rows] == [row.map for row in results.rows]
    assert all(float(row["map_low"]) <= float(row["map"]) <= float(row["map_high"]) for row in rows)
    assert len(json.loads((place.output / "table.json").read_text())["rows"]) == len(rows)
    page = (place.output / "report" / "study.md").read_text()
    for title in ("Parameters", "Float networks", "Masks up to 3 bits", "resnet18 at", "Fixed against",
                  "Batch norm in few bits", "Pruning by threshold"):
        assert f"## {title}" in page, title
    for figure in (place.output / "report").glob("*.svg"):
        assert figure.name in page
    assert "Seeded weights, of which only sizes say anything: resnet18, squeezenet1_1." in page
    assert "<svg" not in (place.output / "report" / "study.html").read_text()


def test_processes_give_the_same_rows(studied, tmp_path):
    _, place, results, _ = studied
    grid = parse_grid(SHORT)
    other = Place("grid.toml", place.root, tmp_path / "out")
    claim(grid, other)
    found = run_study(grid, other, jobs=2)
    known = {(row.cut, row.codec, row.whitening): row for row in results.rows if row.network == "resnet18"}
    assert len(found.rows) == 12
    for row in found.rows:
        assert row.precisions == known[row.cut, row.codec, row.whitening].precisions


METHODS = ("binary", "km4", "pq8-x4", "pq8-y4", "rq256-t1")


def test_a_dense_layer_by_every_method(studied, tmp_path, monkeypatch):
    _, place, _, _ = studied
    monkeypatch.setattr("kestrel.sw.study.measure.dense_methods",
                        lambda m, n, seed: [one for one in dense_methods(m, n, seed)
                                            if one.codec in METHODS])
    grid = parse_grid(GRID + DENSE)
    other = Place("grid.toml", place.root, tmp_path / "out")
    claim(grid, other)
    found = run_study(grid, other, only="squeezenet1_1/dense")
    assert [row.codec for row in found.dense] == ["float", *METHODS]
    for row in found.dense:
        assert len(row.ranks) == 12
        assert row.at_1 <= row.at_5
        assert row.rate <= row.formula * 1.001  # the stream has a header besides
    assert write_report(found, grid, other.output)


def test_the_classifier_of_squeezenet_is_computed_as_in_the_network(one_thread, rng):
    from kestrel.sw.zoo.layers import Layers
    from kestrel.sw.zoo.networks import find_architecture
    from kestrel.sw.zoo.parameters import outline
    from kestrel.sw.zoo.weights import drawn, tensors

    network = find_architecture("squeezenet1_0")
    weights = drawn(outline(network).parameters, 1)
    with torch.inference_mode():
        x = torch.from_numpy(rng.standard_normal((2, 3, 64, 64)).astype(np.float32))
        maps = {name: found.clone() for name, found in network.forward(Layers(tensors(weights)), x)}
    scores = outputs(maps["fire9"].numpy(), weights["classifier.1.weight"], weights["classifier.1.bias"])
    np.testing.assert_allclose(scores, maps["classifier"].mean(dim=(2, 3)).numpy(), rtol=1e-4, atol=1e-5)


def test_sequential_masks_make_up_for_the_layers_before(one_thread, rng):
    """Of a network that the engine does not run: nearer to the float maps than masks of the weights alone."""
    from kestrel.sw.compress.calibrate import generated_pictures
    from kestrel.sw.study.codecs import make_codec
    from kestrel.sw.study.coded import code_network, runner
    from kestrel.sw.study.described import batch_maps
    from kestrel.sw.study.sequential import code_sequential
    from kestrel.sw.zoo.networks import find_architecture
    from kestrel.sw.zoo.parameters import outline
    from kestrel.sw.zoo.weights import drawn

    network, cuts = find_architecture("squeezenet1_1"), ("fire2", "fire5")
    known = outline(network)
    weights = drawn(known.upto("fire5"), 1)
    pictures, fitted_on = generated_pictures(64, 64, count=6), generated_pictures(64, 64, count=4)
    shown = np.stack([pictures.load(n) for n in range(4, 6)])
    wanted = batch_maps(runner(network, weights), network.preprocessing, ["fire5"], shown)["fire5"]
    errors, sizes = [], []
    for rule in ("least-squares", "sequential"):
        codec = make_codec("masks", {"rule": rule, "bits": 1, "others": 3})
        given = (network, known, cuts, weights, codec, ("fixed",))
        coded = code_sequential(*given, fitted_on) if rule == "sequential" else code_network(*given)
        found = batch_maps(coded.run, network.preprocessing, ["fire5"], shown)["fire5"]
        errors.append(float(((found - wanted) ** 2).sum() / (wanted**2).sum()))
        sizes.append(coded.sizes)
    assert errors[1] < 0.7 * errors[0]
    assert sizes[0] == sizes[1]  # the same formats


def test_the_grid_of_the_companion_papers_is_one():
    from pathlib import Path

    from kestrel.sw.study.grid import read_grid

    grid = read_grid(Path(__file__).resolve().parents[3] / "bench" / "grids" / "companion.toml")
    names = {task.name for task in tasks_of(grid)}
    assert {"vgg16/masks-sequential-1bit", "squeezenet1_0/lloyd-max-8bit",
            "efficientnet_lite0/dense"} <= names
