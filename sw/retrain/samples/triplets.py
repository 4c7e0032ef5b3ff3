"""Training with groups: a triplet loss on descriptors, its triplets mined in the batch, and batches that
contain triplets.

Any descriptor can be used, as long as it is one vector of unit length for each picture: squared distances are
then 2 - 2 cos.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.samples.batches import Order
from kestrel.sw.retrain.samples.folder import UNKNOWN

MARGIN = 0.1
"""The margin, in squared distance, by which a negative should be farther away than a positive."""


@dataclass(frozen=True)
class Triplets:
    """The triplets as rows of a batch, int64 [T] each."""

    anchor: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor


@dataclass(frozen=True)
class TripletLoss:
    """``loss`` is a scalar, ``count`` the number of triplets, ``active`` those not yet far enough apart."""

    loss: torch.Tensor
    count: int
    active: int


def squared_distances(descriptors: torch.Tensor) -> torch.Tensor:
    """Squared distances [N, N], not negative, among descriptors [N, D] of unit length."""
    return (2 - 2 * descriptors @ descriptors.T).clamp_min(0)


def _relations(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two bool [N, N]: pairs of different pictures of the same group, and pairs of different known groups."""
    known = groups != UNKNOWN
    alike = groups[:, None] == groups
    both = known[:, None] & known
    same = alike & both & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    return same, ~alike & both


def batch_hard(distances: torch.Tensor, groups: torch.Tensor, margin: float) -> Triplets:  # noqa: ARG001
    """For every picture as anchor, the farthest of its group and the nearest of all others (Hermans et al.
    2017)."""
    same, other = _relations(groups)
    anchor = (same.any(dim=1) & other.any(dim=1)).nonzero()[:, 0]
    positive = distances.masked_fill(~same, -1).argmax(dim=1)
    negative = distances.masked_fill(~other, torch.inf).argmin(dim=1)
    return Triplets(anchor, positive[anchor], negative[anchor])


def semi_hard(distances: torch.Tensor, groups: torch.Tensor, margin: float) -> Triplets:
    """For every pair of a group, the nearest negative that is farther away than the positive, but by less
    than the margin (Schroff et al. 2015). Pairs without such a negative give no triplet."""
    same, other = _relations(groups)
    anchor, positive = same.nonzero(as_tuple=True)
    apart = distances[anchor, positive][:, None]
    rows = distances[anchor]
    band = other[anchor] & (rows > apart) & (rows < apart + margin)
    has = band.any(dim=1)
    negative = rows.masked_fill(~band, torch.inf).argmin(dim=1)
    return Triplets(anchor[has], positive[has], negative[has])


MINERS: dict[str, Callable[[torch.Tensor, torch.Tensor, float], Triplets]] = {
    "batch-hard": batch_hard, "semi-hard": semi_hard,
}


def triplet_loss(descriptors: torch.Tensor, groups: torch.Tensor, mining: str = "batch-hard",
                 margin: float = MARGIN) -> TripletLoss:
    """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin) over mined triplets.

    ``descriptors`` are [N, D] of unit length. ``groups`` are int64 [N]; pictures with UNKNOWN take no part.
    Without triplets the loss is 0, with a gradient of 0. Raises InputError for an unknown mining or a margin
    that is not positive.
    """
    if mining not in MINERS:
        raise InputError(f"mining {mining!r}; allowed: {', '.join(MINERS)}")
    if not margin > 0:
        raise InputError(f"margin {margin:g}; allowed: above 0")
    distances = squared_distances(descriptors)
    found = MINERS[mining](distances.detach(), groups, margin)
    excess = distances[found.anchor, found.positive] - distances[found.anchor, found.negative] + margin
    loss = excess.clamp_min(0).sum() / max(len(excess), 1)
    return TripletLoss(loss, len(excess), int((excess > 0).sum()))


def grouped(groups: Sequence[int], groups_per_batch: int, pictures_per_group: int, seed: int) -> Order:
    """Batches of ``groups_per_batch`` groups, with ``pictures_per_group`` different pictures of each, side by
    side. The pictures of a smaller group are repeated, differently augmented.

    In every epoch, each group of two or more pictures comes once, in random order, with pictures drawn at
    random. An incomplete last batch is filled up with the first groups. Raises InputError if there are too
    few such groups, or if the batch is too small for a triplet.
    """
    if groups_per_batch < 2 or pictures_per_group < 2:
        raise InputError(f"batches of {groups_per_batch} groups with {pictures_per_group} pictures; "
                         "allowed: at least 2 and 2")
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        if group != UNKNOWN:
            members[group].append(row)
    usable = [rows for rows in members.values() if len(rows) > 1]
    if len(usable) < groups_per_batch:
        raise InputError(f"{len(usable)} groups of two pictures or more; "
                         f"allowed: at least {groups_per_batch}, as many as in a batch")

    def order(epoch: int) -> list[list[int]]:
        generator = np.random.default_rng((seed, epoch))
        turn = generator.permutation(len(usable))
        turn = np.resize(turn, -(-len(turn) // groups_per_batch) * groups_per_batch)
        picked = [_draw(usable[group], pictures_per_group, generator) for group in turn]
        return [[row for rows in picked[first : first + groups_per_batch] for row in rows]
                for first in range(0, len(picked), groups_per_batch)]

    return order


def _draw(rows: list[int], count: int, generator: np.random.Generator) -> list[int]:
    return np.resize(generator.permutation(rows), count).tolist()
