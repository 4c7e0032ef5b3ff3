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
from kestrel.sw.retrain.dense.passes import Pass
from kestrel.sw.retrain.losses import similarities
from kestrel.sw.retrieval.pooling.differentiable import NipDescriptor


@dataclass(frozen=True)
class PhaseSettings:
    """One phase of training. ``rate`` is relative to the root mean square of a layer's weights, and
    ``norm_rate`` to that. The factors are those of the loss's terms: ``descriptor``, 1 - cosine between
    descriptors, and ``relation``, the difference of their similarities, beside the squared difference of the
    maps over the teacher's variance."""

    steps: int
    batch: int = 8
    rate: float = 0.02
    norm_rate: float = 0.3
    descriptor: float = 4.0
    relation: float = 1.0
    warmup: int = 20
    save_every: int = 25
    seed: int = 0


Figures = dict[str, float]


class DenseLoss:
    """``settings`` weigh the terms."""

    def __init__(self, settings: PhaseSettings) -> None:
        self.weights = {"map": 1.0, "descriptor": settings.descriptor, "relation": settings.relation}
        self.describe = NipDescriptor()

    def terms(self, found: torch.Tensor, wanted: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms, unweighted, of maps [N, C, H, W]."""
        own, taught = self.describe(found), self.describe(wanted)
        a, b = similarities(own), similarities(taught)
        apart = ~torch.eye(len(a), dtype=torch.bool)
        return {
            "map": map_difference(found, wanted),
            "descriptor": 1 - (own * taught).sum(1).mean(),
            "relation": (a - b)[apart].square().mean() / b[apart].square().mean().clamp_min(1e-12),
        }

    def total(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def map_difference(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared difference of maps [N, C, H, W], over the variance of the channels wanted."""
    power = wanted.var((0, 2, 3)).sum().clamp_min(torch.finfo(torch.float32).tiny)
    return (found - wanted).square().mean((0, 2, 3)).sum() / power


@torch.no_grad()
def validate(layers: nn.Sequential, read: str, taught: str, held_out: Pass) -> Figures:
    """Over whole pictures: ``map``, as in training; ``cosine`` to the teacher's descriptors; ``agreement``,
    the correlation of the similarities among all pairs, once their mean is subtracted."""
    layers.eval()
    describe, own, theirs, maps = NipDescriptor(), [], [], []
    for batch in held_out.batches([read, taught]):
        found = layers(batch[read])
        maps.append(float(map_difference(found, batch[taught])))
        own.append(describe(found))
        theirs.append(describe(batch[taught]))
    layers.train()
    a, b = torch.cat(own), torch.cat(theirs)
    rows, columns = torch.triu_indices(len(a), len(a), 1).unbind()
    pairs = torch.stack([similarities(x)[rows, columns] for x in (a, b)])
    return {"map": float(np.mean(maps)), "cosine": float((a * b).sum(1).mean()),
            "agreement": float(torch.corrcoef(pairs)[0, 1])}


def train(layers: nn.Sequential, read: str, taught: str, passes: Sequence[Pass], held_out: Pass,
          settings: PhaseSettings, checkpoint: Path, log: Callable[[Figures], None]) -> None:
    """Trains ``layers``, that read the map ``read``, towards the map ``taught``. A run that was stopped goes
    on from ``checkpoint``."""
    loss = DenseLoss(settings)
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
        given = passes[int(generator.integers(len(passes)))]
        rows = generator.choice(len(given), min(settings.batch, len(given)), replace=False)
        maps = given.read(np.sort(rows).tolist(), [read, taught])
        terms = loss.terms(layers(maps[read]), maps[taught])
        optimiser.zero_grad()
        loss.total(terms).backward()
        optimiser.step()
        sums.append({name: float(term.detach()) for name, term in terms.items()})
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            means = {name: float(np.mean([line[name] for line in sums])) for name in terms}
            valid = {f"{k}_held_out": v for k, v in validate(layers, read, taught, held_out).items()}
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
