"""Descriptors of images: float vectors, their bytes and bits, and the file that holds them."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from hw.spec import InputError
from sw.files import atomic_write


@dataclass(frozen=True)
class DescriptorSettings:
    """Everything that changes a descriptor. Two files that differ in any of it cannot be compared.

    network: SHA-256 of the network's integers (or of the float weights); arithmetic: "integer" (reference
    and RTL, which are equal) or "float"; height, width: the engine's input; preprocessing: its name;
    crops: preset of sw.retrieval.crops; pooling: description of the NIP chain (sw.retrieval.nip);
    rotations: 1, 2 or 4; whitening: SHA-256 of the whitening file, "" for none.
    """

    network: str
    arithmetic: str
    height: int
    width: int
    preprocessing: str
    crops: str
    pooling: str
    rotations: int
    whitening: str


@dataclass(frozen=True)
class Descriptors:
    """``vectors``: float32 [N, D], unit length; ``names``: one a row, relative to the folder described."""

    settings: DescriptorSettings
    names: tuple[str, ...]
    vectors: np.ndarray


def check_comparable(a: DescriptorSettings, b: DescriptorSettings, a_name: str, b_name: str) -> None:
    """Raises InputError naming the first setting in which two sets of descriptors differ."""
    for field in fields(DescriptorSettings):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if mine != other:
            raise InputError(f"{a_name} and {b_name} cannot be compared: {field.name} is {mine!r} in the one "
                             f"and {other!r} in the other; allowed: descriptors made alike")


def save_descriptors(descriptors: Descriptors, path: str | Path) -> None:
    """Writes an .npz file: ``vectors``, ``names``, ``settings`` (JSON)."""
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, vectors=descriptors.vectors, names=np.array(descriptors.names, dtype=np.str_),
                 settings=np.array(json.dumps(asdict(descriptors.settings))))
