"""Inverted lists in a file: written cell by cell from one or several indexes, mapped by FAISS, read where a
search visits them."""

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np

from kestrel.sw.retrieval.search.structures import faiss

ROUNDED = 8
"""Entries that a list's place is rounded up to, so that its numbers, of 8 bytes, lie at multiples of 8."""

_FIELDS = 3
"""Of FAISS' table of lists on disk, 8 bytes each: entries, entries that have room, place in the file."""

Source = tuple[Any, int]
"""FAISS' inverted lists, and what is added to their numbers."""


def list_sizes(sources: Iterable[Source], cells: int) -> np.ndarray:
    """Entries of each cell over all sources: int64 [cells]."""
    return sum((np.array([lists.list_size(cell) for cell in range(cells)], dtype=np.int64)
                for lists, _ in sources), np.zeros(cells, dtype=np.int64))


def write_lists(stream: IO[bytes], sources: Sequence[Source], cells: int) -> None:
    """Each cell's codes of all sources, then their numbers. Takes memory for one cell of one source."""
    for cell in range(cells):
        sizes = [lists.list_size(cell) for lists, _ in sources]
        gap = -sum(sizes) % ROUNDED
        for (lists, _), size in zip(sources, sizes, strict=True):
            if size:
                stream.write(faiss.rev_swig_ptr(lists.get_codes(cell), size * lists.code_size).tobytes())
        stream.write(bytes(gap * sources[0][0].code_size))
        for (lists, shift), size in zip(sources, sizes, strict=True):
            if size:
                stream.write((faiss.rev_swig_ptr(lists.get_ids(cell), size) + shift).tobytes())
        stream.write(bytes(8 * gap))


def mapped_lists(file: IO[bytes], begin: int, length: int, sizes: np.ndarray, code_size: int) -> Any:
    """FAISS' inverted lists over the ``length`` bytes that ``write_lists`` wrote into ``file`` at ``begin``.
    Raises ValueError when sizes, int64 [cells], and length do not fit."""
    if sizes.dtype != np.int64 or sizes.ndim != 1 or not len(sizes) or (sizes < 0).any():
        raise ValueError(f"sizes of the lists are {sizes.dtype} {list(sizes.shape)}")
    room = -(-sizes // ROUNDED) * ROUNDED
    ends = np.cumsum(room * (code_size + 8))
    if ends[-1] != length:
        raise ValueError(f"lists of {length} bytes; {ends[-1]} are needed")
    # By descriptor and not by name: another process may have replaced the file.
    lists = faiss.OnDiskInvertedLists(len(sizes), code_size, f"/proc/self/fd/{file.fileno()}")
    lists.read_only = True
    # FAISS' Python interface copies the entries of its table; this is the table itself.
    address = int(lists.lists.data().this)
    table = np.ctypeslib.as_array((ctypes.c_uint64 * (_FIELDS * len(sizes))).from_address(address))
    table.reshape(-1, _FIELDS)[:] = np.stack([sizes, room, begin + ends - room * (code_size + 8)], axis=1)
    lists.totsize = os.fstat(file.fileno()).st_size
    if length:
        lists.do_mmap()
    return lists


def attach(index: Any, lists: Any, count: int) -> None:
    """Gives lists to an index, which then owns them."""
    index.replace_invlists(lists, True)
    lists.this.disown()
    index.ntotal = count


def in_memory(lists: Any) -> Any:
    """A copy of lists that can be changed."""
    copy = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
    lists.copy_subset_to(copy, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, 0, np.iinfo(np.int64).max)
    return copy


def is_mapped(index: Any) -> bool:
    """Whether an index' lists lie in a file and cannot be changed."""
    return isinstance(faiss.downcast_InvertedLists(index.invlists), faiss.OnDiskInvertedLists)


class WithoutLists:
    """A context in which an index has no entries, for writing what it has learned."""

    def __init__(self, index: Any) -> None:
        self._index, self._lists, self._count = index, index.invlists, index.ntotal
        self._empty = faiss.ArrayInvertedLists(index.nlist, index.code_size)  # held as long as FAISS uses it

    def __enter__(self) -> None:
        self._owned = self._index.own_invlists
        self._index.own_invlists = False  # or else replacing deletes them
        self._index.replace_invlists(self._empty, False)
        self._index.ntotal = 0

    def __exit__(self, *_: object) -> None:
        self._index.replace_invlists(self._lists, self._owned)
        self._index.ntotal = self._count
