"""Vectors of other programs: a plain .npz or .npy of vectors and names."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError, InputWarning

VECTORS = ("vectors", "descriptors", "features", "embeddings")
NAMES = ("names", "files", "filenames", "paths", "images")
"""Keys of an .npz, the first that is there; else its only array of two dimensions, and of texts."""

NAMES_SUFFIX = ".txt"
"""Of an .npy, whose names lie beside it, one a line."""

UNIT_TOLERANCE = 5e-3
"""What halves of floats are rounded by."""


def read_foreign(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and vectors, float32 [N, D]. What is not of unit length is divided by its length, with a warning
    (InputWarning): scores are inner products everywhere. Raises InputError for arrays that cannot be told
    apart, numbers that are not finite, and names that are not one a vector."""
    vectors = _chosen(arrays, VECTORS, "vectors", lambda a: a.ndim == 2 and a.dtype.kind in "fiu")
    if path.suffix == ".npy":
        names = _listed(path.with_suffix(NAMES_SUFFIX))
    else:
        found = _chosen(arrays, NAMES, "names", lambda a: a.ndim == 1 and a.dtype.kind in "US")
        names = [name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
                 for name in found.tolist()]
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype.kind not in "fiu":
        raise InputError(f"vectors are {vectors.dtype} {list(vectors.shape)}, not numbers [N, D]")
    if len(names) != len(vectors):
        raise InputError(f"{len(names)} names for {len(vectors)} vectors")
    exact = vectors.astype(np.float64)
    if not np.isfinite(exact).all():
        raise InputError("vectors hold numbers that are not finite")
    lengths = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    if (np.abs(lengths[lengths > 0] - 1) > UNIT_TOLERANCE).any():
        warnings.warn(InputWarning(path, "vectors of another program, brought to unit length"), stacklevel=2)
    return tuple(names), (exact / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _chosen(arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], what: str,
            suits: Callable[[np.ndarray], bool]) -> np.ndarray:
    for key in keys:
        if key in arrays:
            return arrays[key]
    found = [array for array in arrays.values() if suits(array)]
    if len(found) != 1:
        raise InputError(f"its arrays ({', '.join(arrays) or 'none'}) do not tell the {what}: "
                         f"call them {' or '.join(keys)}")
    return found[0]


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"no names: {path} is missing, which holds them one a line")
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
