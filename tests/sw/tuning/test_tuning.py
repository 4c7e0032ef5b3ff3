"""Training for codecs: what is pruned stays so, clusters move by their summed gradients, losses are the
sources'."""

import numpy as np
import pytest
import torch
from torch import nn

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs import pruned, scalar
from kestrel.sw.tuning.netvlad import SHARPNESS, NetVlad
from kestrel.sw.tuning.place_triplets import place_loss
from kestrel.sw.tuning.shared_weights import SharedWeights
from kestrel.sw.tuning.sparse import Pruner, PruneSchedule, kernels_of, l1_penalty

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def task(seed):
    """A small network, and pictures with values to learn: y is a fixed function of x."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4))
    x = torch.randn(64, 3, 6, 6, generator=generator)
    y = torch.stack([x[:, 0].mean((1, 2)), x[:, 1, 2:4, 2:4].mean((1, 2)), x[:, 2, 0, 0],
                     x.mean((1, 2, 3))], 1)
    return model, x, y


def train(model, x, y, steps, after=lambda: None, extra=lambda: 0.0, parameters=None, rate=0.01):
    """The losses before and after."""
    optimiser = torch.optim.Adam(parameters or model.parameters(), rate)
    losses = []
    for _ in range(steps):
        model.zero_grad()
        error = nn.functional.mse_loss(model(x), y)
        (error + extra()).backward()
        losses.append(float(error.detach()))
        after("before step")
        optimiser.step()
        after("after step")
    return losses[0], float(nn.functional.mse_loss(model(x), y).detach())


def silent(_):
    """Nothing is done around the steps."""


def test_the_penalty_is_the_sum_of_magnitudes():
    weights = {"a": torch.tensor([[1.0, -2.0]], requires_grad=True), "b": torch.tensor([[0.5]])}
    penalty = l1_penalty(weights, 0.1)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(0.35)
    torch.testing.assert_close(weights["a"].grad, torch.tensor([[0.1, -0.1]]))
    with pytest.raises(InputError, match="L1 strength -1; allowed: 0 or more"):
        l1_penalty(weights, -1)


def test_a_penalty_makes_more_weights_small(task):
    model, x, y = task
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4))
    other.load_state_dict(model.state_dict())
    train(model, x, y, 120, silent)
    train(other, x, y, 120, silent, lambda: l1_penalty(kernels_of(other), 0.01))

    def small(network):
        return sum(int((weight.abs() < 0.01).sum()) for weight in kernels_of(network).values())

    assert small(other) > 2 * small(model)


def test_pruning_in_rounds_keeps_what_is_pruned_at_zero_and_learns_again(task):
    model, x, y = task
    train(model, x, y, 100, silent)
    pruner = Pruner(model, PruneSchedule(1.0, rounds=3))
    shares = []
    for number in (1, 2, 3):
        pruner.prune(number)
        shares.append(pruner.share)
        pruned_away = float(nn.functional.mse_loss(model(x), y).detach())
        _, trained = train(model, x, y, 60, lambda when: pruner.hold() if when == "after step" else None)
        assert trained < pruned_away
    assert shares == sorted(shares)
    assert 0.4 < shares[-1] < 0.9
    for name, weight in kernels_of(model).items():
        assert (weight[~pruner.kept[name]] == 0).all()
        # The codec finds the same zeros without a threshold of its own.
        found = pruned.decode(pruned.encode(weight.detach().numpy(), pruned.PrunedOptions(0.0, 8)))
        assert (found[~pruner.kept[name].numpy()] == 0).all()


@pytest.mark.parametrize(("threshold", "rounds"), [(0, 1), (-1, 1), (1, 0)])
def test_bad_schedules_are_refused(threshold, rounds):
    with pytest.raises(InputError, match="allowed"):
        PruneSchedule(threshold, rounds)


def test_a_centre_gets_the_sum_of_its_clusters_gradients():
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.1, -2.0, -2.1]]))
    shared = SharedWeights(model, 1)
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[1.05, 1.05, -2.05, -2.05]]))
    model(torch.tensor([[1.0, 2.0, 4.0, 8.0]])).sum().backward()
    shared.gather()
    torch.testing.assert_close(shared.centres["weight"].grad, torch.tensor([12.0, 3.0]))


def test_trained_centres_lose_less_than_fixed_ones_and_stay_a_codebook(task):
    model, x, y = task
    train(model, x, y, 150, silent)
    pruner = Pruner(model, PruneSchedule(0.3))
    pruner.prune(1)
    shared = SharedWeights(model, 2, pruner.kept)

    def around(when):
        (shared.gather if when == "before step" else shared.spread)()

    fixed, trained = train(model, x, y, 100, around, parameters=[*shared.centres.values()], rate=0.005)
    assert trained < fixed
    for name, weight in kernels_of(model).items():
        values = weight.detach()[pruner.kept[name]].numpy()
        assert len(np.unique(values)) <= 4
        found = scalar.decode(scalar.encode(values, scalar.ScalarOptions(bits=2)))
        np.testing.assert_array_equal(found, values)
        assert (weight[~pruner.kept[name]] == 0).all()


def test_the_loss_is_the_posters(rng):
    descriptors = nn.functional.normalize(torch.from_numpy(rng.standard_normal((6, 5))), dim=1)
    places = torch.tensor([0, 0, 1, 1, 2, 3])
    found = place_loss(descriptors, places, margin=0.3)
    distance = ((descriptors[:, None] - descriptors) ** 2).sum(dim=2).numpy()
    expected = []
    for query in range(4):  # the others have no positive
        positive = min(distance[query, p] for p in range(6) if p != query and places[p] == places[query])
        negative = min(distance[query, n] for n in range(6) if places[n] != places[query])
        expected.append(0.5 * max(0.0, 0.3 + positive - negative))
    assert found.triplets == 4
    assert float(found.loss) == pytest.approx(np.mean(expected))
    assert found.active == sum(value > 0 for value in expected)


def test_more_negatives_are_the_next_nearest(rng):
    descriptors = nn.functional.normalize(torch.from_numpy(rng.standard_normal((6, 5))), dim=1)
    places = torch.tensor([0, 0, 1, 1, 2, 2])
    assert place_loss(descriptors, places, 0.1, 3).triplets == 18
    assert place_loss(descriptors, places, 0.1, 50).triplets == 24  # four of other places for each
    assert float(place_loss(descriptors, torch.arange(6), 0.1).loss) == 0
    for bad in ({"margin": 0}, {"negatives": 0}):
        with pytest.raises(InputError, match="allowed"):
            place_loss(descriptors, places, **bad)


def test_netvlad_begins_with_the_clusters_own_assignment(rng):
    columns = np.concatenate([rng.standard_normal((40, 6)) * 0.1 + centre
                              for centre in rng.standard_normal((3, 6)) * 2]).astype(np.float32)
    vlad = NetVlad(columns, 3)
    with torch.no_grad():
        x = nn.functional.normalize(torch.from_numpy(columns), dim=1)
        share = vlad.assignment(x[:, :, None, None]).softmax(dim=1)[:, :, 0, 0]
        distances = ((x[:, None] - vlad.centres) ** 2).sum(dim=2)
    torch.testing.assert_close(share, (-vlad.sharpness * distances).softmax(dim=1), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(share.argmax(dim=1), distances.argmin(dim=1))
    first, second = share.double().log().topk(2, dim=1).values.T
    assert float((first - second).mean()) == pytest.approx(np.log(SHARPNESS), rel=1e-3)


def test_netvlad_is_the_sum_of_residuals(rng):
    columns = rng.standard_normal((30, 5)).astype(np.float32)
    vlad = NetVlad(columns, 4)
    features = torch.from_numpy(rng.standard_normal((2, 5, 3, 4)).astype(np.float32))
    found = vlad(features).detach().numpy()
    for number in range(2):
        x = nn.functional.normalize(features[number].flatten(1).T, dim=1)
        with torch.no_grad():
            share = vlad.assignment(x[:, :, None, None]).softmax(dim=1)[:, :, 0, 0]
        total = np.zeros((4, 5))
        for column, weights in zip(x.numpy(), share.numpy(), strict=True):
            total += weights[:, None] * (column - vlad.centres.detach().numpy())
        total /= np.linalg.norm(total, axis=1, keepdims=True)
        np.testing.assert_allclose(found[number], total.ravel() / np.linalg.norm(total), atol=1e-5)


def test_netvlad_learns_to_tell_places_apart(rng):
    """Its descriptors under the mined loss."""
    maps = torch.from_numpy(np.repeat(rng.standard_normal((4, 6, 4, 4)), 3, axis=0).astype(np.float32))
    maps = (maps + 1.2 * torch.from_numpy(rng.standard_normal(maps.shape).astype(np.float32))).relu()
    places = torch.arange(4).repeat_interleave(3)
    vlad = NetVlad(maps.permute(0, 2, 3, 1).reshape(-1, 6).numpy(), 4)
    optimiser = torch.optim.Adam(vlad.parameters(), 0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = place_loss(vlad(maps), places, 0.3, 3).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_too_few_columns_are_refused(rng):
    with pytest.raises(InputError, match="8 clusters of 10 columns; allowed: 2 or more, of at least twice"):
        NetVlad(rng.standard_normal((10, 4)).astype(np.float32), 8)
