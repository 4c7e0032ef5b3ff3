"""NetVLAD (Arandjelovic et al. 2016): the residuals of a map's columns to cluster centres, weighted by a soft
assignment that starts as that of the clusters."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.codebooks import kmeans

SHARPNESS = 100.0
"""How much greater the assignment to the nearest centre is at the start than to the next: the ratio of their
weights, on average over the columns that the centres were found from."""


class NetVlad(nn.Module):
    """Features [N, C, H, W] -> unit vectors [N, clusters * C].

    ``columns``, float32 [M, C], are columns of maps of pictures, at least two for each cluster. The
    assignment of a normalised column x to centre c_k begins as softmax(-a |x - c_k|^2): a convolution of
    weights 2 a c_k and biases -a |c_k|^2, which training changes freely, as it does the centres. Raises
    InputError. """

    def __init__(self, columns: np.ndarray, clusters: int, seed: int = 0) -> None:
        super().__init__()
        if clusters < 2 or len(columns) < 2 * clusters:
            raise InputError(f"{clusters} clusters of {len(columns)} columns; allowed: 2 or more, of at "
                             "least twice as many columns")
        unit = columns / np.maximum(np.linalg.norm(columns, axis=1, keepdims=True), 1e-12)
        centres = kmeans(unit.astype(np.float32), clusters, seed)
        squares = np.sort(((unit[:, None] - centres) ** 2).sum(axis=2), axis=1)
        gap = float((squares[:, 1] - squares[:, 0]).mean()) or 1.0
        self.sharpness = float(np.log(SHARPNESS)) / gap
        self.centres = nn.Parameter(torch.from_numpy(centres))
        self.assignment = nn.Conv2d(columns.shape[1], clusters, 1)
        with torch.no_grad():
            self.assignment.weight.copy_(2 * self.sharpness * self.centres[:, :, None, None])
            added = self.assignment.bias
            assert added is not None
            added.copy_(-self.sharpness * self.centres.square().sum(dim=1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Residuals are normalised by cluster, then as a whole."""
        x = functional.normalize(features, dim=1)
        share = self.assignment(x).softmax(dim=1).flatten(2)
        sums = share @ x.flatten(2).transpose(1, 2) - share.sum(dim=2)[:, :, None] * self.centres
        return functional.normalize(functional.normalize(sums, dim=2).flatten(1), dim=1)
