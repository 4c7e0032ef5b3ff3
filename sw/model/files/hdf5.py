"""Keras files: weights or whole models in HDF5 (``.h5``), and the zip archive around one (``.keras``)."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import Entry, StoredArrays, one_line

ARCHIVE_WEIGHTS = "model.weights.h5"
ARCHIVE_CONFIG = "config.json"


@contextmanager
def open_hdf5(path: Path) -> Iterator[StoredArrays]:
    """Opens a ``.h5`` file, whose arrays are keyed by their paths within it. Raises InputError."""
    with path.open("rb") as stream:
        yield from _read(path, stream, "Keras HDF5", None)


@contextmanager
def open_keras_archive(path: Path) -> Iterator[StoredArrays]:
    """Opens the HDF5 file inside a ``.keras`` archive in the same way. Raises InputError."""
    try:
        with ZipFile(path) as archive:
            config = json.loads(archive.read(ARCHIVE_CONFIG))
            content = archive.read(ARCHIVE_WEIGHTS)
    except (BadZipFile, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not a readable Keras archive ({one_line(error)}); "
                         f"allowed: a whole file with {ARCHIVE_CONFIG} and {ARCHIVE_WEIGHTS}") from error
    yield from _read(path, io.BytesIO(content), "Keras archive", config)


def _read(path: Path, stream: IO[bytes], kind: str, config: object) -> Iterator[StoredArrays]:
    try:
        import h5py  # noqa: PLC0415 (optional)
    except ImportError:
        raise InputError(f"{path}: a Keras file, which takes the package h5py to read; "
                         "allowed: after pip install 'kestrel-engine[keras]'") from None
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(stream, "r"))
            entries: dict[str, Entry] = {}

            def add(name: str, found: Any) -> None:
                if isinstance(found, h5py.Dataset):
                    entries[name] = Entry(tuple(found.shape), lambda: found[()])

            file.visititems(add)
            text = file.attrs.get("model_config")
            if config is None and text is not None:
                config = json.loads(text)
            settings = layer_settings(config)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a readable HDF5 file ({one_line(error)}); "
                             "allowed: a whole file that Keras wrote") from error
        yield StoredArrays(str(path), kind, entries, channels_last=True, settings=settings)


def layer_settings(config: object) -> dict[str, Mapping[str, object]] | None:
    """The settings of every layer of a model's configuration by layer name, in the model's order, with the
    layer's class as ``class_name``. Layers of nested models are included. None without a configuration."""
    if config is None:
        return None
    found: dict[str, Mapping[str, object]] = {}

    def walk(node: object) -> None:
        if not isinstance(node, dict):
            return
        inner = node.get("config")
        if not isinstance(inner, dict):
            return
        if isinstance(inner.get("layers"), list):
            for layer in inner["layers"]:
                walk(layer)
        elif isinstance(inner.get("name"), str):
            found[inner["name"]] = {**inner, "class_name": node.get("class_name")}

    walk(config)
    return found
