"""Only the index's own pictures can be reached, and only inside its folder."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from kestrel.sw.pictures.images import generate_picture
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.structures import Kind
from kestrel.sw.serve import pictures as module
from kestrel.sw.serve.pictures import SIDES, IndexPictures

SETTINGS = DescriptorSettings("ab" * 32, "integer", 32, 32, "caffe", "whole",
                              "sqrt over levels 1+2+3, L2, mean", 1, "")


@pytest.fixture
def photos(tmp_path):
    """A folder with pictures and links, and a picture beside it."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for path in (folder / "a.png", folder / "inner" / "b.png", tmp_path / "secret.png"):
        Image.fromarray(generate_picture(60, 50, 3)).resize((500, 600)).save(path)
    (folder / "inside.png").symlink_to("inner/b.png")
    (folder / "outside.png").symlink_to("../secret.png")
    (folder / "absolute.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to("..")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    return folder


def index_of(names, folder):
    vectors = np.eye(len(names), 16, dtype=np.float32)
    described = Descriptors(SETTINGS, tuple(names), vectors, folder=folder)
    index = DescriptorIndex.create(Kind("floats", "flat"), described)
    index.add(described, "d")
    return index


GOOD = ["a.png", "inner/b.png", "inside.png"]
BAD = ["outside.png", "absolute.png", "up/secret.png", "../secret.png", "inner/../../secret.png",
       "circle.png", "pipe.png", "inner", "gone.png", "nul\0.png", "x" * 5000]  # fmt: skip


@pytest.mark.parametrize("given", [False, True])
def test_files_inside_the_folder_and_no_others(photos, given):
    # Even where the index itself, which somebody else may have made, has such names.
    index = index_of([*GOOD, *BAD, str(photos.parent / "secret.png")], None if given else photos)
    found = IndexPictures(index, photos if given else None)
    assert [found.file(name) for name in GOOD] == [
        photos / "a.png", photos / "inner" / "b.png", photos / "inner" / "b.png"]
    assert [name for name in index.names if found.file(name) is not None] == GOOD
    assert found.file("secret.png") is None
    missing, looked = found.missing(1000)
    assert (len(missing), looked) == (len(BAD) + 1, len(index.names))
    assert found.missing(3)[1] == 3


def test_a_name_that_is_not_in_the_index_has_no_picture(photos):
    found = IndexPictures(index_of(["a.png"], photos))
    assert found.file("inner/b.png") is None, "though it is there"


def test_an_index_that_remembers_no_folder_needs_one(photos):
    assert IndexPictures(index_of(["a.png"], None)).file("a.png") is None


def test_a_picture_is_reduced_once_and_again_when_it_changes(photos, monkeypatch):
    found = IndexPictures(index_of(["a.png"], photos))
    path = found.file("a.png")
    assert path is not None
    read = []

    def reading(path):
        read.append(path)
        return module_read(path)

    module_read = module.read_picture
    monkeypatch.setattr(module, "read_picture", reading)
    small = found.jpeg(path, "small")
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (SIDES["small"] * 500 // 600, SIDES["small"]))
    assert found.jpeg(path, "small") is small
    with Image.open(io.BytesIO(found.jpeg(path, "large"))) as image:
        assert image.size == (500, 600), "never enlarged"
    assert len(read) == 2
    Image.fromarray(generate_picture(60, 50, 4)).save(photos / "a.png")
    os.utime(photos / "a.png", ns=(1, 1))
    assert found.jpeg(path, "small") != small


def test_only_so_many_are_kept(photos, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 1)
    found = IndexPictures(index_of(["a.png"], photos))
    first = found.jpeg(photos / "a.png", "small")
    found.jpeg(photos / "inner" / "b.png", "small")
    assert found.jpeg(photos / "a.png", "small") is not first
