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
    first_map,
    generate_picture,
    open_image,
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
"""A file, a folder of files, a picture or a batch [N, H, W, 3] in memory, or several of these."""

_GENERATED = re.compile(r"random:([0-9]{1,9})")


@dataclass(frozen=True)
class Scenes:
    """Generated views of places. ``folder`` contains the pictures and ``manifest``, which says which of them
    belong together. ``files`` are the names of the pictures, relative to the folder."""

    folder: Path
    manifest: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """Generated pictures with labels. ``folder`` contains one folder for each class, ``classes`` are the
    names of the classes, and ``count`` is the number of pictures."""

    folder: Path
    classes: tuple[str, ...]
    count: int


def load_pictures(pictures: Pictures, size: Size) -> np.ndarray:
    """Loads pictures as one batch.

    ``pictures`` are given as in ``Pictures``. Each is stretched to ``size``, in pixels.
    Returns uint8 RGB [N, height, width, 3]. Raises InputError for anything that is not a picture.
    """
    height, width = height_width(size)
    return np.stack([resize(rgb, height, width) for _, rgb in named_pictures(pictures)])


def network_input(network: CompressedNetwork, pictures: Pictures, size: Size | None = None) -> np.ndarray:
    """The first layer's input for pictures: channels in the network's order, values rounded to its
    activations, which is the chip's input; in 2x2 blocks for a network that takes them so.

    ``pictures`` are given as in ``Pictures``. Each is stretched to ``size``, in pixels (None: they keep their
    size, which must be the same for all). Returns uint8 [N, C, height, width] with values below
    2**activation_bits. Raises InputError.
    """
    preprocessing = image_preprocessing(network)
    found = [rgb for _, rgb in named_pictures(pictures)]
    if size is not None:
        found = [resize(rgb, *height_width(size)) for rgb in found]
    if len(sizes := {rgb.shape[:2] for rgb in found}) > 1:
        raise InputError(f"pictures of {len(sizes)} sizes; allowed: all of one size, or with a size")
    return np.stack([
        first_map(rgb, preprocessing, network.activation_bits, blocks=network.blocks) for rgb in found
    ])  # fmt: skip


def image_preprocessing(network: CompressedNetwork) -> Preprocessing:
    """The preprocessing of the network. Raises InputError for a network that does not take images."""
    channels = network.layers[0].shape.in_channels
    if channels != IMAGE_CHANNELS and not network.blocks:
        raise InputError(f"network {network.name}: {channels} input channels; "
                         f"allowed for an image: {IMAGE_CHANNELS}")
    return find_preprocessing(network.preprocessing)


def write_scenes(folder: str | Path, *, groups: int = 12, views: int = 4, seed: int = 1,
                 size: Size = (240, 320), force: bool = False, progress: Progress | None = None) -> Scenes:
    """Generates scenes for trying out retrieval: ``views`` pictures of each of ``groups`` places, and a
    manifest that says which belong together, in the form that the protocol "groups" reads.

    ``folder`` is written; it must be new, empty or written before with the same settings. ``seed`` is that of
    the first place; each further place has the next seed. ``size`` is that of the pictures, in pixels. With
    ``force`` an output of another run in the folder is replaced too. Raises InputError.
    """
    folder = Path(folder)
    height, width = height_width(size)
    with (progress or silent)("generating", groups * views) as advance:
        rows = write_scene_files(folder, groups, views, seed, height, width, advance, force=force)
    return Scenes(folder, folder / MANIFEST, tuple(name for name, _ in rows))


def write_shapes(folder: str | Path, *, classes: int = 20, per_class: int = 40, seed: int = 1,
                 size: Size = 96, force: bool = False, progress: Progress | None = None) -> Shapes:
    """Generates labelled pictures for training: outlines and patterns, one folder for each class.

    ``folder`` is written; it must be new, empty or written before with the same settings. ``per_class`` is
    the number of pictures of each of the ``classes``. ``seed`` is that of the first pictures; the next ones
    have the next seeds. ``size`` is that of the pictures, in pixels. With ``force`` an output of another run
    in the folder is replaced too. Raises InputError.
    """
    folder = Path(folder)
    pictures = make_shapes(classes, per_class, *height_width(size), seed)
    with (progress or silent)("generating", len(pictures)) as advance:
        write_shape_files(folder, pictures, advance, force=force)
    return Shapes(folder, tuple(CLASSES[:classes]), len(pictures))


# --------------------------------------------------------------------------------------------------------
# Shared by the other modules
# --------------------------------------------------------------------------------------------------------


def in_memory(pictures: Pictures) -> bool:
    """Whether the pictures are in memory, not files. Raises InputError for a mixture or for none."""
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
    """Pictures in memory, each uint8 RGB [H, W, 3]. Raises InputError for anything else."""
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
    """Names and pixels, uint8 RGB [H, W, 3] in their own sizes. Pictures in memory are named by their number,
    files by their path. ``random:SEED`` stands for a generated picture of the height and width ``generated``
    (None: it is not accepted). Raises InputError."""
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
    """Pictures on which activations are measured, stretched to ``size``. Raises InputError."""
    height, width = height_width(size)
    if isinstance(pictures, str | Path) and Path(pictures).suffix.lower() not in IMAGE_SUFFIXES:
        return folder_pictures(pictures, height, width)
    found = named_pictures(pictures)
    names = tuple(name for name, _ in found)
    return CalibrationPictures(f"{len(found)} pictures", height, width, names,
                               lambda n: resize(found[n][1], height, width))


def collect_pictures(images: Sequence[str | Path]) -> tuple[list[Path], list[str], frozenset[str]]:
    """The files in ``images`` (files and folders), their names, and the names of those that were given
    individually.

    Folders are searched with all their subfolders. If one folder alone is given, names are relative to it;
    otherwise they are as given. Raises InputError for a missing file, an empty folder, and a name that occurs
    twice.
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
