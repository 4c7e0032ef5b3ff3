"""The weights of the float networks: from a file, or drawn from a seed where there is none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import read_array
from kestrel.sw.model.files.openers import ALLOWED, open_arrays
from kestrel.sw.model.weights import RANDOM_PREFIX, parse_seed
from kestrel.sw.zoo.parameters import Parameter

Weights = Mapping[str, np.ndarray]
"""Arrays by key, float32."""


def load(source: str | Path, parameters: Sequence[Parameter]) -> dict[str, np.ndarray]:
    """The arrays of ``parameters`` from a file of any kind that ``kestrel compress`` reads, or for
    ``random:SEED`` drawn. A file may hold more. Raises InputError for one that lacks some."""
    text = str(source)
    if text.startswith(RANDOM_PREFIX):
        return drawn(parameters, parse_seed(text))
    if not Path(source).is_file():
        raise InputError(f"{source}: no such file; allowed: {ALLOWED}, {RANDOM_PREFIX}SEED")
    found: dict[str, np.ndarray] = {}
    with open_arrays(Path(source)) as stored:
        for wanted in parameters:
            if wanted.key not in stored.entries:
                raise InputError(f"{source}: no {wanted.key}; allowed: a file with all that the cuts need")
            array = read_array(stored, wanted.key, wanted.kind, wanted.shape)
            found[wanted.key] = np.ascontiguousarray(array, np.float32)
    return found


def drawn(parameters: Sequence[Parameter], seed: int) -> dict[str, np.ndarray]:
    """Seeded weights that keep the size of the maps (He et al. 2015): of networks whose weights are not to be
    had only sizes can be measured, and these do."""
    generator = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for wanted in parameters:
        if wanted.kind in ("convolution", "dense"):
            fan_in = wanted.count / wanted.shape[0]
            array = generator.standard_normal(wanted.shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        else:
            one = wanted.kind == "batch norm" and wanted.key.endswith(("weight", "running_var"))
            array = np.full(wanted.shape, 1.0 if one else 0.0, np.float32)
        found[wanted.key] = array.astype(np.float32)
    return found


def tensors(weights: Weights) -> dict[str, Tensor]:
    """The same arrays for ``Layers``."""
    return {key: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for key, array in weights.items()}
