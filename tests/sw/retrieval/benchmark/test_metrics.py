"""Average precision and recall against cases worked by hand and against the published programs' way of
counting, written down once more as plainly as it gets."""

import numpy as np
import pytest

from kestrel.sw.retrieval.benchmark.bootstrap import paired_bootstrap
from kestrel.sw.retrieval.benchmark.metrics import (
    plain_average_precision,
    precision_at,
    rank,
    recall_at,
    relevant_ranks,
    trapezoid_average_precision,
)


def oxford_program(ranked, positives, junk):
    """The walk down the list of the Oxford Buildings program: a trapezoid at every image."""
    area, recall_before, precision_before, found, seen = 0.0, 0.0, 1.0, 0, 0
    for image in ranked:
        if image in junk:
            continue
        found += image in positives
        seen += 1
        recall, precision = found / len(positives), found / seen
        area += (recall - recall_before) * (precision + precision_before) / 2
        recall_before, precision_before = recall, precision
    return area


def plain_program(ranked, positives, junk):
    kept = [image for image in ranked if image not in junk]
    return sum(
        len(positives & set(kept[: place + 1])) / (place + 1)
        for place, image in enumerate(kept) if image in positives
    ) / len(positives)


@pytest.mark.parametrize(("ranks", "positives", "trapezoid", "plain"), [
    ([0], 1, 1.0, 1.0),
    ([1], 1, 1 / 4, 1 / 2),  # from precision 0 to 1/2
    ([0, 1, 2], 3, 1.0, 1.0),
    ([0, 2], 2, (1 + (1 / 2 + 2 / 3) / 2) / 2, (1 + 2 / 3) / 2),
    ([1, 3], 2, ((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2, (1 / 2 + 2 / 4) / 2),
    ([0], 2, 1 / 2, 1 / 2),  # the other one is not ranked at all
    ([], 2, 0.0, 0.0),
])
def test_average_precision_by_hand(ranks, positives, trapezoid, plain):
    ranks = np.array(ranks, dtype=np.int64)
    assert trapezoid_average_precision(ranks, positives) == pytest.approx(trapezoid, abs=1e-15)
    assert plain_average_precision(ranks, positives) == pytest.approx(plain, abs=1e-15)


def test_average_precision_is_the_published_programs_on_random_rankings(rng):
    for _ in range(200):
        images = int(rng.integers(2, 60))
        ranking = rng.permutation(images)
        labels = rng.choice(3, images, p=(0.5, 0.3, 0.2))
        labels[rng.integers(images)] = 1
        positives, junk = (set(np.flatnonzero(labels == kind).tolist()) for kind in (1, 2))
        ranks = relevant_ranks(ranking, sorted(positives), sorted(junk))
        expected = oxford_program(ranking.tolist(), positives, junk)
        assert trapezoid_average_precision(ranks, len(positives)) == pytest.approx(expected, abs=1e-12)
        expected = plain_program(ranking.tolist(), positives, junk)
        assert plain_average_precision(ranks, len(positives)) == pytest.approx(expected, abs=1e-12)


def test_what_is_ignored_moves_nothing_down():
    ranking = np.array([4, 2, 0, 3, 1])
    assert relevant_ranks(ranking, [0, 1]).tolist() == [2, 4]
    assert relevant_ranks(ranking, [0, 1], [4, 3]).tolist() == [1, 2]
    assert relevant_ranks(ranking, [7]).tolist() == []
    with pytest.raises(ValueError, match=r"\[2\]"):
        relevant_ranks(ranking, [0, 2], [2])


def test_ties_keep_the_order_of_the_indices(rng):
    scores = rng.integers(-2, 3, 300)
    expected = sorted(range(300), key=lambda row: (-scores[row], row))
    assert rank(scores).tolist() == expected
    assert rank(scores.astype(np.float32)).tolist() == expected
    assert rank(np.array([0.0, -0.0, 0.0])).tolist() == [0, 1, 2]


def test_recall_and_precision_by_hand():
    ranks = np.array([0, 3, 4, 9])
    assert [recall_at(ranks, 4, k) for k in (1, 4, 5, 10)] == [0.25, 0.5, 0.75, 1.0]
    assert recall_at(ranks, 8, 10) == 0.5
    assert [precision_at(ranks, k) for k in (1, 5, 10)] == [1.0, 3 / 5, 4 / 10]
    # With two positives at ranks 1 and 3 nobody can have five right among the first five.
    assert precision_at(np.array([0, 2]), 5) == 2 / 3
    assert precision_at(np.array([], dtype=np.int64), 5) == 0.0


def test_bootstrap_of_a_constant_difference_has_no_width():
    this = np.linspace(0, 1, 50)
    found = paired_bootstrap(this, this - 0.125, samples=500)
    assert (found.difference, found.low, found.high) == pytest.approx((0.125, 0.125, 0.125))


def test_bootstrap_has_the_width_of_the_normal_interval_and_repeats(rng):
    other = rng.uniform(0, 1, 400)
    noise = rng.normal(0.05, 0.2, 400)
    found = paired_bootstrap(other + noise, other, seed=5)
    half = 1.96 * noise.std() / np.sqrt(400)
    assert found.difference == pytest.approx(noise.mean())
    assert found.low == pytest.approx(noise.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(noise.mean() + half, abs=0.1 * half)
    assert found == paired_bootstrap(other + noise, other, seed=5)
    assert found != paired_bootstrap(other + noise, other, seed=6)


def test_bootstrap_refuses_runs_that_cannot_be_paired():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap(np.zeros(0), np.zeros(0))
