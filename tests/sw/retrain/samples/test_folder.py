"""Layouts of training folders."""

import numpy as np
import pytest
from PIL import Image

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.samples.folder import (
    LAYOUTS,
    UNKNOWN,
    GeneratedPictures,
    TrainingSet,
    load_training_set,
)


def make(folder, *names, manifest=None):
    for n, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), n, dtype=np.uint8)).save(path)
    if manifest is not None:
        (folder / "manifest.csv").write_text(manifest)
    return folder


def told(found):
    """name -> (class, group)."""
    return {found.pictures.name(n): (found.classes[label] if label != UNKNOWN else None, group)
            for n, (label, group) in enumerate(zip(found.labels, found.groups, strict=True))}


def test_manifest_with_labels_and_groups(tmp_path):
    make(tmp_path, "a.png", "sub/b.png", "c.png",
         manifest="file,label,group,note\na.png,cat,1,x\nsub/b.png,dog,1,x\nc.png,,,x\n")
    assert told(load_training_set(tmp_path)) == {"a.png": ("cat", 0), "sub/b.png": ("dog", 0),
                                                 "c.png": (None, UNKNOWN)}


def test_manifest_with_labels_only_groups_by_label(tmp_path):
    make(tmp_path, "a.png", "b.png", manifest="file,label\na.png,cat\nb.png,dog\n")
    assert told(load_training_set(tmp_path)) == {"a.png": ("cat", 0), "b.png": ("dog", 1)}


def test_class_folders_as_imagenet_has_them(tmp_path):
    make(tmp_path / "train", "n02/n02_1.JPEG", "n01/n01_7.JPEG", "n01/n01_8.JPEG", "n03/deep/x.png")
    make(tmp_path / "val", "n03/v1.JPEG", "n01/v2.JPEG")
    train = load_training_set(tmp_path / "train")
    assert train.classes == ("n01", "n02", "n03")
    assert train.labels == (0, 0, 1, 2)
    val = load_training_set(tmp_path / "val", classes=train.classes)
    assert told(val) == {"n01/v2.JPEG": ("n01", 0), "n03/v1.JPEG": ("n03", 1)}
    assert val.labels == (0, 2)


@pytest.mark.parametrize(("names", "groups"), [
    (("100000.jpg", "100001.jpg", "100100.jpg"), (0, 0, 1)),  # Holidays
    (("00000.jpg", "00001.jpg", "00100.jpg"), (0, 0, 1)),
])
def test_groups_in_numbers(tmp_path, names, groups):
    found = load_training_set(make(tmp_path, *names))
    assert found.groups == groups
    assert set(found.labels) == {UNKNOWN}


def test_groups_in_words(tmp_path):
    make(tmp_path, "eiffel_000017.jpg", "eiffel_000002.jpg", "arc-de-triomphe-3.png")
    found = load_training_set(tmp_path, "groups")
    assert told(found) == {"arc-de-triomphe-3.png": (None, 0), "eiffel_000002.jpg": (None, 1),
                           "eiffel_000017.jpg": (None, 1)}


def test_class_in_the_file_name(tmp_path):
    found = load_training_set(make(tmp_path, "n01491361_tiger_shark.jpg", "n01440764_tench.jpg",
                                   "n01440764_10026.JPEG"))
    assert found.classes == ("n01440764", "n01491361")
    assert found.labels == (0, 0, 1)


@pytest.mark.parametrize("names", [("holiday.jpg", "x1.png"), ("10000.png", "20000.png")])
def test_names_that_tell_nothing(tmp_path, names):
    assert set(load_training_set(make(tmp_path, *names)).labels) == {UNKNOWN}


def test_selection_keeps_pictures_with_their_labels(tmp_path, rng):
    names = [f"{c}/{n}.png" for c in "abc" for n in range(4)]
    whole = load_training_set(make(tmp_path, *names))
    two = whole.first_classes(2)
    assert (len(two), two.classes) == (8, ("a", "b"))
    rest, validation = two.split(0.25, int(rng.integers(1000)))
    assert (len(rest), len(validation)) == (6, 2)
    together = told(rest) | told(validation)
    assert len(together) == 8
    assert all(name[0] == label for name, (label, _) in together.items())
    assert (rest.pictures.read(3) == whole.pictures.read(names.index(rest.pictures.name(3)))).all()


def test_generated_pictures():
    source = GeneratedPictures(3, 10, 12, seed=5)
    assert len(source) == 3
    assert source.read(0).shape == (10, 12, 3)
    assert (source.read(1) == GeneratedPictures(1, 10, 12, seed=6).read(0)).all()


@pytest.mark.parametrize(("change", "layout", "message"), [
    (lambda f: None, "auto", "no images"),
    (lambda f: f.rmdir(), "auto", "no such folder"),
    (lambda f: None, "tree", f"allowed: auto, {', '.join(LAYOUTS)}"),
    (lambda f: make(f, "a.png"), "manifest", "manifest.csv: no such file"),
    (lambda f: make(f, manifest="file,name\n"), "auto", "allowed: file, and label or group"),
    (lambda f: make(f, manifest="file,label\n"), "auto", "no images"),
    (lambda f: make(f, manifest="file,label\n../a.png,1\n"), "auto", "lies outside the folder"),
    (lambda f: make(f, manifest="file,label\na.png,1\na.png,2\n"), "auto", "comes twice"),
    (lambda f: (f / "manifest.csv").write_bytes(b"file,label\n\xff,1\n"), "auto", "not a CSV file in UTF-8"),
    (lambda f: make(f, "word.png"), "groups", "does not tell a group"),
    (lambda f: make(f, "word.png"), "names", "does not tell a class"),
])
def test_bad_folders_are_refused(tmp_path, change, layout, message):
    folder = tmp_path / "set"
    folder.mkdir()
    change(folder)
    with pytest.raises(InputError) as caught:
        load_training_set(folder, layout)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_training_did_not_know(tmp_path):
    make(tmp_path, "cow/1.png")
    with pytest.raises(InputError, match="class 'cow'; allowed: the 2 classes trained on"):
        load_training_set(tmp_path, classes=["cat", "dog"])


def test_impossible_selections():
    whole = TrainingSet(GeneratedPictures(3, 8, 8, 0), (0, 0, 1), (0, 0, 1), ("a", "b"))
    with pytest.raises(InputError, match=r"3 classes; allowed: 1\.\.2"):
        whole.first_classes(3)
    with pytest.raises(InputError, match=r"validation share 0\.01 of 3 pictures"):
        whole.split(0.01, 0)
