"""A teacher of several maps: each is whitened by region, and the joined vectors' similarities are learnt.

The map of one layer limits what a descriptor of the same layer can tell apart. Descriptors of several maps
tell more, but have more dimensions than the student's map has channels. So it is not their vectors that are
taught but their similarities, among all regions of all crops of a batch and among the crops.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from kestrel.sw.retrain.dense.passes import Maps, Pass
from kestrel.sw.retrieval.pooling.differentiable import region_vectors

SMALLEST_SHARE = 1e-6
"""Directions of less variance than this share of the largest are left out of a whitening."""


@dataclass(frozen=True)
class RegionWhitening:
    """mean: float32 [C]; projection: float32 [K, C]."""

    mean: torch.Tensor
    projection: torch.Tensor

    def regions(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, R, K] of the regions of maps [N, C, H, W]."""
        vectors = torch.stack(region_vectors(features), dim=1) - self.mean
        return functional.normalize(vectors @ self.projection.T, dim=2)


@torch.no_grad()
def fit_whitening(vectors: torch.Tensor, dimension: int) -> RegionWhitening:
    """PCA whitening of vectors [M, C] to at most ``dimension`` dimensions."""
    mean = vectors.mean(0)
    values, axes = torch.linalg.eigh(torch.cov((vectors - mean).T.double()))
    kept = max(1, min(dimension, int((values > SMALLEST_SHARE * values[-1]).sum())))
    return RegionWhitening(mean, (axes[:, -kept:] / values[-kept:].sqrt()).T.float().contiguous())


@torch.no_grad()
def whitening_of(passes: Sequence[Pass], name: str, dimension: int, every: int = 1) -> RegionWhitening:
    """The whitening of the map ``name`` from every ``every``-th crop of the passes."""
    vectors = [torch.cat(region_vectors(batch[name])) for given in passes
               for batch in given.part(every).batches([name])]
    return fit_whitening(torch.cat(vectors), dimension)


@dataclass(frozen=True)
class Joined:
    """The teacher: the whitenings of its maps by name."""

    whitenings: dict[str, RegionWhitening]

    def regions(self, maps: Maps) -> torch.Tensor:
        """float32 [N, R, D]: the maps' vectors of a region, each a unit vector, one behind the other."""
        return torch.cat([given.regions(maps[name]) for name, given in self.whitenings.items()], dim=2)

    def pictures(self, maps: Maps) -> torch.Tensor:
        """Unit vectors [N, D]: each map's regions averaged, the unit vectors joined."""
        parts = [picture_vectors(given.regions(maps[name])) for name, given in self.whitenings.items()]
        return functional.normalize(torch.cat(parts, dim=1), dim=1)


def picture_vectors(regions: torch.Tensor) -> torch.Tensor:
    """Unit vectors [N, K] of regions [N, R, K]."""
    return functional.normalize(regions.mean(1), dim=1)


def relation(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared difference of the cosines among vectors [M, K] and among vectors [M, D], over the square
    of the latter; a vector's with itself are left out."""
    a, b = (functional.normalize(x, dim=1) @ functional.normalize(x, dim=1).T for x in (found, wanted))
    apart = ~torch.eye(len(a), dtype=torch.bool)
    return (a - b)[apart].square().mean() / b[apart].square().mean().clamp_min(1e-12)


@dataclass(frozen=True)
class JoinedLoss:
    """own: the whitening of the map that is trained, as it was at the start; teacher: what it learns from."""

    own: RegionWhitening
    teacher: Joined

    @property
    def names(self) -> tuple[str, ...]:
        """The maps that it needs."""
        return tuple(self.teacher.whitenings)

    def terms(self, found: torch.Tensor, maps: Maps) -> dict[str, torch.Tensor]:
        """``regions``: the relations of all regions of the crops; ``pictures``: of the crops."""
        own, taught = self.own.regions(found), self.teacher.regions(maps)
        return {"regions": relation(own.flatten(0, 1), taught.flatten(0, 1)),
                "pictures": relation(picture_vectors(own), self.teacher.pictures(maps))}
