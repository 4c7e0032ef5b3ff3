"""A benchmark over descriptors, against a direct implementation on random ones."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrieval.benchmark.datasets import ALL, Benchmark, Judgement, Query
from kestrel.sw.retrieval.benchmark.evaluate import (
    CODES,
    as_payload,
    comparable,
    compare,
    evaluate,
    rankings,
    read_per_query,
    write_per_query,
)
from kestrel.sw.retrieval.describe.descriptor import Descriptors, DescriptorSettings
from kestrel.sw.retrieval.pooling.quantise import fit_quantiser, from_bytes, to_bits, to_bytes
from kestrel.sw.retrieval.search import structures

SETTINGS = DescriptorSettings("n", "integer", 8, 8, "none", "whole", "sqrt", 1, "")


def unit(rng, count, dimension):
    vectors = rng.normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def group_benchmark(groups):
    """Every image a query, the others of its group positive, itself ignored."""
    images = tuple(f"{n}.jpg" for n in range(len(groups)))
    judged = tuple(
        Judgement(tuple(m for m, other in enumerate(groups) if other == group and m != n), (n,))
        for n, group in enumerate(groups))
    return Benchmark("groups", Path("d"), images, tuple(Query(i, i) for i in images), {ALL: judged})


def direct(vectors, groups, score):
    """(mean trapezoid AP, recall at 5, share found at 5) by sorting and counting, image by image."""
    precisions, recalls, found = [], [], []
    for n, group in enumerate(groups):
        others = [m for m in range(len(groups)) if m != n]
        others.sort(key=lambda m: (-score(vectors[n], vectors[m]), m))
        right = [groups[m] == group for m in others]
        if not any(right):
            continue
        area, before = 0.0, 1.0
        for place, (hit, count) in enumerate(zip(right, itertools.accumulate(right), strict=True), 1):
            area += hit * (before + count / place) / 2
            before = count / place
        precisions.append(area / sum(right))
        recalls.append(sum(right[:5]) / sum(right))
        found.append(any(right[:5]))
    return np.mean(precisions), np.mean(recalls), np.mean(found)


def inner(a, b):
    return round(float(np.dot(a.astype(np.float64), b.astype(np.float64))), 9)


@pytest.mark.parametrize("codes", ["floats", "bytes", "bits"])
def test_a_run_is_the_direct_one(rng, codes):
    groups = rng.integers(0, 25, 90).tolist()
    centres = unit(rng, 25, 19)
    vectors = centres[groups] + rng.normal(0, 0.3, (90, 19)).astype(np.float32)
    vectors[1] = vectors[0]  # a tie
    quantiser = fit_quantiser(vectors)
    benchmark = group_benchmark(groups)
    found = evaluate(benchmark, Descriptors(SETTINGS, benchmark.images, vectors), codes=codes,
                     quantiser=quantiser)
    if codes == "floats":
        expected = direct(vectors, groups, inner)
    elif codes == "bytes":
        expected = direct(from_bytes(to_bytes(vectors, quantiser), quantiser), groups, inner)
    else:
        packed = to_bits(vectors, quantiser)
        expected = direct(packed, groups, lambda a, b: -sum((int(x) ^ int(y)).bit_count()
                                                            for x, y in zip(a, b, strict=True)))
    all_ = found.splits[ALL]
    assert (found.map, all_.recall[5], all_.found[5]) == pytest.approx(expected, abs=1e-12)
    assert found.images == 90
    assert all_.queries == len(found.per_query) == sum(groups.count(group) > 1 for group in groups)


def test_equal_descriptors_come_in_the_order_of_the_database(rng):
    vectors = np.repeat(unit(rng, 1, 512), 300, axis=0)
    for ranking in rankings(vectors[:3].astype(np.float64), vectors.astype(np.float64)):
        assert ranking.tolist() == list(range(300))


def test_scores_that_differ_by_rounding_noise_are_equal():
    database = np.array([[0.5], [0.5 + 1e-13], [0.5 + 1e-6]])
    assert [r.tolist() for r in rankings(np.ones((1, 1)), database)] == [[2, 0, 1]]


def test_bits_rank_by_hamming_distance_whatever_the_dimension(rng):
    vectors = unit(rng, 40, 13)  # not a whole number of bytes
    quantiser = fit_quantiser(vectors)
    plus_minus = comparable(vectors, "bits", quantiser)
    above = vectors > quantiser.thresholds
    distances = (above[:, None] != above[None]).sum(axis=2)
    np.testing.assert_array_equal(plus_minus @ plus_minus.T, 13 - 2 * distances)


def test_ukbench_counts_how_many_of_four(rng):
    images = tuple(f"{n}.jpg" for n in range(8))
    judged = tuple(Judgement(tuple(range(n // 4 * 4, n // 4 * 4 + 4))) for n in range(8))
    benchmark = Benchmark("ukbench", Path("d"), images, tuple(Query(i, i) for i in images), {ALL: judged})
    axes = np.eye(4, dtype=np.float32)
    # Images 3 and 7 have changed places.
    vectors = axes[[0, 0, 0, 1, 1, 1, 1, 0]]
    found = evaluate(benchmark, Descriptors(SETTINGS, images, vectors))
    assert found.score == pytest.approx((6 * 3 + 2 * 1) / 8)
    assert as_payload(found)["score"] == found.score


def test_splits_have_their_own_queries_and_the_headline_stands_at_the_top():
    images = ("a", "b", "c")
    benchmark = Benchmark(
        "roxford5k", Path("d"), images, (Query("0:q", "q", (0, 0, 1, 1)), Query("1:r", "r", (0, 0, 1, 1))),
        {"easy": (Judgement((0,), (2,)), Judgement(())), "medium": (Judgement((0, 2)), Judgement((1,))),
         "hard": (Judgement((2,), (0,)), Judgement((1,)))}, "medium")  # fmt: skip
    vectors = np.array([[0.8, 0.6], [1, 0], [0.6, 0.8], [1, 0], [1, 0]], dtype=np.float32)
    found = evaluate(benchmark, Descriptors(SETTINGS, (*images, "query:0:q", "query:1:r"), vectors))
    # Query 0 ranks b, a, c; query 1 likewise.
    half, two_thirds = (0 + 1 / 2) / 2, (1 / 2 + 2 / 3) / 2
    payload = as_payload(found)
    assert payload["split"] == "medium"
    assert payload["map"] == payload["splits"]["medium"]["map"] == pytest.approx(
        ((half + two_thirds) / 2 + 1) / 2)
    assert payload["splits"]["easy"] | {"queries": 1, "map": pytest.approx(half)} == payload["splits"]["easy"]
    assert payload["splits"]["hard"]["map"] == pytest.approx((half + 1) / 2)
    both = pytest.approx((2 / 3 + 1) / 2)
    assert payload["precision"] == {1: 0.5, 5: both, 10: both}


def test_plain_average_precision_is_an_option(rng):
    benchmark = group_benchmark([0, 0, 1])
    vectors = np.array([[1, 0], [0, 1], [0.7, 0.7]], dtype=np.float32)
    descriptors = Descriptors(SETTINGS, benchmark.images, vectors)
    assert evaluate(benchmark, descriptors).map == pytest.approx(1 / 4)
    assert evaluate(benchmark, descriptors, average_precision="plain").map == pytest.approx(1 / 2)
    with pytest.raises(InputError, match="average precision 'area'; allowed: trapezoid, plain"):
        evaluate(benchmark, descriptors, average_precision="area")


def test_a_missing_descriptor_is_named(rng):
    benchmark = group_benchmark([0, 0])
    with pytest.raises(InputError, match=r"d\.npz: no descriptor of 1\.jpg"):
        evaluate(benchmark, Descriptors(SETTINGS, ("0.jpg",), unit(rng, 1, 4)), what="d.npz")


def test_unknown_codes_are_refused(rng):
    with pytest.raises(InputError, match="codes 'nibbles'; allowed: floats, bytes, bits"):
        comparable(unit(rng, 2, 4), "nibbles", None)


def test_codes_are_those_of_the_index():
    assert CODES == structures.CODES


@pytest.fixture
def run(rng):
    benchmark = group_benchmark(rng.integers(0, 5, 30).tolist())
    return evaluate(benchmark, Descriptors(SETTINGS, benchmark.images, unit(rng, 30, 8)))


def test_values_by_query_are_kept_exactly(run, tmp_path):
    write_per_query(run, tmp_path / "q.csv")
    found = read_per_query(tmp_path / "q.csv")
    assert found == {(r.query, r.split): (r.positives, r.ap) for r in run.per_query}
    same = compare(run, found, "q.csv")[ALL]
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_a_better_run_is_seen_to_be_better(run):
    worse = {(r.query, r.split): (r.positives, r.ap * 0.5) for r in run.per_query}
    found = compare(run, worse, "q.csv", seed=3)[ALL]
    assert found.difference == pytest.approx(run.map / 2)
    assert 0 < found.low < found.difference < found.high
    assert found.seed == 3


def test_runs_over_other_queries_cannot_be_compared(run):
    other = {(r.query, r.split): (r.positives, r.ap) for r in run.per_query}
    name = run.per_query[0].query
    with pytest.raises(InputError, match=rf"q\.csv: query '{name}' \(split all\) is not asked alike"):
        compare(run, other | {(name, ALL): (99, 0.5)}, "q.csv")
    with pytest.raises(InputError, match="query 'more'"):
        compare(run, other | {("more", ALL): (1, 0.5)}, "q.csv")
    del other[name, ALL]
    with pytest.raises(InputError, match=f"query '{name}'"):
        compare(run, other, "q.csv")


@pytest.mark.parametrize("text", [
    "query,split\na,all\n", "query,split,positives,ap\na,all,1,2.5\n",
    "query,split,positives,ap\na,all,one,0.5\n", "query,split,positives,ap\na\n",
])
def test_files_by_query_that_are_none_are_refused(run, tmp_path, text):
    path = tmp_path / "q.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"q\.csv: not a file by query"):
        read_per_query(path)
    with pytest.raises(InputError, match="no such file"):
        read_per_query(tmp_path / "none.csv")


def test_a_run_may_leave_out_pictures(rng):
    benchmark = group_benchmark([0, 0, 1, 1, 0])
    vectors = unit(rng, 5, 6)
    part = benchmark.without({"3.jpg"})
    found = evaluate(part, Descriptors(SETTINGS, benchmark.images, vectors))
    expected, *_ = direct(vectors[[0, 1, 2, 4]], [0, 0, 1, 0], inner)
    assert found.map == pytest.approx(expected)
