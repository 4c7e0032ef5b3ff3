"""Indexes built in parts and joined, and inverted lists that stay on disk."""

import io
import json
import zipfile

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.search.index import LISTS, VERSION, DescriptorIndex
from kestrel.sw.retrieval.search.lists import is_mapped
from kestrel.sw.retrieval.search.refined import RefinedNeighbours
from kestrel.sw.retrieval.search.structures import Kind

SETTINGS = DescriptorSettings("ab" * 32, "integer", 64, 64, "none", "whole", "x", 1, "")
KINDS = [Kind("floats", "flat"), Kind("bits", "flat"), Kind("bytes", "hnsw"), Kind("floats", "ivf"),
         Kind("bytes", "ivf"), Kind("floats", "ivfpq"), Kind("bytes", "ivfpq")]
EVERYTHING = 4096


def label(kind):
    return f"{kind.codes}-{kind.structure}"


def made(rng, count, first=0):
    x = rng.normal(size=(count, 21))
    vectors = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return Descriptors(SETTINGS, tuple(f"{n:04}.jpg" for n in range(first, first + count)), vectors)


def answers(index, queries, effort=None):
    return [(found.names, found.scores) for found in index.search(queries, 5, effort)]


def loaded(index, path):
    index.save(path)
    return DescriptorIndex.load(path)


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_parts_that_learned_the_same_are_joined_into_what_one_index_would_be(kind, rng, tmp_path):
    sets = [made(rng, 700), made(rng, 300, 700), made(rng, 1, 1000), made(rng, 150, 1001)]
    first = DescriptorIndex.create(kind, sets[0])
    whole, parts = first.emptied(), [first.emptied() for _ in sets]
    for part, descriptors in zip(parts, sets, strict=True):
        whole.add(descriptors, "d.npz")
        part.add(descriptors, "d.npz")
    gone = ["0003.jpg", "0699.jpg", "0705.jpg"]
    parts[0].remove(gone[:2])
    parts[1].remove(gone[2:])
    whole.remove(gone)
    parts = [loaded(part, tmp_path / f"{n}.index") for n, part in enumerate(parts)]
    joined = parts[0].emptied(tmp_path)
    joined.merge(parts, [f"{n}.index" for n in range(4)], tmp_path)
    again = loaded(joined, tmp_path / "all.index")
    queries = np.concatenate([descriptors.vectors[:20] for descriptors in sets])
    effort = None if kind.exact else EVERYTHING
    for index in (joined, again):
        assert index.names == whole.names
        if kind.structure == "hnsw":  # a graph may be another
            same = [a[0][0] == b[0][0] for a, b in zip(answers(index, queries), answers(whole, queries),
                                                       strict=True)]
            assert np.mean(same) > 0.95
        else:
            assert answers(index, queries, effort) == answers(whole, queries, effort)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.index", "1.index", "2.index", "3.index",
                                                               "all.index"]
    again.add(made(rng, 5, 5000), "more.npz")  # numbers go on without collision
    again.remove([joined.names[0]])
    assert again.names == [*joined.names[1:], *(f"{n}.jpg" for n in range(5000, 5005))]
    assert len(answers(loaded(again, tmp_path / "all.index"), queries)) == len(queries)


@pytest.mark.parametrize("structure", ["ivf", "ivfpq"])
def test_what_learned_otherwise_is_added_anew(structure, rng, tmp_path):
    sets = [made(rng, 400), made(rng, 300, 700)]
    parts = []
    for n, descriptors in enumerate(sets):
        part = DescriptorIndex.create(Kind("floats", structure), descriptors)
        part.add(descriptors, "d.npz")
        parts.append(loaded(part, tmp_path / f"{n}"))
    joined = parts[0].emptied(tmp_path)
    joined.merge(parts, ["0", "1"], tmp_path)
    queries = np.concatenate([descriptors.vectors for descriptors in sets])
    assert [names[0] for names, _ in answers(joined, queries, EVERYTHING)] == joined.names


@pytest.mark.parametrize("codes", ["floats", "bytes"])
def test_lists_stay_in_the_file_until_they_are_changed(codes, rng, tmp_path):
    descriptors = made(rng, 900)
    index = DescriptorIndex.create(Kind(codes, "ivf"), descriptors)
    index.add(descriptors, "d.npz")
    before = answers(index, descriptors.vectors[:50])
    opened = loaded(index, tmp_path / "i")
    assert is_mapped(opened._neighbours._index)
    assert answers(opened, descriptors.vectors[:50]) == before
    np.testing.assert_array_equal(np.concatenate(list(opened._neighbours.vectors())),
                                  np.concatenate(list(index._neighbours.vectors())))
    opened.remove(["0000.jpg"])
    assert not is_mapped(opened._neighbours._index)
    opened.save(tmp_path / "i")  # over the file that was mapped
    assert DescriptorIndex.load(tmp_path / "i").names == opened.names


def test_an_older_file_of_inverted_lists_is_read(rng, tmp_path):
    """Version 2 held the lists within FAISS' own file."""
    descriptors = made(rng, 300)
    index = DescriptorIndex.create(Kind("floats", "ivf"), descriptors)
    index.add(descriptors, "d.npz")
    index.save(tmp_path / "new")
    with zipfile.ZipFile(tmp_path / "new") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    index._neighbours.write(stream)
    parts["vectors.faiss"] = stream.getvalue()
    parts["index.json"] = json.dumps(json.loads(parts["index.json"]) | {"version": VERSION}).encode()
    with zipfile.ZipFile(tmp_path / "old", "w") as archive:
        for name, content in parts.items():
            if name not in (LISTS, "sizes.npy"):
                archive.writestr(name, content)
    old = DescriptorIndex.load(tmp_path / "old")
    assert answers(old, descriptors.vectors[:40]) == answers(index, descriptors.vectors[:40])


def test_lists_that_do_not_fit_are_refused(rng, tmp_path):
    path = tmp_path / "i"
    index = DescriptorIndex.create(Kind("floats", "ivf"), made(rng, 300))
    index.add(made(rng, 300), "d.npz")
    index.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sizes = io.BytesIO()
    np.save(sizes, np.array([3] * 100))
    for changed, message in (({LISTS: parts[LISTS][:-8]}, "lists of"),
                             ({"sizes.npy": sizes.getvalue()}, "300 entries in 100 lists instead")):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (parts | changed).items():
                archive.writestr(name, content)
        with pytest.raises(InputError, match=message):
            DescriptorIndex.load(path)


@pytest.mark.parametrize("structure", ["ivf", "ivfpq"])
def test_a_write_that_is_interrupted_leaves_the_old_index(structure, rng, tmp_path, monkeypatch):
    path = tmp_path / "i"
    index = DescriptorIndex.create(Kind("floats", structure), made(rng, 300))
    index.add(made(rng, 300), "d.npz")
    index.save(path)
    before = path.read_bytes()
    index = DescriptorIndex.load(path)
    index.add(made(rng, 5, 300), "more")

    def fail(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    neighbours = index._neighbours
    if isinstance(neighbours, RefinedNeighbours):
        monkeypatch.setattr(neighbours.rows, "write", fail)
    else:
        monkeypatch.setattr(neighbours, "write_lists", fail)
    with pytest.raises(KeyboardInterrupt):
        index.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["i"]


def test_refusals(rng, tmp_path):
    bits, floats, other = (DescriptorIndex.create(Kind(codes, "flat"), made(rng, 50))
                           for codes in ("bits", "floats", "bits"))
    floats.add(made(rng, 3), "d.npz")
    for first, second, message in (
        (floats, bits, "two: 21 bits, flat; allowed: 21 floats, flat"),
        (bits, other, "two: other ranges or thresholds than the first index"),
        (floats, floats, "two: 0000.jpg is in the first index"),
    ):
        with pytest.raises(InputError, match=message):
            first.merge([second], ["two"], tmp_path)
