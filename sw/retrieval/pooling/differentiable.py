"""The descriptor for training: nested invariance pooling in torch, with gradients.

``sw.retrieval.pooling.nip`` defines it. Regions, moments and norms here are the same, in float32 and for
batches.
"""

import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.retrieval.pooling.nip import NipSettings, map_regions

TINY = 1e-12
"""Added under the root, relative to the map's mean square, because the root's slope at 0 is infinite."""


class NipDescriptor(nn.Module):
    """Features [N, C, H, W], not negative -> unit vectors [N, C], for one rotation and without whitening.

    Parameters: the levels of the grid of regions, () for the whole map. Any module with this signature can
    replace it.
    """

    def __init__(self, levels: tuple[int, ...] = (1, 2, 3)) -> None:
        super().__init__()
        self.settings = NipSettings(levels=levels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        vectors = region_vectors(features, self.settings)
        assert vectors, "a map has at least one region"
        return functional.normalize(sum(vectors[1:], vectors[0]), dim=1)


def region_vectors(features: torch.Tensor, settings: NipSettings | None = None) -> list[torch.Tensor]:
    """Unit vectors [N, C] of each region of features [N, C, H, W], not negative."""
    x = features.float()
    # Scaled, because features may be integers up to 255 as well as activations in the thousands.
    scale = x.detach().square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    squares = (x * scale.rsqrt()).square()
    vectors = []
    for region in map_regions(features.shape[2], features.shape[3], settings or NipSettings()):
        inside = squares[:, :, region.top : region.top + region.height,
                         region.left : region.left + region.width]
        vectors.append(functional.normalize((inside.mean(dim=(2, 3)) + TINY).sqrt(), dim=1))
    return vectors
