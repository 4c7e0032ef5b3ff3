"""Descriptors of images: float vectors, their bytes and bits, and the file that holds them."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write
from kestrel.sw.retrieval.pooling.quantise import Quantiser

CODE_KINDS = ("bytes", "bits")


@dataclass(frozen=True)
class DescriptorSettings:
    """Everything that changes a descriptor. Two files that differ in any of it cannot be compared.

    network: SHA-256 of the network's integers (or of the float weights); arithmetic: "integer" (reference
    and RTL, which are equal) or "float"; height, width: the backend's input; preprocessing: its name;
    crops: specification of kestrel.sw.retrieval.describe.crops; pooling: description of the NIP chain
    (kestrel.sw.retrieval.pooling.nip); rotations: 1, 2 or 4; whitening: SHA-256 of the whitening file, "" for
    none; resize: how a crop becomes the backend's input: fit and filter
    (kestrel.sw.retrieval.describe.crops).
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
    resize: str = "stretch, bicubic"


@dataclass(frozen=True)
class Codes:
    """Descriptors in few bits. kind: "bytes" (uint8 [N, D]) or "bits" (uint8 [N, ceil(D / 8)])."""

    kind: str
    values: np.ndarray
    quantiser: Quantiser


@dataclass(frozen=True)
class Descriptors:
    """``vectors``: float32 [N, D], unit length (or zero, where an image excites no feature at all);
    ``names``: one a row, relative to the folder described; ``codes``: of the same rows, where asked for."""

    settings: DescriptorSettings
    names: tuple[str, ...]
    vectors: np.ndarray
    codes: Codes | None = None


def check_comparable(a: DescriptorSettings, b: DescriptorSettings, a_name: str, b_name: str) -> None:
    """Raises InputError naming the first setting in which two sets of descriptors differ."""
    for field in fields(DescriptorSettings):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if mine != other:
            raise InputError(f"{a_name} and {b_name} cannot be compared: {field.name} is {mine!r} in the one "
                             f"and {other!r} in the other; allowed: descriptors made alike")


def save_descriptors(descriptors: Descriptors, path: str | Path) -> None:
    """Writes an .npz file: ``vectors``, ``names``, ``settings`` (JSON); with codes also ``codes``,
    ``thresholds`` and ``quantiser`` (JSON)."""
    arrays = {
        "vectors": descriptors.vectors,
        "names": np.array(descriptors.names, dtype=np.str_),
        "settings": np.array(json.dumps(asdict(descriptors.settings))),
    }
    if descriptors.codes is not None:
        quantiser = descriptors.codes.quantiser
        about = {"kind": descriptors.codes.kind, "low": quantiser.low, "high": quantiser.high,
                 "source": quantiser.source}
        arrays |= {"codes": descriptors.codes.values, "thresholds": quantiser.thresholds,
                   "quantiser": np.array(json.dumps(about))}
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_descriptors(path: str | Path) -> Descriptors:
    """Reads a descriptor file. Raises InputError with one line that names it for anything else."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         "allowed: a descriptor file written by describe")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return _build(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}; allowed: a descriptor file written by describe") from error
    except (ValueError, OSError, EOFError, BadZipFile, TypeError, AttributeError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise InputError(f"{path}: not a readable descriptor file ({reason}); "
                         "allowed: a whole file written by describe") from error


def _build(arrays: dict[str, np.ndarray]) -> Descriptors:
    """The parts of a file, types checked. Raises InputError, and ValueError from json."""
    missing = {"vectors", "names", "settings"} - arrays.keys()
    if missing:
        raise InputError(f"no {min(missing)!r} in it")
    vectors, names = arrays["vectors"], arrays["names"]
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise InputError(f"vectors are {vectors.dtype} {list(vectors.shape)}, not float32 [N, D]")
    if not np.isfinite(vectors).all():
        raise InputError("vectors hold numbers that are not finite")
    if names.dtype.kind != "U" or names.shape != vectors.shape[:1]:
        raise InputError(f"{list(names.shape)} names for {len(vectors)} vectors")
    settings = _settings(json.loads(str(arrays["settings"])))
    codes = None
    if "codes" in arrays:
        codes = _codes(arrays, vectors.shape)
    return Descriptors(settings, tuple(str(name) for name in names), vectors, codes)


def _settings(values: object) -> DescriptorSettings:
    kinds = {field.name: field.type for field in fields(DescriptorSettings)}
    if not isinstance(values, dict) or values.keys() != kinds.keys():
        raise InputError(f"settings are {values!r:.60}")
    for name, kind in kinds.items():
        if type(values[name]) is not kind:
            raise InputError(f"setting {name} is {values[name]!r:.60}")
    return DescriptorSettings(**values)


def _codes(arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> Codes:
    count, dimension = shape
    values, thresholds = arrays["codes"], arrays["thresholds"]
    about = json.loads(str(arrays["quantiser"]))
    kind = about["kind"]
    columns = {"bytes": dimension, "bits": -(-dimension // 8)}.get(kind)
    if values.dtype != np.uint8 or values.shape != (count, columns):
        raise InputError(f"codes ({kind!r:.20}) are {values.dtype} {list(values.shape)}")
    if thresholds.dtype != np.float32 or thresholds.shape != (dimension,):
        raise InputError(f"thresholds are {thresholds.dtype} {list(thresholds.shape)}")
    return Codes(kind, values, Quantiser(float(about["low"]), float(about["high"]), thresholds,
                                         str(about["source"])))
