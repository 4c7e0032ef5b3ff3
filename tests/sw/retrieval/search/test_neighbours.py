import io
from typing import Any

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.search.neighbours import Neighbours
from kestrel.sw.retrieval.search.structures import CODES, STRUCTURES, Kind, cells_for

EVERYWHERE = [s for s in STRUCTURES if s != "ivfpq"]  # whose tests are in test_refined
KINDS = [Kind(c, s) for c in CODES for s in EVERYWHERE if (c, s) != ("bits", "ivf")]
RANGE = (-0.5, 0.5)
DIMENSION = 32
EVERYTHING = 4096
"""An effort with which graph and cells find what an exact search finds."""


def label(kind):
    return f"{kind.codes}-{kind.structure}"


def unit(rng, count, dimension=DIMENSION):
    x = rng.normal(size=(count, dimension))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def coded(kind, vectors):
    """As ``add`` takes them; bytes are decoded codes over RANGE."""
    if kind.codes == "bits":
        return np.packbits(vectors > 0, axis=1, bitorder="little")
    if kind.codes == "bytes":
        codes = np.clip(np.floor((vectors.astype(np.float64) + 0.5) * 256), 0, 255)
        return ((codes + 0.5) / 256 - 0.5).astype(np.float32)
    return vectors


def filled(kind, values):
    found = Neighbours.empty(kind, DIMENSION, values, RANGE if kind.codes == "bytes" else None)
    found.add(values)
    return found


def direct(kind, values, queries, count):
    """Scores and rows once more, by comparing with everything: better first, then the lower row."""
    if kind.codes == "bits":
        scores = np.bitwise_count(queries[:, None] ^ values[None]).sum(axis=2).astype(float)
        order = np.argsort(scores, axis=1, kind="stable")[:, :count]
    else:
        scores = np.round((queries[:, None].astype(np.float64) * values[None]).sum(axis=2), 12)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, axis=1), order


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_every_kind_finds_what_a_comparison_with_everything_finds(kind, rng):
    values = coded(kind, unit(rng, 1200))
    queries = coded(kind, unit(rng, 20))
    scores, rows = filled(kind, values).search(queries, 10, EVERYTHING)
    wanted, order = direct(kind, values, queries, 10)
    # Float64 sums in another order; bytes decoded by FAISS differ from ours in the last bit of a float32.
    atol = {"bits": 0, "bytes": 1e-6, "floats": 2e-12}[kind.codes]
    np.testing.assert_allclose(scores, wanted, atol=atol, rtol=0)
    if kind.codes == "floats" or kind.exact:  # bits and bytes tie, and a graph need not find the lowest row
        np.testing.assert_array_equal(rows, order)


@pytest.mark.parametrize("codes", CODES)
def test_equal_scores_rank_by_row_also_across_the_end_of_the_list(codes, rng):
    kind = Kind(codes, "flat")
    few = coded(kind, unit(rng, 3))
    values = few[rng.integers(0, 3, 500)]  # hundreds of equal ones
    found = filled(kind, values)
    for count in (1, 7, 400):
        _, rows = found.search(few, count)
        np.testing.assert_array_equal(rows, direct(kind, values, few, count)[1])


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_removed_rows_are_gone_and_the_others_move_up(kind, rng):
    values = coded(kind, unit(rng, 600))
    found = filled(kind, values)
    gone = rng.permutation(600)[:250]
    found.remove(gone)
    kept = np.delete(values, gone, axis=0)
    assert len(found) == 350
    _, rows = found.search(kept, 1, EVERYTHING)
    assert (kept[rows[:, 0]] == kept).all()
    found.add(values[gone])  # numbers go on without collision
    _, rows = found.search(values[gone], 1, EVERYTHING)
    assert (np.concatenate([kept, values[gone]])[rows[:, 0]] == values[gone]).all()
    found.remove(np.arange(600))
    assert len(found) == 0
    assert found.search(values[:2], 3)[1].shape == (2, 0)
    found.add(values[:5])
    assert found.search(values[:1], 9, EVERYTHING)[1].shape == (1, 5)


@pytest.mark.parametrize("structure", EVERYWHERE)
def test_bytes_lie_in_the_index_as_our_codes_to_the_last_bit(structure, rng):
    low, high = -0.31, 0.47
    codes = np.concatenate([rng.integers(0, 256, (400, DIMENSION)), [[0] * DIMENSION, [255] * DIMENSION]])
    values = (low + (codes + 0.5) * (high - low) / 256).astype(np.float32)
    found = Neighbours.empty(Kind("bytes", structure), DIMENSION, values, (low, high))
    found.add(values)
    index = found._index
    if structure == "ivf":
        index.make_direct_map()
        held = index.reconstruct_n(0, len(values))
    else:
        held = index.reconstruct_n(0, len(values))
    np.testing.assert_array_equal(np.floor((held - low) / (high - low) * 256).astype(int), codes)
    np.testing.assert_allclose(held, values, atol=1e-6)
    if structure == "hnsw":  # and stay the same through the rebuild that a removal is
        found.remove(np.arange(0, 402, 2))
        np.testing.assert_array_equal(found._index.reconstruct_n(0, 201), held[1::2])


@pytest.mark.parametrize("kind", KINDS, ids=label)
def test_what_is_written_is_read_again(kind, rng):
    values = coded(kind, unit(rng, 300))
    found = filled(kind, values)
    found.remove(np.arange(5))
    buffer = io.BytesIO()
    found.write(buffer)
    buffer.seek(0)
    again = Neighbours.read(kind, DIMENSION, buffer, found.numbers, RANGE)
    for a, b in zip(again.search(values[:40], 7), found.search(values[:40], 7), strict=True):
        np.testing.assert_array_equal(a, b)
    again.add(values[:5])
    assert again.search(values[:5], 1, EVERYTHING)[1][:, 0].tolist() == list(range(295, 300))


def test_another_kind_or_size_or_broken_bytes_are_not_read(rng):
    values = unit(rng, 50)
    found = filled(Kind("floats", "flat"), values)
    buffer = io.BytesIO()
    found.write(buffer)
    whole = buffer.getvalue()

    def read(kind=found.kind, dimension=DIMENSION, numbers=found.numbers, content=whole):
        return Neighbours.read(kind, dimension, io.BytesIO(content), numbers)

    assert len(read()) == 50
    cases: list[dict[str, Any]] = [
        {"kind": Kind("floats", "hnsw")}, {"kind": Kind("bits", "flat")}, {"dimension": 16},
        {"numbers": found.numbers[:-1]}, {"content": whole[:100]}, {"content": b""},
    ]
    for wrong in cases:
        with pytest.raises(ValueError, match=r"FAISS cannot read it|instead of"):
            read(**wrong)


def test_more_effort_finds_more(rng):
    values, queries = unit(rng, 3000, 32), unit(rng, 200, 32)
    exact = filled(Kind("floats", "flat"), values).search(queries, 10)[1]
    for structure in ("hnsw", "ivf"):
        found = filled(Kind("floats", structure), values)
        shares = [np.mean([len(set(a) & set(b)) / 10 for a, b in zip(
            found.search(queries, 10, effort)[1], exact, strict=True)]) for effort in (1, 30, 3000)]
        assert shares[0] < shares[1] <= shares[2], (structure, shares)
        assert shares[2] > 0.99, (structure, shares)


def test_cells_grow_with_the_root_and_keep_enough_vectors_each():
    assert [cells_for(n) for n in (0, 1, 38, 78, 1521, 1_000_000)] == [1, 1, 1, 2, 39, 1000]


def test_refusals(rng):
    for codes, structure, message in (
        ("words", "flat", "codes 'words'"), ("bits", "tree", "structure 'tree'"),
        ("bits", "ivf", "structure 'ivf' of bits; allowed: flat or hnsw"),
    ):
        with pytest.raises(InputError, match=message):
            Kind(codes, structure)
    found = filled(Kind("floats", "hnsw"), unit(rng, 5))
    for effort in (0, -1, 1 << 20):
        with pytest.raises(InputError, match=f"effort {effort}; allowed: 1"):
            found.search(unit(rng, 1), 1, effort)
    for count in (0, 1 << 20):
        with pytest.raises(InputError, match=f"{count} matches; allowed: 1"):
            found.search(unit(rng, 1), count)
