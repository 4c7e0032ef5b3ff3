"""Checkpoints: one safetensors file with everything that a stopped run needs to continue with the same
numbers.

It holds tensors under ``student.``, ``loss.`` (the classifier), ``best.`` (the best student so far) and
``optimiser.N.``. Its metadata is a JSON object with the step, the measures so far and the run's settings.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import CHECKPOINT_KEY

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """``student``, ``loss`` and ``best`` are state dictionaries. ``optimiser`` holds the optimiser's tensors
    by parameter number. ``about`` holds the step, the measures and the settings."""

    student: State
    loss: State
    best: State
    optimiser: dict[int, State]
    about: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes ``path``, either completely or not at all. Raises InputError if it cannot be written."""
    tensors: State = {}
    for part in ("student", "loss", "best"):
        tensors |= {f"{part}.{name}": tensor for name, tensor in getattr(checkpoint, part).items()}
    for number, state in checkpoint.optimiser.items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in state.items()}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(plain, metadata={CHECKPOINT_KEY: json.dumps(checkpoint.about)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint. Raises InputError, with one line that names the file, for anything else."""
    allowed = "allowed: a checkpoint written by retrain"
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; {allowed}")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(CHECKPOINT_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable checkpoint ({str(error).splitlines()[0][:100]}); {allowed}"
        ) from error
    if text is None:
        raise InputError(f"{path}: not a checkpoint (no {CHECKPOINT_KEY!r} metadata); {allowed}")
    parts: dict[str, State] = {"student": {}, "loss": {}, "best": {}}
    optimiser: dict[int, State] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        if part in parts:
            parts[part][name] = tensor
            continue
        number, _, name = name.partition(".")
        if not number.isdecimal():
            raise InputError(f"{path}: not a checkpoint (tensor {key!r:.80}); {allowed}")
        optimiser.setdefault(int(number), {})[name] = tensor
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: metadata is not JSON ({error}); {allowed}") from error
    if not isinstance(about, dict):
        raise InputError(f"{path}: metadata is {about!r:.40}; {allowed}")
    return Checkpoint(parts["student"], parts["loss"], parts["best"], optimiser, about)


def check_same_run(checkpoint: Checkpoint, about: dict[str, Any], path: Path) -> None:
    """Raises InputError, naming the first difference, unless the checkpoint belongs to a run with these
    settings."""
    for key, value in about.items():
        wanted = json.loads(json.dumps(value))
        if checkpoint.about.get(key) != wanted:
            raise InputError(
                f"checkpoint {path}: {_first_difference(key, checkpoint.about.get(key), wanted)}; "
                "allowed: the same settings, or another checkpoint file"
            )


def _first_difference(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if found.get(key) != wanted.get(key):
                return _first_difference(key, found.get(key), wanted.get(key))
    return f"{name} is {found!r:.60} there and {wanted!r:.60} here"
