"""Trained quantisation: weights are clustered, and their centres are what is trained (Han et al. 2016; the
poster's method 4). The gradients of all weights of a cluster are summed, and the centre moves by the sum."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from kestrel.sw.codecs.coding.codebooks import lloyd_max, nearest
from kestrel.sw.tuning.sparse import kernels_of


class SharedWeights:
    """The convolutions and dense layers of a model with weights from a codebook a layer of at most 2**bits
    centres.

    ``centres`` are parameters to hand to an optimiser. Around every step: ``gather`` sums the gradients of
    the weights into those of their centres, the optimiser moves the centres, ``spread`` writes them back into
    the weights. Zeros that ``kept`` marks as pruned stay zeros and belong to no cluster. """

    def __init__(self, model: nn.Module, bits: int, kept: Mapping[str, torch.Tensor] | None = None) -> None:
        self._weights = kernels_of(model)
        self._kept = {name: torch.ones_like(weight, dtype=torch.bool) if kept is None else kept[name]
                      for name, weight in self._weights.items()}
        self._members: dict[str, torch.Tensor] = {}
        self.centres: dict[str, nn.Parameter] = {}
        for name, weight in self._weights.items():
            values = weight.detach()[self._kept[name]].cpu().numpy().astype(np.float32)
            levels = lloyd_max(values, 1 << bits)
            self._members[name] = torch.from_numpy(nearest(values, levels)).to(weight.device)
            self.centres[name] = nn.Parameter(torch.from_numpy(levels).to(weight.device))
        self.spread()

    def gather(self) -> None:
        """Sums the gradients of each cluster's weights."""
        for name, weight in self._weights.items():
            centre = self.centres[name]
            if weight.grad is not None:
                summed = torch.zeros_like(centre)
                centre.grad = summed.index_add_(0, self._members[name], weight.grad[self._kept[name]])

    @torch.no_grad()
    def spread(self) -> None:
        """Gives every weight its centre's value."""
        for name, weight in self._weights.items():
            values = torch.zeros_like(weight)
            values[self._kept[name]] = self.centres[name][self._members[name]]
            weight.copy_(values)
