"""Training layers behind a frozen network towards a teacher's map: by position and by descriptors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrain.course import rate_factor
from kestrel.sw.retrain.dense.layers import NormalisedConv
from kestrel.sw.retrain.dense.passes import Maps, Pass
from kestrel.sw.retrain.dense.relations import JoinedLoss, picture_vectors
from kestrel.sw.retrain.losses import similarities
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor


@dataclass(frozen=True)
class PhaseSettings:
    """One phase of training. ``rate`` is relative to the root mean square of a layer's weights, and
    ``norm_rate`` to that. The factors are those of the loss's terms: ``descriptor``, 1 - cosine between
    descriptors, and ``relation``, the difference of their similarities, beside the squared difference of the
    maps over the teacher's variance; ``regions`` and ``pictures`` are those of a joined teacher. ``views``:
    crops of one photograph in a batch, of different passes."""

    steps: int
    batch: int = 8
    rate: float = 0.02
    norm_rate: float = 0.3
    descriptor: float = 4.0
    relation: float = 1.0
    regions: float = 1.0
    pictures: float = 1.0
    views: int = 1
    warmup: int = 20
    save_every: int = 25
    seed: int = 0


Figures = dict[str, float]


class DenseLoss:
    """``settings`` weigh the terms; ``taught`` is the name of the teacher's map, and with ``joined`` there
    are further ones."""

    def __init__(self, settings: PhaseSettings, taught: str, joined: JoinedLoss | None = None) -> None:
        self.weights = {"map": 1.0, "descriptor": settings.descriptor, "relation": settings.relation,
                        "regions": settings.regions, "pictures": settings.pictures}
        self.describe = NipDescriptor()
        self.taught, self.joined = taught, joined

    @property
    def names(self) -> list[str]:
        """The teacher's maps that the terms need."""
        return sorted({self.taught, *(self.joined.names if self.joined else ())})

    def terms(self, found: torch.Tensor, maps: Maps) -> dict[str, torch.Tensor]:
        """The terms, unweighted, of the map found, [N, C, H, W], and the teacher's."""
        wanted = maps[self.taught]
        own, taught = self.describe(found), self.describe(wanted)
        a, b = similarities(own), similarities(taught)
        apart = ~torch.eye(len(a), dtype=torch.bool)
        joined = self.joined.terms(found, maps) if self.joined else {}
        return {
            "map": map_difference(found, wanted),
            "descriptor": 1 - (own * taught).sum(1).mean(),
            "relation": (a - b)[apart].square().mean() / b[apart].square().mean().clamp_min(1e-12),
            **joined,
        }

    def total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def map_difference(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared difference of maps [N, C, H, W], over the variance of the channels wanted."""
    power = wanted.var((0, 2, 3)).sum().clamp_min(torch.finfo(torch.float32).tiny)
    return (found - wanted).square().mean((0, 2, 3)).sum() / power


@torch.no_grad()
def validate(layers: nn.Sequential, read: str, loss: DenseLoss, held_out: Pass) -> Figures:
    """Over whole pictures: ``map``, as in training; ``cosine`` to the teacher's descriptors; ``agreement``,
    the correlation of the similarities among all pairs, once their mean is subtracted; ``joined``, the same
    of the whitened descriptors and a joined teacher's."""
    layers.eval()
    differences, pairs, joined = [], [], []
    for batch in held_out.batches([read, *loss.names]):
        found = layers(batch[read])
        differences.append(float(map_difference(found, batch[loss.taught])))
        pairs.append((loss.describe(found), loss.describe(batch[loss.taught])))
        if loss.joined:
            own = picture_vectors(loss.joined.own.regions(found))
            joined.append((own, loss.joined.teacher.pictures(batch)))
    layers.train()
    own, theirs = (torch.cat(vectors) for vectors in zip(*pairs, strict=True))
    figures = {"map": float(np.mean(differences)), "cosine": float((own * theirs).sum(1).mean()),
               "agreement": agreement(own, theirs)}
    if joined:
        figures["joined"] = agreement(*(torch.cat(vectors) for vectors in zip(*joined, strict=True)))
    return figures


def agreement(own: torch.Tensor, theirs: torch.Tensor) -> float:
    """The correlation of the similarities among vectors [N, K] and among vectors [N, D], over all pairs."""
    rows, columns = torch.triu_indices(len(own), len(own), 1).unbind()
    return float(torch.corrcoef(torch.stack([similarities(x)[rows, columns] for x in (own, theirs)]))[0, 1])


def draw(generator: np.random.Generator, passes: Sequence[Pass], settings: PhaseSettings,
         names: Sequence[str]) -> Maps:
    """The named maps of a batch: photographs drawn, with one crop or several of each."""
    first = int(generator.integers(len(passes)))
    count = settings.batch // settings.views
    rows = generator.choice(len(passes[first]), min(count, len(passes[first])), replace=False)
    given = [passes[(first + k) % len(passes)].read(np.sort(rows).tolist(), names)
             for k in range(settings.views)]
    return {name: torch.cat([maps[name] for maps in given]) for name in names}


def train(layers: nn.Sequential, read: str, loss: DenseLoss, passes: Sequence[Pass], held_out: Pass,
          settings: PhaseSettings, checkpoint: Path, log: Callable[[Figures], None]) -> None:
    """Trains ``layers``, that read the map ``read``. A run that was stopped goes on from ``checkpoint``."""
    groups = _groups(layers, settings)
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    begin = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        layers.load_state_dict(state["layers"])
        optimiser.load_state_dict(state["optimiser"])
        rates, begin = state["rates"], state["step"]
    layers.train()
    start, sums = perf_counter(), []
    for step in range(begin, settings.steps):
        generator = np.random.default_rng((settings.seed, step))
        factor = rate_factor("cosine", step, settings.steps, settings.warmup)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        maps = draw(generator, passes, settings, [read, *loss.names])
        terms = loss.terms(layers(maps[read]), maps)
        optimiser.zero_grad()
        loss.total(terms).backward()
        optimiser.step()
        sums.append({name: float(term.detach()) for name, term in terms.items()})
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            means = {name: float(np.mean([line[name] for line in sums])) for name in terms}
            valid = {f"{k}_held_out": v for k, v in validate(layers, read, loss, held_out).items()}
            log({"step": step + 1, "seconds": perf_counter() - start, **means, **valid})
            sums = []
            with atomic_write(checkpoint) as temporary:
                torch.save({"layers": layers.state_dict(), "optimiser": optimiser.state_dict(),
                            "rates": rates, "step": step + 1}, temporary)
    layers.eval()


def _groups(layers: nn.Sequential, settings: PhaseSettings) -> list[dict]:
    groups = []
    for layer in layers:
        assert isinstance(layer, NormalisedConv)
        size = float(layer.conv.weight.detach().square().mean().sqrt())
        groups.append({"params": [layer.conv.weight], "lr": settings.rate * size})
        size = float(layer.norm.weight.detach().square().mean().sqrt())
        groups.append({"params": [layer.norm.weight, layer.norm.bias],
                       "lr": settings.rate * settings.norm_rate * size})
    return groups
