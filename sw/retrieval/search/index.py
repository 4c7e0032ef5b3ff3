"""The index of descriptors: names, settings, quantiser and the search structure, in one file.

The file is a ZIP archive without compression: ``index.json`` (everything of words and single numbers),
``thresholds.npy`` and ``numbers.npy``, of newer quantisers ``levels.npy`` and ``weights.npy``, and
``vectors.faiss`` in FAISS' own format. What stays on disk is mapped: of structure ivfpq the vectors,
``rows.npy``; of ivf the inverted lists, ``lists.bin``, with their ``sizes.npy``. It is written under a
temporary name and renamed. Before FAISS reads a byte the archive's CRC-32s are checked, so that a damaged
file is refused and not searched; but of what is mapped and larger than CHECKED_BYTES only length and shape.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS, reason_of
from kestrel.sw.common.files import atomic_write
from kestrel.sw.common.kinds import INDEX_FORMAT
from kestrel.sw.common.places import recalled, remembered
from kestrel.sw.retrieval.describe.descriptor import (
    Descriptors,
    DescriptorSettings,
    check_comparable,
    recorded,
)
from kestrel.sw.retrieval.pooling.bit_rows import bit_values
from kestrel.sw.retrieval.pooling.quantise import (
    Quantiser,
    bit_levels,
    check_levels,
    fit_quantiser,
    from_bytes,
    same_codes,
    to_bits,
    to_bytes,
)
from kestrel.sw.retrieval.search.neighbours import BLOCK, NO_VECTORS, Advance, Neighbours
from kestrel.sw.retrieval.search.recall import Recall, measured_recall
from kestrel.sw.retrieval.search.refined import RefinedNeighbours, neighbours_of
from kestrel.sw.retrieval.search.rows import aligned_member, mapped_rows, place_of
from kestrel.sw.retrieval.search.structures import Kind

FORMAT = INDEX_FORMAT
VERSION = 2
VERSION_ON_DISK = 3
READABLE = (1, VERSION, VERSION_ON_DISK)
"""Version 1 lacks the pictures' folders; version 3 has rows that stay on disk."""

ROWS, LISTS = "rows.npy", "lists.bin"

CHECKED_BYTES = 1 << 28
"""What is mapped and no larger is read once, to check its sum."""

UNKNOWN = -1
"""Folder of a name of which none is known."""


@dataclass(frozen=True)
class Found:
    """Best first: ``names`` and ``scores`` (see Kind.measure) of one query."""

    names: tuple[str, ...]
    scores: tuple[float, ...]


class DescriptorIndex:
    """Descriptors by name, all of one settings. ``create``, ``add``, ``remove``, ``search``, ``save``,
    ``load``; vectors are float32 [N, dimension], coded here."""

    def __init__(self, settings: DescriptorSettings, dimension: int, quantiser: Quantiser, names: list[str],
                 neighbours: Neighbours, folders: list[Path] | None = None,
                 places: list[int] | None = None) -> None:
        self.settings = settings
        self.dimension = dimension
        self.quantiser = quantiser
        self.names = names
        self._neighbours = neighbours
        self._folders = folders or []  # of the pictures; places: for each name which of them, or UNKNOWN
        self._places = places or [UNKNOWN] * len(names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kind(self) -> Kind:
        return self._neighbours.kind

    @classmethod
    def create(cls, kind: Kind, training: Descriptors,
               quantiser: Quantiser | None = None, spool: Path | None = None,
               count: int | None = None) -> "DescriptorIndex":
        """An empty index. ``training`` gives the settings, places the cells of ivf and, where no
        ``quantiser`` is given, the range of bytes and the thresholds of bits. ``spool`` and
        ``count``: see Neighbours.empty. Raises InputError."""
        count, dimension = training.vectors.shape
        if not count or not dimension:
            raise InputError("no descriptors to begin an index with; allowed: at least one")
        quantiser = quantiser or fit_quantiser(training.vectors, source=f"{count} descriptors")
        if quantiser.dimension != dimension:
            raise InputError(f"ranges and thresholds for {quantiser.dimension} dimensions; "
                             f"allowed: {dimension}, as the descriptors have")
        columns = _columns(kind, dimension, quantiser)
        neighbours = neighbours_of(kind).empty(kind, columns, training.vectors, _byte_range(kind, quantiser),
                                               spool, count)
        return cls(training.settings, dimension, quantiser, [], neighbours)

    def add(self, descriptors: Descriptors, source: str, advance: Advance | None = None) -> None:
        """Appends; ``source`` names the descriptors in the refusals. Raises InputError when they were made
        with other settings, or when a name is there already or comes twice."""
        check_comparable(self.settings, descriptors.settings, "the index", source)
        self._check_dimension(descriptors.vectors, source)
        known = set(self.names)
        for name in descriptors.names:
            if name in known:
                raise InputError(f"{source}: {name} is in the index already; allowed: new names "
                                 "(kestrel index remove takes out old ones)")
            known.add(name)
        for start in range(0, len(descriptors.names), BLOCK):  # coding all at once takes much memory
            self._neighbours.add(self._coded(descriptors.vectors[start:start + BLOCK]), advance)
        self.names.extend(descriptors.names)
        place = UNKNOWN
        if descriptors.folder is not None:
            if descriptors.folder not in self._folders:
                self._folders.append(descriptors.folder)
            place = self._folders.index(descriptors.folder)
        self._places.extend([place] * len(descriptors.names))

    def emptied(self, spool: Path | None = None) -> "DescriptorIndex":
        """Another with what this one has learned and no descriptors; ``spool``: see Neighbours.empty."""
        return DescriptorIndex(self.settings, self.dimension, self.quantiser, [],
                               self._neighbours.emptied(spool))

    def merge(self, others: "Sequence[DescriptorIndex]", sources: Sequence[str], spool: Path,
              advance: Advance | None = None) -> None:
        """Appends what ``others`` hold, which are of no use after it; ``sources`` names them in the refusals.
        ``spool``: see Neighbours.merge. Raises InputError for an index of another kind, settings or
        quantiser, and for a name that comes twice."""
        known = set(self.names)
        for other, source in zip(others, sources, strict=True):
            check_comparable(self.settings, other.settings, "the first index", source)
            if other.kind != self.kind or other.dimension != self.dimension:
                here, there = (f"{x.dimension} {x.kind.codes}, {x.kind.structure}" for x in (self, other))
                raise InputError(f"{source}: {there}; allowed: {here}, as the first index")
            if self.kind.codes != "floats" and not same_codes(self.quantiser, other.quantiser):
                raise InputError(f"{source}: other ranges or thresholds than the first index; "
                                 "allowed: indexes built with one --train or --like")
            if twice := known.intersection(other.names):
                raise InputError(f"{source}: {min(twice)} is in the first index or one before; "
                                 "allowed: new names")
            known |= set(other.names)
        self._neighbours.merge([other._neighbours for other in others], spool, advance)
        for other in others:
            for folder in other._folders:
                if folder not in self._folders:
                    self._folders.append(folder)
            moved = [self._folders.index(folder) for folder in other._folders]
            self.names.extend(other.names)
            self._places.extend(place if place == UNKNOWN else moved[place] for place in other._places)

    def remove(self, names: Sequence[str], advance: Advance | None = None) -> None:
        """Removes by name; see Neighbours.remove. Raises InputError for a name that is not there."""
        rows = {name: row for row, name in enumerate(self.names)}
        for name in names:
            if name not in rows:
                raise InputError(f"{name} is not in the index; allowed: one of its {len(rows)} names")
        gone = set(names)
        if gone:
            self._neighbours.remove(np.array(sorted(rows[name] for name in gone)), advance)
            kept = [row for row, name in enumerate(self.names) if name not in gone]
            self.names = [self.names[row] for row in kept]
            self._places = [self._places[row] for row in kept]

    def picture(self, name: str) -> Path | None:
        """Where the picture of an entry was when it was described; None where that is not known."""
        folder = self.folder(name)
        return None if folder is None else folder / name

    def folder(self, name: str) -> Path | None:
        """The folder that an entry's name is relative to; None where that is not known."""
        row = self.names.index(name) if name in self.names else None
        place = UNKNOWN if row is None else self._places[row]
        return None if place == UNKNOWN else self._folders[place]

    def recoded(self, codes: str) -> "DescriptorIndex":
        """The same descriptors in other codes, by the quantiser that is kept with them, searched exactly; of
        its own codes the index itself. Raises InputError unless this is an index of floats."""
        if codes == self.kind.codes:
            return self
        if self.kind.codes != "floats":
            raise InputError(f"codes {codes!r} of an index of {self.kind.codes}; "
                             f"allowed: {self.kind.codes}, or an index of floats")
        kind = Kind(codes, "flat")
        neighbours = Neighbours.empty(kind, _columns(kind, self.dimension, self.quantiser), NO_VECTORS,
                                      _byte_range(kind, self.quantiser))
        made = DescriptorIndex(self.settings, self.dimension, self.quantiser, list(self.names), neighbours,
                               list(self._folders), list(self._places))
        for block in self._neighbours.vectors():
            neighbours.add(made._coded(block))
        return made

    def measure(self, asymmetric: bool = False) -> str:
        """What a score is."""
        return "inner product with bits" if asymmetric else self.kind.measure

    def search(self, vectors: np.ndarray, count: int, effort: int | None = None,
               asymmetric: bool = False) -> list[Found]:
        """The ``count`` nearest of each vector, fewer where the index has fewer. The queries are coded as the
        index is; with ``asymmetric``, of an index of bits, they keep their floats. Raises InputError."""
        if not self.names:
            raise InputError("the index is empty; allowed: at least one descriptor (kestrel index add)")
        self._check_dimension(vectors, "the query")
        if asymmetric:
            if self.kind.codes != "bits":
                raise InputError(f"asymmetric scores of {self.kind.codes}; allowed: of an index of bits")
            values = bit_values(vectors, self.quantiser.bits, self.quantiser.weights)
            shares = values[:, None, :] * bit_levels(self.quantiser)
            scores, rows = self._neighbours.search_by_shares(shares, self._coded(vectors), count, effort)
        else:
            scores, rows = self._neighbours.search(self._coded(vectors), count, effort)
        return [Found(tuple(self.names[row] for row in found if row >= 0),
                      tuple(float(value) for value, row in zip(values, found, strict=True) if row >= 0))
                for values, found in zip(scores, rows, strict=True)]

    def recall(self, queries: int) -> Recall:
        """Measured against the exact search in the same codes; see measured_recall. Raises InputError."""
        return measured_recall(self._neighbours, queries)

    def describe(self) -> dict[str, object]:
        """What `kestrel index info` prints."""
        return {
            "count": len(self), "dimension": self.dimension, "codes": self.kind.codes,
            "structure": self.kind.structure, "exact": self.kind.exact, "measure": self.kind.measure,
            **({"bits": self.quantiser.bits} if self.kind.codes == "bits" else {}),
            **self._neighbours.describe(), "folders": list(map(str, self._folders)),
            "quantiser": None if self.kind.codes == "floats" else {
                "low": self.quantiser.low, "high": self.quantiser.high, "source": self.quantiser.source},
            "settings": recorded(self.settings),
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all; the same descriptors make the same bytes. Raises InputError
        for a place that cannot be written."""
        path = Path(path)
        in_lists = self.kind.structure == "ivf"
        about = {
            "format": FORMAT, "version": VERSION_ON_DISK if self.kind.learned else VERSION,
            "settings": recorded(self.settings),
            "dimension": self.dimension, "codes": self.kind.codes, "structure": self.kind.structure,
            "quantiser": {"low": self.quantiser.low, "high": self.quantiser.high,
                          "source": self.quantiser.source},
            "names": self.names, "places": self._places,
            "folders": [remembered(folder, path) for folder in self._folders],
        }  # fmt: skip
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(zipfile.ZipInfo("index.json"), json.dumps(about))
            arrays: dict[str, np.ndarray | None] = {
                      "thresholds": self.quantiser.thresholds, "numbers": self._neighbours.numbers,
                      "levels": self.quantiser.levels, "weights": self.quantiser.weights,
                      "sizes": self._neighbours.list_sizes() if in_lists else None}
            for name, array in arrays.items():
                if array is None:
                    continue
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
            with archive.open(zipfile.ZipInfo("vectors.faiss"), "w", force_zip64=True) as stream:
                (self._neighbours.write_learned if in_lists else self._neighbours.write)(stream)
            if in_lists:
                with archive.open(aligned_member(archive, LISTS), "w", force_zip64=True) as stream:
                    self._neighbours.write_lists(stream)
            if isinstance(self._neighbours, RefinedNeighbours):
                with archive.open(aligned_member(archive, ROWS), "w", force_zip64=True) as stream:
                    self._neighbours.rows.write(stream)

    @classmethod
    def load(cls, path: str | Path) -> "DescriptorIndex":
        """Raises InputError, in one line that names the file, for anything but a whole index."""
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such index'}; "
                             "allowed: an index written by kestrel index add")
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                _check_sums(archive)
                return _read(archive, file, path)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except ARCHIVE_ERRORS as error:
            raise InputError(f"{path}: not a readable index ({reason_of(error)}); "
                             "allowed: a whole file written by kestrel index add") from error

    def _coded(self, vectors: np.ndarray) -> np.ndarray:
        if self.kind.codes == "bits":
            return to_bits(vectors, self.quantiser)
        if self.kind.codes == "bytes":
            return from_bytes(to_bytes(vectors, self.quantiser), self.quantiser)
        return vectors.astype(np.float32, copy=False)

    def _check_dimension(self, vectors: np.ndarray, source: str) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(f"{source}: descriptors of {list(vectors.shape)}; "
                             f"allowed: {self.dimension} dimensions, as the index has")


def _byte_range(kind: Kind, quantiser: Quantiser) -> tuple[float, float] | None:
    return (quantiser.low, quantiser.high) if kind.codes == "bytes" else None


def _columns(kind: Kind, dimension: int, quantiser: Quantiser) -> int:
    """Of what is searched: numbers, or bits in whole bytes."""
    return -(-quantiser.bits // 8) * 8 if kind.codes == "bits" else dimension


def _read(archive: zipfile.ZipFile, file: IO[bytes], path: Path) -> DescriptorIndex:
    """Raises ValueError, KeyError or TypeError when parts are missing or do not fit together."""
    about = json.loads(archive.read("index.json"))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError("another kind of archive")
    if about["version"] not in READABLE:
        raise ValueError(f"version {about['version']}, not {VERSION}")
    dimension, names = int(about["dimension"]), list(about["names"])
    kind = Kind(str(about["codes"]), str(about["structure"]))
    thresholds, numbers = (_read_array(archive, name) for name in ("thresholds.npy", "numbers.npy"))
    if thresholds.dtype != np.float32 or thresholds.ndim != 1 or not thresholds.size:
        raise ValueError(f"thresholds are {thresholds.dtype} {list(thresholds.shape)}")
    if numbers.dtype != np.int64 or numbers.shape != (len(names),) or (np.diff(numbers) <= 0).any():
        raise ValueError("numbers of the descriptors are not in order")
    coding = about["quantiser"]
    quantiser = Quantiser(float(coding["low"]), float(coding["high"]), thresholds, str(coding["source"]),
                          0 if thresholds.size == dimension else dimension,
                          _read_optional(archive, "levels.npy"), _read_optional(archive, "weights.npy"))
    check_levels(quantiser)
    columns = _columns(kind, dimension, quantiser)
    folders = [recalled(folder, path) for folder in about.get("folders", [])]
    places = [int(place) for place in about.get("places", [UNKNOWN] * len(names))]
    if None in folders or len(places) != len(names) or not set(places) <= {UNKNOWN, *range(len(folders))}:
        raise ValueError("folders of the pictures do not fit their names")
    with archive.open("vectors.faiss") as stream:
        byte_range = _byte_range(kind, quantiser)
        if kind.structure == "ivfpq":
            neighbours: Neighbours = RefinedNeighbours.opened(
                kind, columns, stream, numbers, mapped_rows(archive, file, ROWS), byte_range)
        else:  # older files of inverted lists hold them in vectors.faiss
            on_disk = LISTS in archive.namelist()
            neighbours = Neighbours.read(kind, columns, stream, numbers, byte_range, lists=not on_disk)
            if on_disk:
                neighbours.attach_lists(file, place_of(archive, file, LISTS),
                                        archive.getinfo(LISTS).file_size, _read_array(archive, "sizes.npy"))
    return DescriptorIndex(DescriptorSettings(**about["settings"]), dimension, quantiser, names, neighbours,
                           [folder for folder in folders if folder is not None], places)


def _check_sums(archive: zipfile.ZipFile) -> None:
    """Raises BadZipFile for a member that is damaged, of those that are read as a whole."""
    for name in archive.namelist():
        if name not in (ROWS, LISTS) or archive.getinfo(name).file_size <= CHECKED_BYTES:
            with archive.open(name) as stream:
                while stream.read(1 << 20):
                    pass


def _read_optional(archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    return _read_array(archive, name) if name in archive.namelist() else None


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
