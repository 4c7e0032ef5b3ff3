"""Sparse weights by training: an L1 penalty, and pruning by threshold that is repeated between steps (the
poster's methods 1 and 3; Han et al. 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from kestrel.hw.spec.errors import InputError


def kernels_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the model's convolutions and dense layers by name: what is penalised and pruned."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.ndim in (2, 4)}


def l1_penalty(weights: Mapping[str, torch.Tensor], strength: float) -> torch.Tensor:
    """strength * sum |W|, a scalar: the second term of the poster's J. Raises InputError for a negative
    strength."""
    if strength < 0:
        raise InputError(f"L1 strength {strength:g}; allowed: 0 or more")
    return strength * torch.stack([weight.abs().sum() for weight in weights.values()]).sum()


@dataclass(frozen=True)
class PruneSchedule:
    """threshold: in standard deviations of a layer's weights at its start; rounds: over which it grows from
    0, each followed by training. Raises InputError."""

    threshold: float
    rounds: int = 1

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise InputError(f"threshold {self.threshold:g}; allowed: above 0")
        if self.rounds < 1:
            raise InputError(f"rounds {self.rounds}; allowed: 1 or more")

    def at(self, number: int) -> float:
        """The threshold of round ``number``, from 1."""
        return self.threshold * number / self.rounds


class Pruner:
    """Prunes a model round by round and keeps what was pruned at zero while it is trained.

    ``prune`` begins a round; ``hold`` is called after every step of the optimiser. What is pruned once stays
    so. """

    def __init__(self, model: nn.Module, schedule: PruneSchedule) -> None:
        self.schedule = schedule
        self._weights = kernels_of(model)
        self._units = {name: float(weight.detach().std()) for name, weight in self._weights.items()}
        self.kept = {name: torch.ones_like(weight, dtype=torch.bool)
                     for name, weight in self._weights.items()}

    def prune(self, number: int) -> None:
        """Takes away what lies below the threshold of round ``number``, from 1."""
        for name, weight in self._weights.items():
            self.kept[name] &= weight.detach().abs() >= self.schedule.at(number) * self._units[name]
        self.hold()

    @torch.no_grad()
    def hold(self) -> None:
        """Sets what was pruned to zero."""
        for name, weight in self._weights.items():
            weight.mul_(self.kept[name])

    @property
    def share(self) -> float:
        """Of the weights that are pruned."""
        kept = sum(int(mask.sum()) for mask in self.kept.values())
        return 1 - kept / sum(mask.numel() for mask in self.kept.values())
