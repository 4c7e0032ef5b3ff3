"""Files of plain arrays: safetensors, as one file or in shards, and NumPy archives."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO

import numpy as np
from safetensors import SafetensorError, safe_open

from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.files.entries import READ_ERRORS, Entry, StoredArrays, one_line


@contextmanager
def open_safetensors(path: Path) -> Iterator[StoredArrays]:
    """Opens a safetensors file. Raises InputError."""
    with ExitStack() as stack:
        yield StoredArrays(str(path), "safetensors", _tensors(path, stack))


@contextmanager
def open_sharded_safetensors(path: Path) -> Iterator[StoredArrays]:
    """Opens all the files that an index names in its ``weight_map``, which maps keys to files. Raises
    InputError."""
    allowed = 'allowed: a safetensors index, {"weight_map": {KEY: FILE, ...}}'
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({one_line(error)}); {allowed}") from error
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InputError(f"{path}: no map from keys to files; {allowed}")
    with ExitStack() as stack:
        entries: dict[str, Entry] = {}
        for name in sorted(set(shards.values())):
            if PurePath(name).name != name:
                raise InputError(f"{path}: file {name!r}; allowed: names of files in the index's own folder")
            shard = path.with_name(name)
            if not shard.is_file():
                raise InputError(f"{path}: shard {name} is missing; allowed: all shards in the same folder")
            entries |= _tensors(shard, stack)
        missing = [key for key in shards if key not in entries]
        if missing:
            raise InputError(f"{path}: {missing[0]} is not in {shards[missing[0]]}; "
                             "allowed: an index of these shards")
        yield StoredArrays(str(path), f"safetensors in {len(set(shards.values()))} shards", entries)


def _tensors(path: Path, stack: ExitStack) -> dict[str, Entry]:
    try:
        file = stack.enter_context(safe_open(str(path), framework="pt"))
        return {
            # key is bound as a default argument, because a closure would see only the loop's last key.
            key: Entry(tuple(file.get_slice(key).get_shape()), lambda key=key: file.get_tensor(key))
            for key in file.keys()  # noqa: SIM118 (not a mapping)
        }
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({one_line(error)}); "
                         "allowed: a whole .safetensors file") from error


@contextmanager
def open_npz(path: Path) -> Iterator[StoredArrays]:
    """Opens a NumPy archive. Raises InputError, also for a single array (.npy)."""
    # The file is opened here because np.load leaves its own file open when it finds no archive.
    with path.open("rb") as stream:
        try:
            file = np.load(stream, allow_pickle=False)
        except READ_ERRORS as error:
            raise InputError(f"{path}: not a readable npz file ({one_line(error)}); "
                             "allowed: an archive of arrays without pickled objects") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: a single array; allowed: an .npz archive of named arrays")
        with file:
            _check_members(path, file)
            entries = {key: Entry(_shape(file, key), lambda key=key: file[key]) for key in file.files}
            yield StoredArrays(str(path), "npz", entries)


def _check_members(path: Path, file: "np.lib.npyio.NpzFile") -> None:
    """As much memory is taken for a member as the archive says that it holds."""
    assert file.zip is not None
    size = path.stat().st_size
    for member in file.zip.infolist():
        if member.compress_size > size:
            raise InputError(f"{path}: {member.filename[:80]!r} has {member.compress_size:,} bytes in a "
                             f"file of {size:,}; allowed: a whole archive")


def _shape(file: "np.lib.npyio.NpzFile", key: str) -> tuple[int, ...] | None:
    """The shape that the array's header gives, without reading the array itself; None without a header."""
    assert file.zip is not None
    member = f"{key}.npy"
    try:
        with file.zip.open(member if member in file.zip.namelist() else key) as stream:
            return _header_shape(stream)
    except READ_ERRORS:
        return None


def _header_shape(stream: IO[bytes]) -> tuple[int, ...]:
    if np.lib.format.read_magic(stream) == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[0]
    return np.lib.format.read_array_header_2_0(stream)[0]
