"""Stores on disk the vectors of all regions of all views of pictures, from which several poolings are made. A
view is a crop, or a mosaic of crops whose maps are joined.

The backend takes most of the time, so a crop that several crop sets share goes through it once, and a stopped
run continues with the pictures that are missing. There is one file for each picture; the folder is named
after the settings.
"""

import hashlib
import json
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from kestrel.hw.spec.errors import InputError, InputWarning
from kestrel.sw.common.damaged import ARCHIVE_ERRORS
from kestrel.sw.common.files import atomic_write
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.pictures.boxes import Box, cut_box
from kestrel.sw.pictures.decode import read_picture
from kestrel.sw.retrieval.describe.batches import Batches
from kestrel.sw.retrieval.describe.crops import Inputs, crop_views, cut_crops, join_views
from kestrel.sw.retrieval.describe.descriptor import DescriptorSettings, recorded
from kestrel.sw.retrieval.describe.extract import Describer, Skip
from kestrel.sw.retrieval.describe.whitening import Whitening
from kestrel.sw.retrieval.pooling.nip import combine, normalise, region_vectors

READERS = 2
AHEAD = 6
"""READERS is the number of threads that read and crop (Pillow releases the interpreter's lock meanwhile), and
AHEAD the number of pictures in progress."""

_Read = tuple[tuple[int, int], Inputs] | InputError
"""Height and width of a picture together with its crops, or the reason why there are none."""


@dataclass(frozen=True)
class Picture:
    """A file, or the crop of it that ``box`` gives, and its name."""

    name: str
    path: Path
    box: Box | None = None


class CropStore:
    """Holds, under ``folder``, the views of ``describer``, whose crop specification contains those of all the
    crop sets that are needed. The describer must not whiten."""

    def __init__(self, folder: Path, describer: Describer) -> None:
        assert describer.whitening is None, "whitening comes after the store"
        self.describer = describer
        text = json.dumps(recorded(describer.settings), sort_keys=True)
        self._folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    def settings(self, crops: str, whitening: Whitening | None) -> DescriptorSettings:
        """The settings of descriptors made of ``crops``: those of a Describer for these crops alone."""
        digest = "" if whitening is None else whitening.digest
        return replace(self.describer.settings, crops=crops, whitening=digest)

    def fill(self, pictures: Sequence[Picture], description: str, progress: Progress = silent,
             skip: Skip | None = None) -> None:
        """Computes what is not stored yet. ``skip`` is called with each picture that cannot be used (None
        raises the error instead). Raises InputError, also if the folder cannot be made."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"folder of features {self._folder} cannot be made: {error.strerror}") from error
        todo = [picture for picture in pictures if not self.has(picture)]
        sizes: dict[int, tuple[int, int]] = {}

        def pool(features: np.ndarray) -> np.ndarray:
            return features if self.describer.crops.joins else region_vectors(features, self.describer.chain)

        def finish(found: Sequence[np.ndarray], inputs: Inputs) -> np.ndarray:
            if self.describer.crops.joins:
                found = [region_vectors(view, self.describer.chain) for view in join_views(found, inputs)]
            # Views may have different numbers of regions, so the first column gives the view of each row.
            return np.concatenate([np.insert(vectors, 0, n, axis=1) for n, vectors in enumerate(found)])

        with progress(description, len(pictures)) as advance:
            advance(len(pictures) - len(todo))

            def readable() -> Iterator[tuple[int, Inputs]]:
                for row, found in enumerate(self._read_all(todo)):
                    if isinstance(found, InputError):
                        if skip is None:
                            raise found
                        skip(todo[row].name, found)
                        advance(1)
                        continue
                    for remark in found[1].remarks:
                        warnings.warn(InputWarning(todo[row].path, remark), stacklevel=2)
                    sizes[row] = found[0]
                    yield row, found[1]

            for row, vectors in Batches(self.describer.backend, pool, finish).run(readable()):
                with atomic_write(self._file(todo[row])) as temporary, temporary.open("wb") as file:
                    np.savez(file, size=np.array(sizes.pop(row)), vectors=vectors)
                advance(1)

    def has(self, picture: Picture) -> bool:
        return picture.path.is_file() and zipfile.is_zipfile(self._file(picture))

    def vectors(self, picture: Picture, crop_sets: Sequence[str]) -> Mapping[str, "CropVectors"]:
        """For each crop set, the vectors of its views of a picture for which ``has`` is true. Raises
        InputError for a file of features that is damaged."""
        path = self._file(picture)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                (height, width), vectors = file["size"].tolist(), file["vectors"]
        except ARCHIVE_ERRORS as error:
            raise InputError(f"{path}: damaged features ({type(error).__name__}); allowed: to remove the "
                             "file and give the command again") from error
        owners, vectors = vectors[:, 0], np.ascontiguousarray(vectors[:, 1:])
        views = np.split(vectors, np.flatnonzero(np.diff(owners)) + 1)
        stored = crop_views(self.describer.crops.crops, height, width)
        place = {view.regions: n for n, view in enumerate(stored)}
        found: dict[str, CropVectors] = {}
        for crops in crop_sets:
            chosen = crop_views(crops, height, width)
            turns = tuple(tuple(views[turn * len(place) + place[view.regions]] for view in chosen)
                          for turn in range(self.describer.crops.rotations))
            found[crops] = CropVectors(turns, tuple(view.weight for view in chosen),
                                       sum(len(view.regions) for view in chosen))
        return found

    def descriptor(self, crops: "CropVectors", whitening: Whitening | None) -> np.ndarray:
        """float32 [D], equal to the last bit to what a Describer of these crops makes of the picture."""
        rotations: Sequence[Sequence[np.ndarray]] = crops.rotations
        if whitening is not None and whitening.mode == "roi":
            rotations = [[normalise(whitening.transform(view)) for view in turn] for turn in rotations]
        return combine(rotations, crops.weights, self.describer.chain, whitening)

    def _file(self, picture: Picture) -> Path:
        """The file of a picture, identified by its path, its size in bytes and its modification time."""
        status = picture.path.stat()
        about = [str(picture.path.resolve()), status.st_size, status.st_mtime_ns, picture.box]
        return self._folder / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]}.npz"

    def _read_all(self, pictures: Sequence[Picture]) -> Iterator[_Read]:
        with ThreadPoolExecutor(READERS, thread_name_prefix="reading") as pool:
            waiting: deque[Future[_Read]] = deque()
            rest = iter(pictures)
            while True:
                for picture in islice(rest, AHEAD - len(waiting)):
                    waiting.append(pool.submit(self._read, picture))
                if not waiting:
                    return
                yield waiting.popleft().result()

    def _read(self, picture: Picture) -> _Read:
        try:
            found = read_picture(picture.path)
            rgb = found.rgb if picture.box is None else cut_box(found.rgb, picture.box)
            inputs = replace(cut_crops(rgb, self.describer.crops), remarks=found.remarks)
            return (rgb.shape[0], rgb.shape[1]), inputs
        except InputError as error:
            return error


@dataclass(frozen=True)
class CropVectors:
    """One picture's views of one crop set. ``rotations`` holds for each turn the views' vectors, float64
    [R, C]. ``weights`` holds one weight for each view. ``crops`` is the number of crops of one turn that went
    through the backend."""

    rotations: tuple[tuple[np.ndarray, ...], ...]
    weights: tuple[float, ...]
    crops: int
