"""Cross-entropy, its head, and T1/T5."""

import numpy as np
import torch

from kestrel.sw.retrain.samples.labels import Classifier, Hits, label_loss


def test_loss_is_cross_entropy_of_those_with_a_label(rng):
    logits = torch.from_numpy(rng.normal(size=(4, 6)))
    labels = torch.tensor([2, -1, 5, 0])
    x = logits.numpy()
    expected = np.mean([np.log(np.exp(x[n]).sum()) - x[n, label] for n, label in ((0, 2), (2, 5), (3, 0))])
    np.testing.assert_allclose(float(label_loss(logits, labels)), expected, rtol=1e-12)


def test_loss_without_labels_is_zero_and_pulls_nowhere():
    logits = torch.zeros(3, 4, requires_grad=True)
    loss = label_loss(logits, torch.tensor([-1, -1, -1]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_hits_by_counting(rng):
    logits = rng.normal(size=(200, 9))
    labels = rng.integers(-1, 9, 200)
    hits = Hits()
    for part in (slice(0, 77), slice(77, 200)):
        hits.add(torch.from_numpy(logits[part]), torch.from_numpy(labels[part]))
    known = [(row, label) for row, label in zip(logits, labels, strict=True) if label >= 0]
    assert hits.count == len(known)
    assert hits.t1 == sum(row.argmax() == label for row, label in known)
    assert hits.t5 == sum(label in np.argsort(-row)[:5] for row, label in known)
    assert 0 < hits.t1_share < hits.t5_share < 1


def test_a_network_that_says_nothing_hits_nothing():
    hits = Hits()
    hits.add(torch.zeros(3, 10), torch.tensor([0, 4, 9]))
    hits.add(torch.full((3, 10), torch.nan), torch.tensor([0, 4, 9]))
    assert (hits.t1, hits.t5, hits.count) == (0, 0, 6)


def test_the_head_learns_whatever_the_scale_of_the_features():
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 4
    features = torch.rand(40, 8, 3, 3, generator=draw)
    features[torch.arange(40), labels] += 1
    for scale in (1.0, 5000.0):
        torch.manual_seed(0)
        head = Classifier(8, 4)
        optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(60):
            optimiser.zero_grad()
            label_loss(head(features * scale), labels).backward()
            optimiser.step()
        hits = Hits()
        hits.add(head(features * scale), labels)
        assert hits.t1_share == 1
