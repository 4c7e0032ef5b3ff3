import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import Codes, Descriptors, DescriptorSettings
from kestrel.sw.retrieval.pooling.bit_rows import bit_values
from kestrel.sw.retrieval.pooling.quantise import Quantiser, fit_quantiser, from_bytes, to_bits, to_bytes
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.structures import Kind

SETTINGS = DescriptorSettings("ab" * 32, "integer", 224, 224, "caffe", "whole",
                              "sqrt over levels 1+2+3, L2, mean", 1, "")
DIMENSION = 20  # no multiple of 8


def made(rng, count, first=0, **settings):
    x = rng.normal(size=(count, DIMENSION))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    names = tuple(f"{n:04}.jpg" for n in range(first, first + count))
    return Descriptors(replace(SETTINGS, **settings), names, x)


def filled(kind, descriptors, **options):
    index = DescriptorIndex.create(kind, descriptors, **options)
    index.add(descriptors, "d.npz")
    return index


def test_floats_rank_by_inner_product_bytes_by_that_of_the_decoded_and_bits_by_hamming_distance(rng):
    base, asked = made(rng, 300), made(rng, 10, 1000).vectors
    q = fit_quantiser(base.vectors)

    def decoded(x):
        return from_bytes(to_bytes(x, q), q).astype(np.float64)

    def ranking(loss):
        order = np.argsort(loss, axis=1, kind="stable")
        return [tuple(base.names[row] for row in rows[:7]) for rows in order]

    products = (asked[:, None].astype(np.float64) * base.vectors[None]).sum(axis=2)
    byte_products = (decoded(asked)[:, None] * decoded(base.vectors)[None]).sum(axis=2)
    distances = np.bitwise_count(to_bits(asked, q)[:, None] ^ to_bits(base.vectors, q)[None]).sum(axis=2)
    for codes, loss in (("floats", -products), ("bytes", -byte_products), ("bits", distances)):
        found = filled(Kind(codes, "flat"), base, quantiser=q).search(asked, 7)
        assert [f.names for f in found] == ranking(loss), codes
        sign = 1 if codes == "bits" else -1
        np.testing.assert_allclose([f.scores for f in found], sign * np.sort(loss, axis=1)[:, :7], atol=1e-6)


def test_the_quantiser_is_learned_once_and_kept(rng, tmp_path):
    base, more = made(rng, 100), made(rng, 50, 100)
    index = filled(Kind("bits", "flat"), base)
    index.add(replace(more, vectors=(more.vectors * 2).astype(np.float32)), "more.npz")
    index.save(tmp_path / "i")
    again = DescriptorIndex.load(tmp_path / "i").quantiser
    wanted = fit_quantiser(base.vectors)
    np.testing.assert_array_equal(again.thresholds, wanted.thresholds)
    assert (again.low, again.high, again.source) == (wanted.low, wanted.high, "100 descriptors")


@pytest.mark.parametrize(("codes", "structure"), [("floats", "ivf"), ("bytes", "hnsw"), ("bits", "hnsw"),
                                                  ("bytes", "flat")])
def test_an_index_is_what_it_was_after_saving_and_loading(codes, structure, rng, tmp_path):
    base = made(rng, 200)
    index = filled(Kind(codes, structure), base)
    index.remove(base.names[10:40])
    index.save(tmp_path / "i")
    again = DescriptorIndex.load(tmp_path / "i")
    assert again.names == index.names == [*base.names[:10], *base.names[40:]]
    assert again.settings == SETTINGS
    assert again.describe() == index.describe()
    assert again.search(base.vectors, 5, 500) == index.search(base.vectors, 5, 500)
    again.add(made(rng, 5, 5000), "later")
    again.save(tmp_path / "i")
    assert len(DescriptorIndex.load(tmp_path / "i")) == 175
    assert [p.name for p in tmp_path.iterdir()] == ["i"]


@pytest.mark.parametrize("structure", ["flat", "hnsw", "ivf"])
def test_names_follow_their_vectors_through_removals(structure, rng):
    base = made(rng, 300)
    index = filled(Kind("floats", structure), base)
    index.remove([base.names[n] for n in rng.permutation(300)[:120]])
    index.remove([index.names[0], index.names[-1]])
    index.add(made(rng, 30, 300), "more")
    index.remove([index.names[50]])
    kept = [n for n, name in enumerate(base.names) if name in index.names]
    for found, n in zip(index.search(base.vectors[kept], 1, 1000), kept, strict=True):
        assert found.names == (base.names[n],)
        assert found.scores[0] == pytest.approx(1, abs=1e-6)


def test_refusals_of_descriptors(rng):
    base = made(rng, 30)
    index = filled(Kind("floats", "flat"), base)
    digests = r"network is SHA-256 abababababab\.\.\. in the one and SHA-256 cdcdcdcdcdcd\.\.\."
    for settings, message in (
        ({"rotations": 4}, r"the index and x\.npz cannot be compared: rotations is 1 in the one and 4"),
        ({"network": "cd" * 32}, digests),
    ):
        with pytest.raises(InputError, match=message):
            index.add(made(rng, 3, 100, **settings), "x.npz")
    with pytest.raises(InputError, match=r"x\.npz: 0003\.jpg is in the index already; allowed: new names"):
        index.add(made(rng, 1, 3), "x.npz")
    twice = replace(made(rng, 2, 90), names=("a", "a"))
    with pytest.raises(InputError, match="a is in the index already"):
        index.add(twice, "x.npz")
    assert len(index) == 30
    assert len(index.search(base.vectors[:1], 99)[0].names) == 30
    with pytest.raises(InputError, match="nobody is not in the index; allowed: one of its 30 names"):
        index.remove(["0001.jpg", "nobody"])
    with pytest.raises(InputError, match=r"the query: descriptors of \[1, 19\]; allowed: 20 dimensions"):
        index.search(base.vectors[:1, :19], 1)
    index.remove(base.names)
    with pytest.raises(InputError, match="the index is empty"):
        index.search(base.vectors[:1], 1)
    with pytest.raises(InputError, match="no descriptors to begin an index with"):
        DescriptorIndex.create(Kind("floats", "flat"), replace(base, names=(), vectors=base.vectors[:0]))


def rewritten(path, **parts):
    """The archive with members replaced (bytes, or keys of index.json), its checksums right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members["index.json"])
    for key, value in parts.items():
        if isinstance(value, bytes):
            members[key.replace("_", ".")] = value
        elif value is None:
            del members[key.replace("_", ".")]
        else:
            about[key] = value
    members["index.json"] = json.dumps(about).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("parts", [
    {"format": "other"}, {"version": 4}, {"places": [0]}, {"folders": ["here"]},
    {"dimension": 24}, {"dimension": "x"}, {"names": ["a"]},
    {"names": 7}, {"codes": "words"}, {"codes": "bits"}, {"structure": "hnsw"},
    {"settings": {"network": "x"}}, {"quantiser": {}}, {"vectors_faiss": b"junk"},
    {"vectors_faiss": b""}, {"vectors_faiss": None},
    {"thresholds_npy": b"\x93NUMPY"}, {"numbers_npy": None},
], ids=str)
def test_an_index_whose_parts_do_not_fit_is_one_clear_line(parts, rng, tmp_path):
    path = tmp_path / "photos.index"
    filled(Kind("floats", "flat"), made(rng, 30)).save(path)
    assert len(DescriptorIndex.load(path)) == 30
    rewritten(path, **parts)
    with pytest.raises(InputError) as refusal:
        DescriptorIndex.load(path)
    assert "photos.index: " in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_damaged_index_is_refused_wherever_the_damage_is(rng, tmp_path):
    path = tmp_path / "i"
    filled(Kind("floats", "hnsw"), made(rng, 30)).save(path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        payload = [(i.header_offset + 64, i.file_size) for i in archive.infolist()]
    places = [start + int(rng.integers(size - 40)) for start, size in payload if size > 100]
    for place in places:  # inside members: the checksums find it
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1:])
        with pytest.raises(InputError, match="i: not a readable index"):
            DescriptorIndex.load(path)
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="i: not a readable index"):
            DescriptorIndex.load(path)
    path.write_bytes(whole)
    assert len(DescriptorIndex.load(path)) == 30
    with pytest.raises(InputError, match="missing: no such index"):
        DescriptorIndex.load(tmp_path / "missing")
    with pytest.raises(InputError, match="is not a file"):
        DescriptorIndex.load(tmp_path)


def test_a_write_that_fails_leaves_the_old_index(rng, tmp_path, monkeypatch):
    path = tmp_path / "i"
    index = filled(Kind("floats", "flat"), made(rng, 30))
    index.save(path)
    before = path.read_bytes()
    index.add(made(rng, 5, 100), "more")

    def fail(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(index._neighbours, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        index.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["i"]


def test_a_quantiser_given_is_taken(rng):
    base = made(rng, 30)
    q = Quantiser(-2.0, 2.0, np.full(DIMENSION, 0.1, np.float32), "elsewhere")
    index = filled(Kind("bytes", "flat"), replace(base, codes=Codes("bytes", to_bytes(base.vectors, q), q)),
                   quantiser=q)
    assert index.describe()["quantiser"] == {"low": -2.0, "high": 2.0, "source": "elsewhere"}
    assert index.search(base.vectors[:1], 1)[0].scores[0] == pytest.approx(
        float((from_bytes(to_bytes(base.vectors[:1], q), q).astype(np.float64) ** 2).sum()), abs=1e-6)


# --- bits as many as wanted, and queries that keep their floats ------------------------------------------


@pytest.mark.parametrize("bits", [8, 20, 40, 50])
def test_bits_as_many_as_wanted_come_back_and_rank(rng, tmp_path, bits):
    base, asked = made(rng, 300), made(rng, 8, 1000).vectors
    q = fit_quantiser(base.vectors, bits=bits)
    index = filled(Kind("bits", "flat"), base, quantiser=q)
    assert index.describe()["bits"] == bits
    index.save(tmp_path / "i")
    again = DescriptorIndex.load(tmp_path / "i")
    np.testing.assert_array_equal(again.quantiser.levels, q.levels)
    np.testing.assert_array_equal(again.quantiser.weights, q.weights)
    distances = np.bitwise_count(to_bits(asked, q)[:, None] ^ to_bits(base.vectors, q)[None]).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :9]
    for found in (index, again):
        assert [f.names for f in found.search(asked, 9)] == [
            tuple(base.names[row] for row in rows) for rows in order]


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize("structure", ["flat", "hnsw"])
@pytest.mark.parametrize("bits", [20, 44])
def test_queries_that_keep_their_floats_rank_by_levels(rng, tmp_path, bits, structure, levels):
    base, asked = made(rng, 200), made(rng, 8, 1000).vectors
    q = fit_quantiser(base.vectors, bits=bits)
    q = q if levels else replace(q, levels=None)
    index = filled(Kind("bits", structure), base, quantiser=q)
    index.save(tmp_path / "i")
    found = DescriptorIndex.load(tmp_path / "i").search(asked, 9, 200, asymmetric=True)
    below, above = q.levels if q.levels is not None else (-(bits**-0.5), bits**-0.5)
    stored = np.where(bit_values(base.vectors, bits, q.weights) > q.thresholds, above, below)
    scores = bit_values(asked, bits, q.weights) @ stored.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :9]
    assert [f.names for f in found] == [tuple(base.names[row] for row in rows) for rows in order]
    wanted = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_allclose([f.scores for f in found], wanted, atol=1e-9)


def test_asymmetric_scores_are_of_bits(rng):
    base = made(rng, 10)
    with pytest.raises(InputError, match="asymmetric scores of floats; allowed: of an index of bits"):
        filled(Kind("floats", "flat"), base).search(base.vectors, 1, asymmetric=True)
    q = fit_quantiser(made(rng, 30).vectors[:, :12])
    with pytest.raises(InputError, match="thresholds for 12 dimensions; allowed: 20"):
        filled(Kind("bits", "flat"), base, quantiser=q)


# --- where the pictures are ------------------------------------------------------------------------------


def test_an_index_remembers_the_folders_of_its_pictures(rng, tmp_path):
    first, second = tmp_path / "here" / "a", tmp_path / "here" / "b"
    for folder in (first, second):
        folder.mkdir(parents=True)
    one = replace(made(rng, 3), folder=first)
    two = replace(made(rng, 2, 10), folder=second)
    index = filled(Kind("floats", "flat"), one)
    index.add(two, "two.npz")
    index.add(made(rng, 1, 20), "three.npz")
    index.remove(["0001.jpg"])
    index.save(tmp_path / "here" / "i")
    (tmp_path / "here").rename(tmp_path / "moved")
    found = DescriptorIndex.load(tmp_path / "moved" / "i")
    names = ("0000.jpg", "0002.jpg", "0011.jpg", "0020.jpg", "9.jpg")
    moved = tmp_path / "moved"
    assert [found.picture(name) for name in names] == [
        moved / "a/0000.jpg", moved / "a/0002.jpg", moved / "b/0011.jpg", None, None]
    # The index alone moved: its folders are where they were.
    (tmp_path / "moved").rename(tmp_path / "here")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "here" / "i").rename(tmp_path / "far" / "away" / "i")
    assert DescriptorIndex.load(tmp_path / "far" / "away" / "i").picture("0010.jpg") == second / "0010.jpg"


def test_an_index_of_version_1_is_read(rng, tmp_path):
    base = made(rng, 5)
    filled(Kind("bits", "flat"), base).save(tmp_path / "i")
    with zipfile.ZipFile(tmp_path / "i") as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "levels.npy"}
    about = json.loads(members["index.json"])
    del about["places"], about["folders"]
    members["index.json"] = json.dumps({**about, "version": 1}).encode()
    with zipfile.ZipFile(tmp_path / "i", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    found = DescriptorIndex.load(tmp_path / "i")
    assert found.picture("0000.jpg") is None
    assert found.search(base.vectors[:1], 1)[0].names == ("0000.jpg",)


@pytest.mark.parametrize("structure", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("codes", ["bytes", "bits"])
def test_floats_in_other_codes_are_found_as_if_they_had_been_indexed_so(rng, codes, structure):
    base, asked = made(rng, 120), made(rng, 6, 1000).vectors
    index = filled(Kind("floats", structure), base, quantiser=fit_quantiser(base.vectors, bits=36))
    index.remove(base.names[10:20])
    kept = replace(base, names=base.names[:10] + base.names[20:],
                   vectors=np.delete(base.vectors, np.arange(10, 20), axis=0))
    wanted = filled(Kind(codes, "flat"), kept, quantiser=index.quantiser)
    found = index.recoded(codes)
    assert found.kind == Kind(codes, "flat")
    assert found.search(asked, 20) == wanted.search(asked, 20)
    assert index.search(asked, 5) == index.search(asked, 5), "the index itself can still be searched"
    found.remove(base.names[:3])
    assert len(index) == len(kept.names), "and keeps its own names"


def test_only_floats_can_be_coded_otherwise(rng):
    index = filled(Kind("bytes", "flat"), made(rng, 20))
    assert index.recoded("bytes") is index
    for codes in ("floats", "bits"):
        with pytest.raises(InputError, match=f"codes '{codes}' of an index of bytes; allowed: bytes, or an"):
            index.recoded(codes)
