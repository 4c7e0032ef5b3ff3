"""Pictures as the functions of this package take them: in memory, as files, or as folders of files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.picture_manifest import MANIFEST
from kestrel.sw.compress.calibrate import CalibrationPictures, Progress, folder_pictures, silent
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.network import IMAGE_CHANNELS
from kestrel.sw.model.preprocessing import Preprocessing, find_preprocessing
from kestrel.sw.pictures.images import (
    IMAGE_SUFFIXES,
    generate_picture,
    open_image,
    quantise_pixels,
    resize,
)
from kestrel.sw.pictures.listing import find_pictures
from kestrel.sw.pictures.scenes import write_scenes as write_scene_files
from kestrel.sw.pictures.shapes import CLASSES, make_shapes
from kestrel.sw.pictures.shapes import write_shapes as write_shape_files
from kestrel.sw.pictures.sizes import Size, height_width

Picture = np.ndarray | torch.Tensor
"""One picture in memory: uint8 RGB [H, W, 3]."""

Pictures = str | Path | Picture | Sequence[str | Path | Picture]
"""A file, a folder of them, a picture or a batch [N, H, W, 3] of them in memory, or several of these."""

_GENERATED = re.compile(r"random:([0-9]{1,9})")


@dataclass(frozen=True)
class Scenes:
    """Generated views of places. folder: with the pictures and ``manifest``, which says what belongs
    together; files: names of the pictures, relative to it."""

    folder: Path
    manifest: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """Generated pictures with labels. folder: with a folder a class; classes: their names; count: of the
    pictures."""

    folder: Path
    classes: tuple[str, ...]
    count: int


def load_pictures(pictures: Pictures, size: Size) -> np.ndarray:
    """Pictures as one batch.

    Parameters: pictures: as ``Pictures`` says; size: to which each is stretched, pixels.
    Returns uint8 RGB [N, height, width, 3]. Raises InputError for what is no picture.
    """
    height, width = height_width(size)
    return np.stack([resize(rgb, height, width) for _, rgb in named_pictures(pictures)])


def network_input(network: CompressedNetwork, pictures: Pictures, size: Size | None = None) -> np.ndarray:
    """What the chip gets for pictures: channels in the network's order, values rounded to its activations.

    Parameters: pictures: as ``Pictures`` says; size: to which each is stretched, pixels (None: as they are,
    all alike). Returns uint8 [N, C, height, width], values below 2**activation_bits. Raises InputError.
    """
    preprocessing = image_preprocessing(network)
    found = [rgb for _, rgb in named_pictures(pictures)]
    if size is not None:
        found = [resize(rgb, *height_width(size)) for rgb in found]
    if len(sizes := {rgb.shape[:2] for rgb in found}) > 1:
        raise InputError(f"pictures of {len(sizes)} sizes; allowed: all of one size, or with a size")
    return np.stack([quantise_pixels(rgb, preprocessing, network.activation_bits) for rgb in found])


def image_preprocessing(network: CompressedNetwork) -> Preprocessing:
    """The network's. Raises InputError for a network that does not take images."""
    channels = network.layers[0].shape.in_channels
    if channels != IMAGE_CHANNELS:
        raise InputError(f"network {network.name}: {channels} input channels; "
                         f"allowed for an image: {IMAGE_CHANNELS}")
    return find_preprocessing(network.preprocessing)


def write_scenes(folder: str | Path, *, groups: int = 12, views: int = 4, seed: int = 1,
                 size: Size = (240, 320), force: bool = False, progress: Progress | None = None) -> Scenes:
    """Generates scenes to try retrieval on: ``views`` pictures of each of ``groups`` places, and a manifest
    that says which belong together, as the protocol "groups" reads it.

    Parameters: folder: to write, new, empty or written before with the same settings; seed: of the first
    place, the next has the next one; size: of the pictures, pixels; force: an output of another run in the
    folder is replaced too. Raises InputError.
    """
    folder = Path(folder)
    height, width = height_width(size)
    with (progress or silent)("generating", groups * views) as advance:
        rows = write_scene_files(folder, groups, views, seed, height, width, advance, force=force)
    return Scenes(folder, folder / MANIFEST, tuple(name for name, _ in rows))


def write_shapes(folder: str | Path, *, classes: int = 20, per_class: int = 40, seed: int = 1,
                 size: Size = 96, force: bool = False, progress: Progress | None = None) -> Shapes:
    """Generates labelled pictures to train on: outlines and patterns, a folder a class.

    Parameters: folder: to write, new, empty or written before with the same settings; per_class: pictures of
    each of the ``classes``; seed: of the first pictures, the next have the next ones; size: of the pictures,
    pixels; force: an output of another run in the folder is replaced too. Raises InputError.
    """
    folder = Path(folder)
    pictures = make_shapes(classes, per_class, *height_width(size), seed)
    with (progress or silent)("generating", len(pictures)) as advance:
        write_shape_files(folder, pictures, advance, force=force)
    return Shapes(folder, tuple(CLASSES[:classes]), len(pictures))


# --------------------------------------------------------------------------------------------------------
# What the other modules share
# --------------------------------------------------------------------------------------------------------


def in_memory(pictures: Pictures) -> bool:
    """Whether no file is named by them. Raises InputError for a mixture, and for nothing at all."""
    if isinstance(pictures, str | Path):
        return False
    if isinstance(pictures, np.ndarray | torch.Tensor):
        return True
    kinds = {not isinstance(picture, str | Path) for picture in pictures}
    if len(kinds) != 1:
        found = "files and pictures in memory" if kinds else "none"
        raise InputError(f"pictures: {found}; allowed: either files and folders, or pictures in memory")
    return kinds.pop()


def arrays(pictures: Pictures) -> list[np.ndarray]:
    """Pictures in memory, uint8 RGB [H, W, 3] each. Raises InputError for anything else."""
    batch = isinstance(pictures, np.ndarray | torch.Tensor)
    items: Sequence[Any] = [pictures] if batch and pictures.ndim == 3 else pictures  # type: ignore[assignment]
    return [_array(picture, number) for number, picture in enumerate(items)]


def _array(picture: object, number: int) -> np.ndarray:
    found = picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else np.asarray(picture)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != IMAGE_CHANNELS or 0 in found.shape:
        raise InputError(f"picture {number}: {found.dtype} {list(found.shape)}; "
                         f"allowed: uint8 RGB [H, W, {IMAGE_CHANNELS}]")
    return found


def named_pictures(
    pictures: Pictures, generated: tuple[int, int] | None = None
) -> list[tuple[str, np.ndarray]]:
    """Names and pixels, uint8 RGB [H, W, 3] of their own sizes: pictures in memory by their number, files by
    their path. ``random:SEED`` stands for a picture of height and width ``generated`` (None: for none).
    Raises InputError."""
    if in_memory(pictures):
        return [(str(number), rgb) for number, rgb in enumerate(arrays(pictures))]
    found: list[tuple[str, np.ndarray]] = []
    for given in [pictures] if isinstance(pictures, str | Path) else pictures:
        assert isinstance(given, str | Path), "in_memory has seen to it"
        match = _GENERATED.fullmatch(str(given))
        if generated is not None and match is not None:
            found.append((str(given), generate_picture(*generated, int(match[1]))))
        elif Path(given).is_dir():
            found += [(path.as_posix(), open_image(path)) for path in find_pictures(given).paths]
        else:
            found.append((str(given), open_image(given)))
    return found


def calibration_pictures(pictures: Pictures, size: Size) -> CalibrationPictures:
    """Pictures to measure activations on, stretched to ``size``. Raises InputError."""
    height, width = height_width(size)
    if isinstance(pictures, str | Path) and Path(pictures).suffix.lower() not in IMAGE_SUFFIXES:
        return folder_pictures(pictures, height, width)
    found = named_pictures(pictures)
    names = tuple(name for name, _ in found)
    return CalibrationPictures(f"{len(found)} pictures", height, width, names,
                               lambda n: resize(found[n][1], height, width))


def collect_pictures(images: Sequence[str | Path]) -> tuple[list[Path], list[str], frozenset[str]]:
    """The files of files and folders, their names, and the names of those given by themselves.

    Folders are searched with all of theirs. One folder alone: names relative to it; otherwise as given.
    Raises InputError for a missing file, an empty folder, and a name that comes twice.
    """
    paths: list[Path] = []
    names: list[str] = []
    single: set[str] = set()
    for image in map(Path, images):
        if image.is_dir():
            found = find_pictures(image)
            paths += found.paths
            names += found.names if len(images) == 1 else [path.as_posix() for path in found.paths]
        elif image.exists():
            paths.append(image)
            names.append(image.as_posix())
            single.add(names[-1])
        else:
            raise InputError(f"{image}: no such file or folder; allowed: image files and folders of them")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{name}: given twice; allowed: each image once")
        seen.add(name)
    return paths, names, frozenset(single)
