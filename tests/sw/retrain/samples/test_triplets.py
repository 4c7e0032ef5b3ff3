"""Mining, the loss and the batches that triplets are found in."""

from collections import Counter

import numpy as np
import pytest
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.samples.triplets import MINERS, grouped, squared_distances, triplet_loss
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor
from kestrel.sw.retrieval.pooling.nip import NipSettings, combine, region_vectors


def unit(rng, count, dimension=4):
    vectors = rng.normal(size=(count, dimension))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


GROUPS = [0, 0, 0, 1, 1, -1, 2, 3, 3]


def test_distances(rng):
    x = unit(rng, 5)
    np.testing.assert_allclose(squared_distances(x).numpy(), torch.cdist(x, x).square().numpy(), atol=1e-12)


def expected_triplets(d, groups, mining, margin):
    """By the words of the definitions, one anchor after the other."""
    found = []
    count = range(len(groups))
    for a in count:
        positives = [p for p in count if p != a and groups[p] == groups[a] != -1]
        negatives = [n for n in count if groups[a] != -1 and groups[n] not in {-1, groups[a]}]
        if not positives or not negatives:
            continue
        if mining == "batch-hard":
            found.append([a, max(positives, key=lambda p: d[a, p]), min(negatives, key=lambda n: d[a, n])])
            continue
        for p in positives:
            band = [n for n in negatives if d[a, p] < d[a, n] < d[a, p] + margin]
            if band:
                found.append([a, p, min(band, key=lambda n: d[a, n])])
    return found


@pytest.mark.parametrize("mining", MINERS)
def test_mining_and_loss(rng, mining):
    x = unit(rng, len(GROUPS))
    d = squared_distances(x).numpy()
    margin = 0.8
    wanted = expected_triplets(d, GROUPS, mining, margin)
    assert wanted
    found = MINERS[mining](torch.from_numpy(d), torch.tensor(GROUPS), margin)
    assert torch.stack([found.anchor, found.positive, found.negative], dim=1).tolist() == wanted
    excess = [d[a, p] - d[a, n] + margin for a, p, n in wanted]
    result = triplet_loss(x, torch.tensor(GROUPS), mining, margin)
    assert (result.count, result.active) == (len(wanted), sum(e > 0 for e in excess))
    np.testing.assert_allclose(float(result.loss), np.mean(np.maximum(excess, 0)), rtol=1e-9)


@pytest.mark.parametrize("groups", [[0, 1, 2], [0, 0, 0], [-1, -1, -1]])
@pytest.mark.parametrize("mining", MINERS)
def test_without_triplets_no_loss_and_no_pull(rng, groups, mining):
    x = unit(rng, 3).requires_grad_()
    result = triplet_loss(x, torch.tensor(groups), mining)
    result.loss.backward()
    assert (float(result.loss.detach()), result.count) == (0, 0)
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("mining", MINERS)
def test_descent_separates_groups(rng, mining):
    x = unit(rng, 12, 6).float().requires_grad_()
    groups = torch.arange(12) // 3
    optimiser = torch.optim.SGD([x], lr=0.3)
    for _ in range(300):
        optimiser.zero_grad()
        triplet_loss(torch.nn.functional.normalize(x, dim=1), groups, mining, margin=0.4).loss.backward()
        optimiser.step()
    d = squared_distances(torch.nn.functional.normalize(x, dim=1)).detach()
    alike = groups[:, None] == groups
    assert d[alike].mean() < 0.5 * d[~alike].mean()


def test_batches_hold_whole_groups(rng):
    groups = [n // 5 for n in range(35)] + [-1] * 4 + [90]  # 7 groups of 5, some without, one alone
    order = grouped(groups, groups_per_batch=3, pictures_per_group=4, seed=int(rng.integers(1000)))
    batches = order(0)
    assert len(batches) == 3  # 7 groups, 3 a batch, the last filled up
    seen = Counter()
    for batch in batches:
        assert len(batch) == len(set(batch)) == 12
        members = [groups[row] for row in batch]
        assert [len(set(members[n : n + 4])) for n in (0, 4, 8)] == [1, 1, 1]
        assert len(set(members)) == 3
        seen.update(set(members))
    assert set(seen) == set(range(7))
    assert order(0) == batches != order(1)


def test_a_small_group_repeats_its_pictures():
    (batch,) = grouped([0, 0, 1, 1, 1], 2, 3, seed=0)(0)
    assert Counter(batch[:3] if batch[0] < 2 else batch[3:]).most_common(1)[0][1] == 2


def test_bad_options():
    x = torch.eye(3)
    with pytest.raises(InputError, match="mining 'easy'; allowed: batch-hard, semi-hard"):
        triplet_loss(x, torch.tensor([0, 0, 1]), "easy")
    with pytest.raises(InputError, match="margin 0"):
        triplet_loss(x, torch.tensor([0, 0, 1]), margin=0)
    with pytest.raises(InputError, match="1 groups of two pictures or more; allowed: at least 2"):
        grouped([0, 0, 1], 2, 2, 0)
    with pytest.raises(InputError, match="allowed: at least 2 and 2"):
        grouped([0, 0, 1, 1], 2, 1, 0)


@pytest.mark.parametrize("levels", [(1, 2, 3), (2,), ()])
@pytest.mark.parametrize("size", [(7, 7), (6, 9), (1, 2)])
def test_the_descriptor_is_the_one_of_retrieval(rng, levels, size):
    for scale in (1.0, 1e4):
        features = (rng.integers(0, 256, (2, 5, *size)) * scale).astype(np.float32)
        settings = NipSettings(levels=levels)
        expected = [combine([[region_vectors(f, settings)]], [1.0], settings, None) for f in features]
        found = NipDescriptor(levels)(torch.from_numpy(features))
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_the_descriptor_has_finite_gradients_everywhere():
    features = torch.zeros(2, 4, 7, 7, requires_grad=True)
    features.data[0, :2] = 3.0
    NipDescriptor()(features)[:, 0].sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
