"""Generated shapes: the same for a seed, laid out as training data, and told apart by their classes."""

import json

import numpy as np
import pytest

from kestrel.cli.main import run
from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.shapes import CLASSES, OUTLINES, PATTERNS, make_shapes, shape_picture
from kestrel.sw.retrain.samples.folder import load_training_set


def test_a_class_is_an_outline_and_a_pattern():
    assert len(set(CLASSES)) == len(OUTLINES) * len(PATTERNS) == 100
    assert {name.split("-")[1] for name in CLASSES[:10]} == {"plain"}


def test_label_and_seed_give_the_same_picture():
    first = shape_picture(14, 32, 40, 3)
    assert (first.shape, first.dtype) == ((32, 40, 3), np.uint8)
    assert (first == shape_picture(14, 32, 40, 3)).all()
    for other in (shape_picture(15, 32, 40, 3), shape_picture(14, 32, 40, 4)):
        assert np.abs(first.astype(int) - other).mean() > 8


def test_every_outline_and_pattern_is_a_field_of_its_own():
    v, u = np.mgrid[-1:1:101j, -1:1:101j]
    for fields in (OUTLINES, PATTERNS):
        drawn = {name: field(u, v) for name, field in fields.items()}
        assert all(map_.shape == u.shape and map_.dtype == bool for map_ in drawn.values())
        assert len({map_.tobytes() for map_ in drawn.values()}) == len(fields)
    for name, field in OUTLINES.items():
        assert 0.2 < field(u, v).mean() < 0.85, name


def test_classes_are_told_apart_by_what_is_not_in_their_names(rng):
    """No colour, place or backdrop goes with a class: mean pictures of two classes are as near as those of
    two halves of one."""
    def mean(label, seeds):
        return np.mean([shape_picture(label, 16, 16, s).mean(axis=(0, 1)) for s in seeds], axis=0)

    first = int(rng.integers(1000))
    seeds = [range(first + part * 40, first + part * 40 + 40) for part in range(2)]
    assert np.abs(mean(0, seeds[0]) - mean(2, seeds[1])).max() < 30  # single ones: 100


def test_a_folder_of_shapes_is_training_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["shapes", "-o", "s", "--classes", "12", "--per-class", "2", "--size", "24x32", "--seed", "5",
                 "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 24
    found = load_training_set(tmp_path / "s")
    assert [name.partition("-")[2] for name in found.classes] == list(CLASSES[:12])
    assert found.labels == tuple(n // 2 for n in range(24))
    made = make_shapes(12, 2, 24, 32, 5)
    for row in (0, 7, 23):
        assert (found.pictures.read(row) == made.read(row)).all()
        assert found.pictures.name(row) == made.name(row)


@pytest.mark.parametrize(("arguments", "message"), [
    ((1, 2, 32, 32, 0), "classes 1; allowed: 2..100"), ((101, 2, 32, 32, 0), "classes 101"),
    ((4, 0, 32, 32, 0), "pictures of a class 0; allowed: 1..10000"),
    ((4, 2, 8, 32, 0), "height 8; allowed: 16..4096"), ((4, 2, 32, 5000, 0), "width 5000"),
    ((4, 2, 32, 32, -1), "seed -1"),
])
def test_refusals(arguments, message):
    with pytest.raises(InputError) as caught:
        make_shapes(*arguments)
    assert message in str(caught.value)


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("x")
    assert run(["shapes", "-o", str(tmp_path)]) == 2
    assert "holds files that are not an earlier output" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
