"""Training with labels: a classifier on the pooled features, cross-entropy, and the T1 and T5 accuracies.

The classifier is used in training only: it stays in floating point and is not part of the exported network.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.retrain.samples.folder import UNKNOWN


class Classifier(nn.Module):
    """Features [N, C, H, W] -> mean over the map -> layer norm -> linear -> logits [N, classes].

    The norm makes the classifier independent of the scale of the features, which is that of pixels with one
    preprocessing and that of small numbers with another. It normalises each picture and not the batch, so
    that several processes compute what one would.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(features.mean(dim=(2, 3))))


def label_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy over the pictures that have a label; 0, with a gradient of 0, if none has one."""
    known = int((labels != UNKNOWN).sum())
    total = functional.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum",
                                     label_smoothing=smoothing)
    return total / max(known, 1)


@dataclass
class Hits:
    """How often, among ``count`` pictures, the right class came first (t1) or among the first five (t5)."""

    t1: int = 0
    t5: int = 0
    count: int = 0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts a batch: logits [N, classes], labels int64 [N]; pictures without a label do not count.

        The rank of the right class is the number of classes with at least its score. Ties, such as those of a
        network with constant output, therefore count against it.
        """
        known = labels != UNKNOWN
        scores, right = logits[known], labels[known, None]
        rank = (scores >= scores.gather(1, right)).sum(dim=1)
        # NaN compares as at least nothing, which would give rank 0.
        rank = torch.where(scores.isfinite().all(dim=1), rank, scores.shape[1] + 5)
        self.t1 += int((rank <= 1).sum())
        self.t5 += int((rank <= 5).sum())
        self.count += int(known.sum())

    @property
    def t1_share(self) -> float:
        return self.t1 / max(self.count, 1)

    @property
    def t5_share(self) -> float:
        return self.t5 / max(self.count, 1)
