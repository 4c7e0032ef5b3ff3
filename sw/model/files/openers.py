"""Recognises the kind of a file by its content: suffixes can be wrong, and ``.bin`` says nothing."""

import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from zipfile import ZipFile

from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.damaged import ARCHIVE_ERRORS
from kestrel.sw.model.files.archives import open_npz, open_safetensors, open_sharded_safetensors
from kestrel.sw.model.files.entries import StoredArrays
from kestrel.sw.model.files.hdf5 import ARCHIVE_WEIGHTS, open_hdf5, open_keras_archive
from kestrel.sw.model.files.pytorch import REMEDY, open_pytorch

ALLOWED = ("safetensors (or an index of shards), a PyTorch state dictionary, npz, Keras .h5 or .keras, ONNX, "
           "or random:SEED")

Opener = Callable[[Path], AbstractContextManager[StoredArrays]]

_HEAD_BYTES = 16
_ONNX_IR_VERSIONS = range(1, 64)
_ONNX_SECOND_FIELDS = frozenset(field << 3 | 2 for field in range(2, 9)) | {5 << 3}
"""Tags that can follow ``ir_version``: producer, domain, documentation, graph and operator sets (all with a
length), and the model's version (a number)."""


def is_onnx(path: Path) -> bool:
    """Whether a file begins like an ONNX model. The format has no signature, so this looks for the field
    ``ir_version`` followed by one of the others. The suffix ``.onnx`` also suffices, so that the error for a
    damaged model calls it an ONNX model."""
    head = _head(path)
    return path.suffix.lower() == ".onnx" or (
        len(head) > 2 and not _is_safetensors(head) and head[0] == 1 << 3 and head[1] in _ONNX_IR_VERSIONS
        and head[2] in _ONNX_SECOND_FIELDS
    )


def open_arrays(path: Path) -> AbstractContextManager[StoredArrays]:
    """Opens the arrays of a file that is not ONNX. Raises InputError if the kind is not known; entering the
    context raises it for a damaged file."""
    return _opener(path)(path)


def _opener(path: Path) -> Opener:
    head = _head(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip_opener(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return open_hdf5
    if head.startswith(b"\x93NUMPY"):
        return open_npz
    if _is_safetensors(head):
        return open_safetensors
    if head.startswith(b"\x80") and b"\x8a\nl\xfc\x9cF\xf9 j" in head:  # PyTorch's magic number as a pickle
        return open_pytorch
    if head.startswith(b"\x80"):
        raise InputError(f"{path}: a pickle, which could run code and is not loaded; {REMEDY}")
    if head.lstrip().startswith(b"{"):
        return open_sharded_safetensors
    what = "an empty file" if not head else "none of the kinds of weights file that are known"
    raise InputError(f"{path}: {what}; allowed: {ALLOWED}")


def _is_safetensors(head: bytes) -> bool:
    """Whether a file begins with the length of a JSON object and its first character."""
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32


def _zip_opener(path: Path) -> Opener:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except ARCHIVE_ERRORS as error:
        raise InputError(f"{path}: a damaged or truncated zip archive (npz, PyTorch or Keras); "
                         f"allowed: {ALLOWED}") from error
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        raise InputError(f"{path}: TorchScript, a program and not only weights; {REMEDY}")
    if "data.pkl" in inner:
        return open_pytorch
    if ARCHIVE_WEIGHTS in names:
        return open_keras_archive
    if any(name.endswith(".npy") for name in names):
        return open_npz
    raise InputError(f"{path}: a zip archive of other things ({', '.join(names[:3]) or 'nothing'}); "
                     f"allowed: {ALLOWED}")


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)
