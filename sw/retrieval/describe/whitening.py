"""PCA whitening of descriptors: trained on the regions' vectors of a folder of photographs.

The vectors of natural pictures share a large common direction, which whitening takes away: x -> P (x - m),
m the mean of the training vectors, rows of P their principal axes, each divided by the standard deviation
along it (Jegou and Chum, ECCV 2012). Descriptors of several maps have a whitening for each. The file holds
m, P and the settings of the vectors that it was trained on, and only vectors made with the same settings may
be whitened with it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS, reason_of
from kestrel.sw.common.files import atomic_write
from kestrel.sw.model.compressed import METADATA_KEY
from kestrel.sw.model.embedded import whitening_path
from kestrel.sw.retrieval.describe.descriptor import DescriptorSettings, recorded, shown
from kestrel.sw.retrieval.describe.maps import SEPARATOR

MODES = ("roi", "after")
"""Where in the chain: each region's vector, or once, the average of the regions'."""

KIND = "whitening"
FORMAT_VERSION = 1
"""Of a whitening of one map."""
MAPS_VERSION = 2
"""Of one of several maps."""

FREE = ("rotations", "whitening")
"""Settings in which a whitening and the descriptors may differ: of the first, vectors are of one kind
whichever way the picture is turned; the second is the whitening itself."""

RANK_TOLERANCE = 1e-10
"""Directions along which the training vectors vary less than this share of the largest variance carry
rounding errors only."""


@dataclass(frozen=True)
class MapWhitening:
    """The whitening of one map's vectors. mean: float32 [D]; projection: float32 [D2, D]; mode: one of
    MODES."""

    mean: np.ndarray
    projection: np.ndarray
    mode: str

    @property
    def dimension(self) -> int:
        return self.projection.shape[0]

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of floats [R, D] -> float64 [R, D2]. Raises InputError for another D."""
        if vectors.ndim != 2 or vectors.shape[1] != self.mean.size:
            raise InputError(f"whitening of vectors {list(vectors.shape)}; allowed: [R, {self.mean.size}]")
        return (vectors - self.mean.astype(np.float64)) @ self.projection.astype(np.float64).T


@dataclass(frozen=True)
class Whitening:
    """maps: one whitening for each map that is pooled, all of one mode; settings: of the descriptors that its
    training vectors belong to; pictures, vectors: how many it was trained on, of all maps together; digest:
    SHA-256 of its file, by which descriptors name it."""

    maps: tuple[MapWhitening, ...]
    settings: DescriptorSettings
    pictures: int
    vectors: int
    digest: str = ""

    @property
    def mode(self) -> str:
        return self.maps[0].mode

    @property
    def dimension(self) -> int:
        """Of all maps together."""
        return sum(part.dimension for part in self.maps)

    @property
    def single(self) -> MapWhitening:
        """Of the only map. Raises InputError where there are several."""
        if len(self.maps) != 1:
            raise InputError(f"whitening of {len(self.maps)} maps, {self.settings.maps}; "
                             "allowed here: of one map")
        return self.maps[0]

    @property
    def mean(self) -> np.ndarray:
        """Of the only map, float32 [D]. Raises InputError where there are several."""
        return self.single.mean

    @property
    def projection(self) -> np.ndarray:
        """Of the only map, float32 [D2, D]. Raises InputError where there are several."""
        return self.single.projection

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors of the only map, floats [R, D] -> float64 [R, D2]. Raises InputError for another D, and
        where there are several maps."""
        return self.single.transform(vectors)

    def check(self, settings: DescriptorSettings, name: str, of: str = "the descriptors' chain") -> None:
        """Raises InputError naming the first setting in which descriptors differ from the training set's.
        name: the whitening's, of: what ``settings`` are of, for the message."""
        for field in fields(DescriptorSettings):
            mine, wanted = getattr(self.settings, field.name), getattr(settings, field.name)
            if field.name not in FREE and mine != wanted:
                raise InputError(f"whitening {name}: trained with {field.name} {shown(mine)}, and {of} has "
                                 f"{shown(wanted)}; allowed: a whitening trained with the same settings")


class Scatter:
    """Sums of vectors and of their products, from which the mean and the covariance follow, so that the
    training vectors need not be kept."""

    def __init__(self, dimension: int) -> None:
        self.pictures = 0
        self.vectors = 0
        self._sum = np.zeros(dimension)
        self._products = np.zeros((dimension, dimension))

    def add(self, vectors: np.ndarray) -> None:
        """One picture's vectors, float64 [R, D]."""
        self.pictures += 1
        self.vectors += len(vectors)
        self._sum += vectors.sum(axis=0)
        self._products += vectors.T @ vectors

    def fit(self, dimension: int | None, mode: str, settings: DescriptorSettings) -> Whitening:
        """The whitening of one map to ``dimension`` (None: as many as the training set allows). Raises
        InputError for more than that, and for an unknown mode."""
        return fit_maps([self], dimension, mode, settings)

    def fit_map(self, dimension: int | None, mode: str) -> MapWhitening:
        """As ``fit``, without what the file says besides."""
        if mode not in MODES:
            raise InputError(f"whitening mode {mode!r}; allowed: {', '.join(MODES)}")
        if self.vectors < 2:
            raise InputError(f"whitening: {self.vectors} training vectors; allowed: at least 2")
        mean = self._sum / self.vectors
        covariance = self._products / self.vectors - np.outer(mean, mean)
        variances, axes = np.linalg.eigh(covariance)
        variances, axes = variances[::-1], axes[:, ::-1]
        rank = int((variances > RANK_TOLERANCE * max(float(variances[0]), 0.0)).sum())
        rank = min(rank, self.vectors - 1)
        dimension = rank if dimension is None else dimension
        if not 1 <= dimension <= rank:
            raise InputError(f"whitening dimension {dimension}; allowed: 1..{rank}, the directions in which "
                             f"the {self.vectors} training vectors vary")
        chosen = axes[:, :dimension]
        # An axis has no sign of its own: its largest component is made positive.
        signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(dimension)])
        projection = (chosen * signs / np.sqrt(variances[:dimension])).T
        return MapWhitening(mean.astype(np.float32), np.ascontiguousarray(projection, dtype=np.float32), mode)


def fit_maps(scatters: Sequence[Scatter], dimension: int | None, mode: str,
             settings: DescriptorSettings) -> Whitening:
    """The whitening of several maps, each to ``dimension`` (None: as many as its training set allows). Raises
    InputError for more than that, and for an unknown mode."""
    made = Whitening(tuple(scatter.fit_map(dimension, mode) for scatter in scatters), settings,
                     scatters[0].pictures, sum(scatter.vectors for scatter in scatters))
    return replace(made, digest=hashlib.sha256(_content(made)).hexdigest())


def save_whitening(whitening: Whitening, path: str | Path) -> None:
    """Writes ``path`` (whole or not at all). Raises InputError for a place that cannot be written."""
    with atomic_write(Path(path)) as temporary:
        temporary.write_bytes(_content(whitening))


def _content(whitening: Whitening) -> bytes:
    """Of the file."""
    several = len(whitening.maps) > 1
    about = {"version": MAPS_VERSION if several else FORMAT_VERSION, "kind": KIND, "mode": whitening.mode,
             "pictures": whitening.pictures, "vectors": whitening.vectors,
             "settings": recorded(whitening.settings)}
    tensors: dict[str, np.ndarray] = {}
    for number, part in enumerate(whitening.maps):
        prefix = f"{number}." if several else ""
        tensors |= {f"{prefix}mean": part.mean, f"{prefix}projection": part.projection}
    return save(tensors, metadata={METADATA_KEY: json.dumps(about)})


def load_whitening(path: str | Path) -> Whitening:
    """Reads a whitening file; ``resnet18-retrieval`` names the one that comes with that network. Raises
    InputError with one line that names the file for anything else."""
    path = whitening_path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; "
                         "allowed: a whitening file written by whiten")
    try:
        content = path.read_bytes()
        return _build(_metadata(content), load(content), hashlib.sha256(content).hexdigest())
    except InputError as error:
        raise InputError(f"{path}: {error}; allowed: a whitening file written by whiten") from error
    except (SafetensorError, *ARCHIVE_ERRORS) as error:
        raise InputError(f"{path}: not a readable whitening file ({reason_of(error)}); "
                         "allowed: a whole file written by whiten") from error


def _metadata(content: bytes) -> object:
    """The JSON under our key in a safetensors file: eight bytes of header length, then the header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = header.get("__metadata__") if isinstance(header, dict) else None
    found = about.get(METADATA_KEY) if isinstance(about, dict) else None
    if not isinstance(found, str):
        raise InputError(f"not a whitening file (no {METADATA_KEY!r} metadata)")
    return json.loads(found)


def _build(about: object, tensors: Mapping[str, np.ndarray], digest: str) -> Whitening:
    if not isinstance(about, dict) or about.get("kind") != KIND:
        raise InputError("not a whitening file")
    if about.get("version") not in (FORMAT_VERSION, MAPS_VERSION):
        raise InputError(f"format version {about.get('version')!r:.20}, "
                         f"not {FORMAT_VERSION} or {MAPS_VERSION}")
    if about.get("mode") not in MODES:
        raise InputError(f"mode {about.get('mode')!r:.20}, not {' or '.join(MODES)}")
    settings = DescriptorSettings(**about["settings"])
    prefixes = [""]
    if about["version"] == MAPS_VERSION:
        prefixes = [f"{number}." for number in range(len(settings.maps.split(SEPARATOR)))]
    maps = tuple(_build_map(tensors[f"{prefix}mean"], tensors[f"{prefix}projection"], about["mode"])
                 for prefix in prefixes)
    return Whitening(maps, settings, int(about["pictures"]), int(about["vectors"]), digest)


def _build_map(mean: np.ndarray, projection: np.ndarray, mode: str) -> MapWhitening:
    if (mean.dtype, projection.dtype) != (np.float32, np.float32) or mean.ndim != 1 or projection.ndim != 2:
        raise InputError("mean and projection are not float32 [D] and [D2, D]")
    if projection.shape[1] != mean.size or not projection.shape[0]:
        raise InputError(f"projection {list(projection.shape)} does not fit a mean of {mean.size} dimensions")
    if not np.isfinite(mean).all() or not np.isfinite(projection).all():
        raise InputError("mean or projection hold numbers that are not finite")
    return MapWhitening(mean, projection, mode)
