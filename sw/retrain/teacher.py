"""What a network learns from a stronger one that sees the same pictures: its map, through a linear head of
its own, and which of the pictures are alike."""

import torch
from torch import nn
from torch.nn import functional

from kestrel.sw.retrain.losses import similarities
from kestrel.sw.retrain.networks.floats import FloatConvs
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor


class Teacher(nn.Module):
    """``teacher``: a float network; its last map is pooled into descriptors, and the map behind ``layer`` is
    taught position by position to a student's map of ``channels`` channels. ``temperature``: of the
    distributions over the other pictures of a batch that the similarities of descriptors make.

    Raises ValueError if the teacher has no such layer.
    """

    def __init__(self, teacher: FloatConvs, layer: str, channels: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(requires_grad=False)
        self.numbers = ([known.name for known in teacher.shape.layers].index(layer),
                        len(teacher.shape.layers) - 1)
        self.head = nn.Conv2d(channels, teacher.shape.layers[self.numbers[0]].out_channels, 1)
        self.describe = NipDescriptor()
        self.temperature = temperature

    @torch.no_grad()
    def teach(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 RGB [N, H, W, 3] -> the map [N, C, h, w] with mean 0 and deviation 1 in every channel, and
        the logarithms of the distributions [N, N - 1]."""
        found = self.teacher(pictures, list(self.numbers))
        taught, last = (found[number] for number in self.numbers)
        return functional.batch_norm(taught, None, None, training=True), self._alike(self.describe(last))

    def terms(self, found: torch.Tensor, descriptors: torch.Tensor,
              taught: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Of a student's map [N, C, h', w'] and descriptors [N, D]: ``map``, the squared difference of the
        head's output and the map taught, which is brought to its size, over the latter's variance; and
        ``relation``, the Kullback-Leibler divergence of the distributions."""
        wanted, alike = taught
        given = functional.adaptive_avg_pool2d(wanted, (found.shape[2], found.shape[3]))
        return {
            "map": (self.head(found) - given).square().mean() / given.var().clamp_min(1e-6),
            "relation": functional.kl_div(self._alike(descriptors), alike, reduction="batchmean",
                                          log_target=True),
        }

    def _alike(self, descriptors: torch.Tensor) -> torch.Tensor:
        count = len(descriptors)
        others = similarities(descriptors)[~torch.eye(count, dtype=torch.bool)].reshape(count, count - 1)
        return (others / self.temperature).log_softmax(dim=1)
