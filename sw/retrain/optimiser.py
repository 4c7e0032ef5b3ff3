"""The optimiser, and the learning rate of every parameter."""

from typing import Any

import torch

from kestrel.sw.retrain.losses import Loss
from kestrel.sw.retrain.networks.quantised_conv import QuantisedConv
from kestrel.sw.retrain.settings import TrainSettings
from kestrel.sw.retrain.validation import Student

BIAS_FLOOR = 0.01
"""The smallest size that a bias counts as when its rate is computed, relative to the layer's typical weight
times sqrt(fan-in). It is needed because all biases may be zero at the start."""

HEAD_RATE = {"adam": 1e-2, "adamw": 1e-2, "sgd": 1e-1}
"""The rate of the classifier, which starts from random numbers of size 1 / sqrt(channels)."""


def parameter_groups(student: Student, loss: Loss, settings: TrainSettings) -> list[dict[str, Any]]:
    """The optimiser's groups, each with a rate relative to the size of its parameters.

    The sizes of layers' weights differ by orders of magnitude, and their real units depend on the
    preprocessing. Training w / rms(w) instead of w with the rate r equals training w with the rate r * rms(w)
    by Adam, whose steps do not depend on the gradient's size, and r * rms(w)^2 by plain gradient descent.
    """
    groups: list[dict[str, Any]] = []
    power = 2 if settings.optimiser == "sgd" else 1

    seen: set[torch.nn.Parameter] = set()

    def add(parameter: torch.nn.Parameter, size: float, rate: float, decay: float = 0.0) -> None:
        # Layers whose outputs have one scale have one range.
        if parameter.requires_grad and parameter not in seen:
            seen.add(parameter)
            groups.append({"params": [parameter], "lr": rate * size**power, "weight_decay": decay})

    for conv in student.convs():
        size = _rms(conv.weight)
        add(conv.weight, size, settings.rate, settings.weight_decay)
        floor = BIAS_FLOOR * size * conv.weight[0].numel() ** 0.5
        add(conv.bias, max(_rms(conv.bias), floor), settings.rate)
        if conv.shortcut is not None:
            projection = conv.shortcut.ndim > 1
            decay = settings.weight_decay if projection else 0.0  # an identity's factors belong near 1
            add(conv.shortcut, _rms(conv.shortcut), settings.rate, decay)
        if isinstance(conv, QuantisedConv):
            add(conv.log_range, 1.0, settings.range_rate)
            if conv.scalars is not None:
                add(conv.scalars, _rms(conv.scalars), settings.rate)
    if loss.head is not None:
        head = list(loss.head.parameters())
        groups.append({"params": head, "lr": HEAD_RATE[settings.optimiser], "weight_decay": 0.0})
    return groups


def make_optimiser(groups: list[dict[str, Any]], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over the given groups."""
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.Adam(groups)


def _rms(parameter: torch.Tensor) -> float:
    return float(parameter.detach().double().square().mean().sqrt()) or 1e-8
