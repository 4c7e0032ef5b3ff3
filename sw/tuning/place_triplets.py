"""The poster's triplet loss for place recognition, with negatives that are mined in the batch:

    1/2 max(0, m + |q - p|^2 - |q - n|^2).

The factor 1/2 is the poster's; NetVLAD's own loss has none (Arandjelovic et al. 2016). The positive of a
query is the nearest of its place, as there, and its negatives are the nearest of other places. """

from dataclasses import dataclass

import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.retrain.samples.triplets import squared_distances

MARGIN = 0.1


@dataclass(frozen=True)
class MinedLoss:
    """loss: a scalar, the mean over the triplets; triplets: how many; active: those that have a gradient."""

    loss: torch.Tensor
    triplets: int
    active: int


def place_loss(descriptors: torch.Tensor, places: torch.Tensor, margin: float = MARGIN,
               negatives: int = 1) -> MinedLoss:
    """The loss of descriptors [N, D] of unit length, of ``places`` int64 [N]; for every query ``negatives``
    of the nearest pictures of other places, fewer where there are fewer. Without triplets 0. Raises
    InputError."""
    if not margin > 0:
        raise InputError(f"margin {margin:g}; allowed: above 0")
    if negatives < 1:
        raise InputError(f"negatives {negatives}; allowed: 1 or more")
    distances = squared_distances(descriptors)
    alike = places[:, None] == places
    itself = torch.eye(len(places), dtype=torch.bool, device=places.device)
    positives = distances.masked_fill(~alike | itself, torch.inf).min(dim=1).values
    nearest = distances.masked_fill(alike, torch.inf).topk(min(negatives, len(places)), largest=False).values
    excess = margin + positives[:, None] - nearest
    valid = torch.isfinite(positives)[:, None] & torch.isfinite(nearest)
    hinge = torch.where(valid, excess, torch.zeros_like(excess)).clamp_min(0) / 2
    count = int(valid.sum())
    return MinedLoss(hinge.sum() / max(count, 1), count, int((hinge > 0).sum()))
