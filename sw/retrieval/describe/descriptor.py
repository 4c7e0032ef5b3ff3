"""Descriptors of images: float vectors, their bytes and bits, and the file that holds them."""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS, reason_of
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.places import recalled, remembered
from kestrel.sw.retrieval.describe.foreign import read_foreign
from kestrel.sw.retrieval.pooling.quantise import Quantiser, check_levels, to_bits, to_bytes

CODE_KINDS = ("bytes", "bits")

DIMENSION = "dimension"
"""Beside the settings in a file, so that settings copied to other vectors are noticed."""

DIGITS = 12

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class DescriptorSettings:
    """Everything that changes a descriptor. Two files that differ in any of it cannot be compared. Of
    descriptors of other programs nothing is known (FOREIGN).

    network: SHA-256 of the network's integers (or of the float weights); arithmetic: "integer" (reference
    and RTL, which are equal) or "float"; height, width: the backend's input; preprocessing: its name;
    crops: specification of kestrel.sw.retrieval.describe.crops; pooling: description of the NIP chain
    (kestrel.sw.retrieval.pooling.nip); rotations: 1, 2 or 4; whitening: SHA-256 of the whitening file, "" for
    none; resize: how a crop becomes the backend's input: fit and filter
    (kestrel.sw.retrieval.describe.crops); maps: those that are pooled, by name
    (kestrel.sw.retrieval.describe.maps), "" for the last layer's alone.
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
    maps: str = ""

    @property
    def foreign(self) -> bool:
        """Whether another program made them."""
        return self.arithmetic == FOREIGN.arithmetic


def recorded(settings: DescriptorSettings) -> dict[str, object]:
    """As files hold them: ``maps`` only where several maps, or another than the last, are pooled."""
    values = asdict(settings)
    if not settings.maps:
        del values["maps"]
    return values


FOREIGN = DescriptorSettings("foreign", "foreign", 0, 0, "", "", "", 0, "", "")
"""Settings of vectors that another program made."""


@dataclass(frozen=True)
class Codes:
    """Descriptors in few bits. kind: "bytes" (uint8 [N, D]) or "bits" (uint8 [N, ceil(B / 8)])."""

    kind: str
    values: np.ndarray
    quantiser: Quantiser


@dataclass(frozen=True)
class Descriptors:
    """``vectors``: float32 [N, D], unit length (or zero, where an image excites no feature at all);
    ``names``: one a row, relative to ``folder`` (None: unknown); ``codes``: of the same rows, where asked
    for."""

    settings: DescriptorSettings
    names: tuple[str, ...]
    vectors: np.ndarray
    codes: Codes | None = None
    folder: Path | None = None


def with_codes(descriptors: Descriptors, kind: str, quantiser: Quantiser) -> Descriptors:
    """The same with codes of ``kind``. Raises InputError for an unknown kind or another dimension."""
    if kind not in CODE_KINDS:
        raise InputError(f"codes {kind!r}; allowed: {', '.join(CODE_KINDS)}")
    values = (to_bytes if kind == "bytes" else to_bits)(descriptors.vectors, quantiser)
    return replace(descriptors, codes=Codes(kind, values, quantiser))


def check_comparable(a: DescriptorSettings, b: DescriptorSettings, a_name: str, b_name: str) -> None:
    """Raises InputError naming the first setting in which two sets of descriptors differ."""
    for field in fields(DescriptorSettings):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if mine != other:
            raise InputError(
                f"{a_name} and {b_name} cannot be compared: {field.name} is {shown(mine)} in the one and "
                f"{shown(other)} in the other; allowed: descriptors made alike"
            )


def shown(setting: object) -> str:
    """A setting in a message. Of a SHA-256, which nobody reads to its end, the first digits."""
    if isinstance(setting, str) and _DIGEST.fullmatch(setting):
        return f"SHA-256 {setting[:DIGITS]}..."
    return repr(setting)


def save_descriptors(descriptors: Descriptors, path: str | Path) -> None:
    """Writes an .npz file: ``vectors``, ``names``, ``settings`` (JSON, with the vectors' dimension); where
    known also ``folder`` (JSON), with codes ``codes``, ``thresholds`` and ``quantiser`` (JSON)."""
    path = Path(path)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_descriptors(descriptors, file, path)


def write_descriptors(descriptors: Descriptors, stream: IO[bytes], path: Path) -> None:
    """What ``save_descriptors`` writes, into a stream. path: where it will lie, which ``folder`` is relative
    to."""
    about = {**recorded(descriptors.settings), DIMENSION: descriptors.vectors.shape[1]}
    arrays = {
        "vectors": descriptors.vectors,
        "names": np.array(descriptors.names, dtype=np.str_),
        "settings": np.array(json.dumps(about)),
    }
    if descriptors.folder is not None:
        arrays["folder"] = np.array(json.dumps(remembered(descriptors.folder, path)))
    if descriptors.codes is not None:
        quantiser = descriptors.codes.quantiser
        about = {"kind": descriptors.codes.kind, "low": quantiser.low, "high": quantiser.high,
                 "source": quantiser.source}
        arrays |= {"codes": descriptors.codes.values, "thresholds": quantiser.thresholds,
                   "quantiser": np.array(json.dumps(about))}
        optional = {"levels": quantiser.levels, "weights": quantiser.weights}
        arrays |= {name: array for name, array in optional.items() if array is not None}
    np.savez(stream, **arrays)


def load_descriptors(path: str | Path) -> Descriptors:
    """Reads a descriptor file, or vectors of another program (``sw.retrieval.describe.foreign``). Raises
    InputError with one line that names it for anything else."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         "allowed: a descriptor file written by describe")
    try:
        with path.open("rb") as stream:
            return read_descriptors(stream, path)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_descriptors(stream: IO[bytes], path: Path) -> Descriptors:
    """As ``load_descriptors``, from a stream; ``path``: where it lies, or what errors call it."""
    try:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"vectors": loaded}
        else:
            with loaded as file:
                arrays = {key: file[key] for key in file.files}
        if "settings" not in arrays:
            return Descriptors(FOREIGN, *read_foreign(arrays, path))
        return _build(arrays, path)
    except InputError as error:
        raise InputError(f"{path}: {error}; allowed: a descriptor file written by describe") from error
    except ARCHIVE_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable descriptor file ({reason_of(error)}); "
                      "allowed: a whole file written by describe")


def _build(arrays: dict[str, np.ndarray], path: Path) -> Descriptors:
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
    settings = _settings(json.loads(str(arrays["settings"])), vectors.shape[1])
    codes = _codes(arrays, vectors.shape) if "codes" in arrays else None
    folder = recalled(json.loads(str(arrays["folder"])), path) if "folder" in arrays else None
    return Descriptors(settings, tuple(str(name) for name in names), vectors, codes, folder)


def _settings(values: object, dimension: int) -> DescriptorSettings:
    if isinstance(values, dict):
        stated = values.pop(DIMENSION, dimension)
        if stated != dimension:
            raise InputError(f"settings of vectors of {stated!r:.20} dimensions, not of {dimension}")
        values.setdefault("maps", "")
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
    if thresholds.dtype != np.float32 or thresholds.ndim != 1 or not thresholds.size:
        raise InputError(f"thresholds are {thresholds.dtype} {list(thresholds.shape)}")
    columns = {"bytes": dimension, "bits": -(-thresholds.size // 8)}.get(kind)
    if values.dtype != np.uint8 or values.shape != (count, columns):
        raise InputError(f"codes ({kind!r:.20}) are {values.dtype} {list(values.shape)}")
    quantiser = Quantiser(float(about["low"]), float(about["high"]), thresholds, str(about["source"]),
                          0 if thresholds.size == dimension else dimension, arrays.get("levels"),
                          arrays.get("weights"))
    check_levels(quantiser)
    return Codes(kind, values, quantiser)
