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
        x = features.float()
        # Scaled, because features may be integers up to 255 as well as activations in the thousands.
        scale = x.detach().square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        squares = (x * scale.rsqrt()).square()
        total: torch.Tensor | None = None
        regions = map_regions(features.shape[2], features.shape[3], self.settings)
        for region in regions:
            inside = squares[:, :, region.top : region.top + region.height,
                             region.left : region.left + region.width]
            vector = functional.normalize((inside.mean(dim=(2, 3)) + TINY).sqrt(), dim=1)
            total = vector if total is None else total + vector
        assert total is not None, "a map has at least one region"
        return functional.normalize(total, dim=1)
