"""A teacher of several maps: whitened regions, joined vectors, and what learning their similarities does."""

import numpy as np
import pytest
import torch

from kestrel.sw.retrain.dense.passes import Pass, as_array
from kestrel.sw.retrain.dense.relations import (
    Joined,
    JoinedLoss,
    fit_whitening,
    picture_vectors,
    relation,
    whitening_of,
)
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor, region_vectors


@pytest.fixture
def maps(rng):
    return {name: torch.from_numpy(rng.random((12, channels, side, side), np.float32))
            for name, channels, side in (("a", 6, 8), ("b", 5, 4))}


def test_a_descriptor_is_the_average_of_its_regions(maps):
    regions = torch.stack(region_vectors(maps["a"]), dim=1)
    assert regions.shape == (12, 14, 6)
    torch.testing.assert_close(picture_vectors(regions), NipDescriptor()(maps["a"]))


def test_a_whitening_makes_all_directions_alike(rng):
    vectors = torch.from_numpy(rng.standard_normal((500, 6), np.float32)) @ torch.rand(6, 6) + 3
    found = fit_whitening(vectors, 4)
    white = (vectors - found.mean) @ found.projection.T
    assert white.shape == (500, 4)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(4), atol=1e-3, rtol=0.0)


def test_directions_in_which_nothing_varies_are_left_out(rng):
    vectors = torch.from_numpy(rng.standard_normal((100, 4), np.float32))
    assert fit_whitening(torch.cat([vectors, vectors], dim=1), 8).projection.shape == (4, 8)


def test_a_joined_vector_has_both_maps_with_equal_weight(maps):
    given = Pass({name: as_array(x) for name, x in maps.items()})
    teacher = Joined({name: whitening_of([given], name, 4) for name in maps})
    regions, pictures = teacher.regions(maps), teacher.pictures(maps)
    assert regions.shape == (12, 14, 8)
    torch.testing.assert_close(regions.norm(dim=2), torch.full((12, 14), 2**0.5))
    for part in (pictures[:, :4], pictures[:, 4:]):
        torch.testing.assert_close(part.square().sum(1), torch.full((12,), 0.5))


def test_relations_are_learnt(maps, rng):
    """Descent on the loss brings a map's relations nearer to the teacher's, which are those of other maps."""
    given = Pass({name: as_array(x) for name, x in maps.items()})
    own = torch.from_numpy(rng.random((12, 7, 4, 4), np.float32))
    start = own.clone()
    whitening = whitening_of([Pass({"x": as_array(own)})], "x", 7)
    loss = JoinedLoss(whitening, Joined({name: whitening_of([given], name, 4) for name in maps}))
    assert loss.names == ("a", "b")
    before = {name: float(term) for name, term in loss.terms(own, maps).items()}
    own.requires_grad_()
    for _ in range(30):
        total = torch.stack(list(loss.terms(own.clamp_min(0), maps).values())).sum()
        (gradient,) = torch.autograd.grad(total, own)
        own = (own - 0.2 * gradient / gradient.abs().max()).detach().requires_grad_()
    own = own.detach().clamp_min(0)
    after = {name: float(term) for name, term in loss.terms(own, maps).items()}
    assert before.keys() == after.keys() == {"regions", "pictures"}
    assert all(after[name] < before[name] for name in before), (before, after)
    assert not torch.equal(start, own)


def test_equal_relations_cost_nothing(rng):
    vectors = torch.from_numpy(rng.standard_normal((9, 5), np.float32))
    turned = vectors @ torch.linalg.qr(torch.from_numpy(rng.standard_normal((5, 5), np.float32)))[0]
    assert float(relation(turned, vectors)) < 1e-9
    assert float(relation(vectors.abs(), vectors)) > 0.1
