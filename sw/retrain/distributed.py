"""Several processes, as ``torchrun`` starts them: each takes its part of every batch, and gradients are
added.

A loss is a mean over the whole batch. Terms that are means over pictures are divided by the number of
processes (``share``). Terms over pairs of pictures are computed by every process on the descriptors of all
processes (``joined``), of which only its own carry gradients. In both cases the sum of the processes'
gradients is the gradient of the joined batch.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import distributed


def rank() -> int:
    return distributed.get_rank() if _running() else 0


_alone = False


def world_size() -> int:
    return distributed.get_world_size() if _running() and not _alone else 1


@contextmanager
def alone() -> Iterator[None]:
    """Within this context a process computes as if there were no others, for what all processes compute
    identically."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def _running() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Joins the other processes, if ``torchrun`` has started some (it then sets WORLD_SIZE)."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or _running():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def joined(own: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, by rank; gradients flow only into one's own. All have equally many rows."""
    if world_size() == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(world_size())]
    distributed.all_gather(parts, own.detach().contiguous())
    parts[rank()] = own
    return torch.cat(parts)


def share(mean: torch.Tensor) -> torch.Tensor:
    """A mean over a process's own pictures as its part of the mean over those of all processes."""
    return mean / world_size()


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces every gradient by its sum over all processes, which is the same in each of them."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)


def total(value: float) -> float:
    """The sum of ``value`` over all processes."""
    if world_size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64)
    if distributed.get_backend() == "nccl":
        found = found.cuda()
    distributed.all_reduce(found)
    return float(found)
