"""Vectors that stay in a file: the rows of which a search reads only its candidates."""

import os
import struct
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kestrel.sw.retrieval.search.structures import faiss

BLOCK = 1 << 14
"""Rows read or written at a time."""

ALIGNMENT = 64

QUERIES = 16
"""Whose rows are copied at a time: so few that the copies stay in the processor's cache."""

_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member of a ZIP archive: what is before the lengths of its name and of its extra field."""

_ALIGNING = 0xD935
"""Identifier of an extra field that only fills, as tools that align archives write it."""


class Rows:
    """Numbers [N, D] of one dtype, partly in a mapped file and partly in memory. ``append``, ``keep``,
    ``take``, ``blocks``; the mapped part costs memory only where it is read, and the system takes that back
    when it needs it."""

    def __init__(self, first: np.ndarray, spool: Path | None = None) -> None:
        """``spool``: a folder in which a file without a name takes what is appended, instead of memory."""
        self._parts = [first]
        self._places: np.ndarray | None = None  # int64 [N], where rows lie in the parts; None: in order
        self._file: IO[bytes] | None = None
        if spool is not None:
            self._file = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - as long as the rows
            weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._held if self._places is None else len(self._places)

    @property
    def _held(self) -> int:
        return sum(map(len, self._parts))

    def append(self, block: np.ndarray) -> None:
        """Adds rows to the end, in memory or in the spool."""
        if not len(block):
            return
        if self._places is not None:
            self._places = np.concatenate([self._places, self._held + np.arange(len(block))])
        if self._file is None:
            self._parts.append(np.array(block, dtype=self._parts[0].dtype))
            return
        first = self._parts[0]
        self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(block, dtype=first.dtype).tobytes())
        self._file.flush()
        spooled = np.memmap(self._file, first.dtype, "r").reshape(-1, first.shape[1])
        self._parts[1:] = [spooled]

    def keep(self, mask: np.ndarray) -> None:
        """Forgets the rows where ``mask``, bool [N], is False; the others move up."""
        places = np.arange(self._held) if self._places is None else self._places
        self._places = places[mask]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """A copy of some rows: int64 [...] -> [..., D]."""
        wanted = rows if self._places is None else self._places[rows]
        filled = [part for part in self._parts if len(part)]
        if len(filled) == 1:
            return np.asarray(filled[0])[wanted]
        found = np.empty((*wanted.shape, self._parts[0].shape[1]), dtype=self._parts[0].dtype)
        start = 0
        for part in self._parts:
            here = (wanted >= start) & (wanted < start + len(part))
            found[here] = part[wanted[here] - start]
            start += len(part)
        return found

    def products(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Inner products of float32 queries [Q, D] with what is stored of ``rows``, int64 [Q, K]: float32
        [Q, K]. Floats in one part are not copied."""
        filled = [part for part in self._parts if len(part)]
        places = rows if self._places is None else self._places[rows]
        if len(filled) == 1 and filled[0].dtype == np.float32:
            found = np.empty(rows.shape, dtype=np.float32)
            queries, places = np.ascontiguousarray(queries), np.ascontiguousarray(places)
            faiss.fvec_inner_products_by_idx(
                faiss.swig_ptr(found), faiss.swig_ptr(queries), faiss.swig_ptr(filled[0]),
                faiss.swig_ptr(places), queries.shape[1], *rows.shape)
            return found
        found = [np.matmul(self.take(rows[start:start + QUERIES]).astype(np.float32),
                           queries[start:start + QUERIES, :, None])[:, :, 0]
                 for start in range(0, len(rows), QUERIES)]
        return np.concatenate(found)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in their order, BLOCK at a time."""
        for start in range(0, len(self), BLOCK):
            yield self.take(np.arange(start, min(start + BLOCK, len(self))))

    def write(self, stream: IO[bytes]) -> None:
        """In NumPy's file format."""
        about = {"descr": np.lib.format.dtype_to_descr(self._parts[0].dtype), "fortran_order": False,
                 "shape": (len(self), self._parts[0].shape[1])}
        np.lib.format.write_array_header_1_0(stream, about)
        for block in self.blocks():
            stream.write(block.tobytes())


def aligned_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A member to write next into an archive without compression (with ``force_zip64``), whose content will
    begin at a multiple of ALIGNMENT, so that numbers in it can be mapped."""
    member = zipfile.ZipInfo(name)
    zip64 = 20
    begin = archive.start_dir + _LOCAL_HEADER.size + len(name.encode()) + zip64 + 4
    filler = -begin % ALIGNMENT
    member.extra = struct.pack("<HH", _ALIGNING, filler) + bytes(filler)
    return member


def mapped_rows(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """A member of an archive, written by ``Rows.write`` without compression, mapped and not read. Raises
    ValueError when it is no such array or the file ends within it."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with path.open("rb") as file:
        file.seek(member.header_offset)
        begin = member.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(
            file.read(_LOCAL_HEADER.size)))
        file.seek(begin)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not an array as it is written here")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or len(shape) != 2 or dtype not in (np.float32, np.uint8):
            raise ValueError(f"{name} is {dtype} {list(shape)}")
        offset = file.tell()
    if offset + dtype.itemsize * shape[0] * shape[1] != begin + member.file_size:
        raise ValueError(f"{name} of {list(shape)} does not fill its place")
    if not shape[0]:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)
