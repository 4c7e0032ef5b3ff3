"""Short codes in memory, refined by vectors on disk."""

import io
import zipfile

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.search import refined
from kestrel.sw.retrieval.search.index import DescriptorIndex
from kestrel.sw.retrieval.search.rows import ALIGNMENT, Rows, aligned_member, mapped_rows
from kestrel.sw.retrieval.search.structures import CODE_TRAINING, EXACT_UP_TO, Kind, structure_for

EVERYTHING = 4096
SETTINGS = DescriptorSettings("ab" * 32, "integer", 64, 64, "none", "whole", "x", 1, "")


def made(rng, count, dimension=33, first=0):
    """Descriptors in groups, as photographs are; an odd dimension, which the codes have to fill up."""
    centres = rng.normal(size=(20, dimension))
    x = centres[rng.integers(0, 20, count)] + 0.5 * rng.normal(size=(count, dimension))
    vectors = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return Descriptors(SETTINGS, tuple(f"{n}.jpg" for n in range(first, first + count)), vectors)


def filled(codes, structure, descriptors):
    index = DescriptorIndex.create(Kind(codes, structure), descriptors)
    index.add(descriptors, "d.npz")
    return index


@pytest.mark.parametrize("codes", ["floats", "bytes"])
def test_names_and_scores_are_those_of_the_exact_search(codes, rng, tmp_path):
    descriptors = made(rng, 3000)
    exact, short = (filled(codes, structure, descriptors) for structure in ("flat", "ivfpq"))
    short.save(tmp_path / "short.index")
    opened = DescriptorIndex.load(tmp_path / "short.index")
    queries = descriptors.vectors[:60]
    wanted = exact.search(queries, 10)
    for index in (short, opened):
        found = index.search(queries, 10, EVERYTHING)
        same = [len(set(a.names) & set(b.names)) for a, b in zip(found, wanted, strict=True)]
        assert np.mean(same) > 9.8, same
        for a, b in zip(found, wanted, strict=True):
            shared = dict(zip(b.names, b.scores, strict=True))
            for name, score in zip(a.names, a.scores, strict=True):
                if name in shared:
                    assert score == pytest.approx(shared[name], abs=2e-6)
    assert [f.names for f in opened.search(queries, 10)] == [f.names for f in short.search(queries, 10)]


@pytest.mark.parametrize("codes", ["floats", "bytes"])
def test_what_is_added_and_removed_after_loading_is_found_and_saved_again(codes, rng, tmp_path):
    descriptors, more = made(rng, 600), made(rng, 50, first=600)
    path = tmp_path / "i.index"
    filled(codes, "ivfpq", descriptors).save(path)
    index = DescriptorIndex.load(path)
    gone = [f"{n}.jpg" for n in range(0, 600, 3)]
    index.remove(gone)
    index.add(more, "more.npz")
    index.remove(["601.jpg"])
    index.save(path)  # over the file that is mapped
    kept = [n for n in range(650) if n != 601 and (n >= 600 or n % 3)]
    everything = np.concatenate([descriptors.vectors, more.vectors])
    for found in (index, DescriptorIndex.load(path)):
        assert found.names == [f"{n}.jpg" for n in kept]
        answers = found.search(everything[kept], 1, EVERYTHING)
        assert [answer.names[0] for answer in answers] == found.names
    whole = np.concatenate(list(DescriptorIndex.load(path)._neighbours.vectors()))
    np.testing.assert_allclose(whole, everything[kept], atol=0 if codes == "floats" else 0.01)


def test_fewer_than_wanted_are_returned_where_there_are_fewer(rng):
    index = filled("floats", "ivfpq", made(rng, 300))
    index.remove([f"{n}.jpg" for n in range(5, 300)])
    (found,) = index.search(made(rng, 1).vectors, 9, EVERYTHING)
    assert sorted(found.names) == [f"{n}.jpg" for n in range(5)]


def test_an_equal_score_ranks_by_row(rng):
    descriptors = made(rng, 300)
    twins = Descriptors(SETTINGS, descriptors.names, np.repeat(descriptors.vectors[::10], 10, axis=0))
    found = filled("floats", "ivfpq", twins).search(twins.vectors[::10], 10, EVERYTHING)
    assert [f.names for f in found] == [tuple(f"{10 * n + k}.jpg" for k in range(10)) for n in range(30)]


def test_too_few_to_learn_from_is_one_clear_line(rng):
    with pytest.raises(InputError, match=f"learned from 255 descriptors; allowed: at least {CODE_TRAINING}"):
        filled("floats", "ivfpq", made(rng, 255))
    with pytest.raises(InputError, match="structure 'ivfpq' of bits; allowed: flat or hnsw"):
        Kind("bits", "ivfpq")


def test_rows_that_do_not_fit_are_refused(rng, tmp_path):
    path = tmp_path / "i.index"
    filled("floats", "ivfpq", made(rng, 300)).save(path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def rewritten(**changed):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (parts | changed).items():
                archive.writestr(name, content)

    other = io.BytesIO()
    np.save(other, np.zeros((299, 33), np.float32))
    cases = ((other.getvalue(), "rows are float32"), (parts["rows.npy"][:-4], "does not fill"),
             (b"", "not a readable index"))
    for content, message in cases:
        rewritten(**{"rows.npy": content})
        with pytest.raises(InputError, match=message):
            DescriptorIndex.load(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable index"):
        DescriptorIndex.load(path)


@pytest.mark.parametrize("names", [("a.json",), ("a.json", "a longer name.json", "b")])
def test_rows_begin_at_an_aligned_place_of_the_archive(names, rng, tmp_path):
    path = tmp_path / "a.zip"
    rows = Rows(np.zeros((0, 5), np.float32))
    rows.append(rng.normal(size=(7, 5)).astype(np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name * 3)
        with archive.open(aligned_member(archive, "rows.npy"), "w", force_zip64=True) as stream:
            rows.write(stream)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        found = mapped_rows(path, archive, "rows.npy")
    assert isinstance(found, np.memmap)
    assert found.offset % ALIGNMENT == 0
    np.testing.assert_array_equal(found, rows.take(np.arange(7)))


@pytest.mark.parametrize("spooled", [False, True])
def test_rows_in_several_parts_come_in_their_order(spooled, rng, tmp_path):
    parts = [rng.integers(0, 256, (n, 3), dtype=np.uint8) for n in (5, 4, 3)]
    rows = Rows(parts[0], tmp_path if spooled else None)
    rows.append(parts[1])
    rows.keep(np.arange(9) % 2 == 0)
    rows.append(parts[2])
    whole = np.concatenate([np.concatenate(parts[:2])[::2], parts[2]])
    assert len(rows) == 8
    np.testing.assert_array_equal(rows.take(np.array([[7, 0], [4, 5]])), whole[[[7, 0], [4, 5]]])
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks())), whole)
    queries, some = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 8, (40, 5))
    np.testing.assert_allclose(rows.products(queries, some), (whole[some] @ queries[:, :, None])[..., 0],
                               rtol=1e-5, atol=1e-3)


def test_products_of_floats_in_one_part_are_those_of_the_rows_that_are_kept(rng):
    whole = rng.normal(size=(50, 7)).astype(np.float32)
    rows = Rows(whole)
    rows.keep(np.arange(50) % 3 > 0)
    queries, some = rng.normal(size=(20, 7)).astype(np.float32), rng.integers(0, len(rows), (20, 9))
    kept = whole[np.arange(50) % 3 > 0]
    np.testing.assert_allclose(rows.products(queries, some), (kept[some] @ queries[:, :, None])[..., 0],
                               atol=1e-5)


def test_more_candidates_find_more(rng, monkeypatch):
    descriptors = made(rng, 3000, 32)
    exact, short = (filled("floats", structure, descriptors) for structure in ("flat", "ivfpq"))
    wanted = exact.search(descriptors.vectors[:100], 10)
    shares = []
    for candidates in (10, 30, 1000):
        monkeypatch.setattr(refined, "CANDIDATES", candidates)
        monkeypatch.setattr(refined, "CANDIDATES_PER_MATCH", 1)
        found = short.search(descriptors.vectors[:100], 10, EVERYTHING)
        shares.append(np.mean([len(set(a.names) & set(b.names)) / 10
                               for a, b in zip(found, wanted, strict=True)]))
    assert shares[0] < shares[1] < shares[2], shares
    assert shares[2] > 0.999


def test_the_structure_goes_by_the_number():
    for codes, beyond in (("floats", "ivfpq"), ("bytes", "ivfpq"), ("bits", "hnsw")):
        assert structure_for(codes, EXACT_UP_TO[codes]) == "flat"
        assert structure_for(codes, EXACT_UP_TO[codes] + 1) == beyond
