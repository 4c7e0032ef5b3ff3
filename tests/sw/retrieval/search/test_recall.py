import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.search.neighbours import Neighbours
from kestrel.sw.retrieval.search.recall import measured_recall
from kestrel.sw.retrieval.search.refined import RefinedNeighbours
from kestrel.sw.retrieval.search.structures import Kind


def unit(rng, count, dimension=32):
    x = rng.normal(size=(count, dimension))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("codes", ["floats", "bytes", "bits"])
def test_an_exact_search_finds_everything(codes, rng):
    x = unit(rng, 800)
    values = np.packbits(x > 0, axis=1) if codes == "bits" else x
    found = Neighbours.empty(Kind(codes, "flat"), 32, values, (-1, 1) if codes == "bytes" else None)
    found.add(values)
    recall = measured_recall(found, 50)
    assert (recall.queries, recall.depth, recall.at_1, recall.at_depth) == (50, 10, 1.0, 1.0)


def test_it_is_the_share_of_the_truly_nearest_that_is_found(rng):
    """Once more by hand, in an inverted file that looks into few of its cells."""
    x = unit(rng, 4000)
    found = RefinedNeighbours.empty(Kind("floats", "ivfpq"), 32, x)
    found.add(x)
    seed = int(rng.integers(1000))
    recall = measured_recall(found, 60, seed)
    rows = np.sort(np.random.default_rng(seed).permutation(4000)[:60])
    near = np.argsort(-(x[rows].astype(float) @ x.T), axis=1, kind="stable")[:, 1:11]
    got = found.search(x[rows], 11)[1]
    shares = [len(set(a) & set(b) - {row}) / 10 for a, b, row in zip(near, got, rows, strict=True)]
    assert recall.at_depth == pytest.approx(np.mean(shares), abs=1e-9), seed
    first = [a[0] in set(b) for a, b in zip(near, got, strict=True)]
    assert recall.at_1 == pytest.approx(np.mean(first), abs=1e-9), seed
    assert 0.2 < recall.at_depth < 1


def test_a_small_index_is_measured_as_deep_as_it_is(rng):
    found = Neighbours.empty(Kind("floats", "flat"), 32, unit(rng, 4))
    found.add(unit(rng, 4))
    assert measured_recall(found, 100).depth == 3


def test_refusals(rng):
    found = Neighbours.empty(Kind("floats", "flat"), 32, unit(rng, 4))
    found.add(unit(rng, 1))
    with pytest.raises(InputError, match="index of 1; allowed: at least two"):
        measured_recall(found, 5)
    for queries in (0, 10_001):
        with pytest.raises(InputError, match=f"recall of {queries} queries; allowed: 1..10000"):
            measured_recall(found, queries)
