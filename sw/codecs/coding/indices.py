"""Coding of indices into a codebook: with a fixed length, or by Huffman's code; and the entropy as bound.

The trees and the bits of Huffman's code are those of ``constriction``. A stream holds the length of every
codeword, a byte each, and not the counts: from probabilities 2**-length the same lengths follow, and with
them the same tree in the encoder and the decoder.
"""

from typing import Any

import constriction
import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs.coding.stream import Reader, check

CODINGS = ("fixed", "huffman")

_SYMBOL: Any = vars(constriction)["symbol"]
"""Compiled, without types."""

_WORD = 4
"""Bytes of the words in which ``constriction`` keeps bits."""


def check_coding(coding: str) -> None:
    """Raises InputError."""
    if coding not in CODINGS:
        raise InputError(f"coding {coding!r}; allowed: {', '.join(CODINGS)}")


def index_bits(codewords: int) -> int:
    """Bits of an index of fixed length; none where there is only one codeword."""
    return (codewords - 1).bit_length()


def entropy_bits(indices: np.ndarray, codewords: int) -> float:
    """Sum of the information of all indices, in bits, under their own frequencies: no code of one index after
    the other is shorter."""
    counts = np.bincount(indices.ravel(), minlength=codewords)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def write_indices(indices: np.ndarray, codewords: int, coding: str) -> bytes:
    """Integers [N] in 0..codewords - 1 -> one byte for the coding, and the bits. Raises InputError for an
    unknown coding."""
    check_coding(coding)
    coded = pack(indices, index_bits(codewords)) if coding == "fixed" else _huffman(indices, codewords)
    return bytes((CODINGS.index(coding),)) + coded


def read_indices(reader: Reader, count: int, codewords: int) -> np.ndarray:
    """``count`` indices, int64 [count], of what ``write_indices`` wrote. Raises InputError."""
    number = reader.number()
    check(number < len(CODINGS), f"coding number {number}")
    if CODINGS[number] == "fixed":
        bits = index_bits(codewords)
        found = unpack(reader.take(-(-count * bits // 8)), count, bits)
        check(not count or int(found.max()) < codewords, f"an index beyond {codewords} codewords")
        return found
    return _read_huffman(reader, count, codewords)


def pack(values: np.ndarray, bits: int) -> bytes:
    """Integers [N] of ``bits`` bits each, one behind the other, lowest bit first."""
    if not bits:
        return b""
    columns = (values.astype(np.int64)[:, None] >> np.arange(bits)).astype(np.uint8) & 1
    return np.packbits(columns.ravel(), bitorder="little").tobytes()


def unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    """int64 [count] of what ``pack`` made."""
    if not bits:
        return np.zeros(count, np.int64)
    columns = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits, bitorder="little")
    return columns.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))


def _huffman(indices: np.ndarray, codewords: int) -> bytes:
    counts = np.bincount(indices, minlength=codewords)
    used = np.flatnonzero(counts)
    lengths = np.zeros(codewords, np.uint8)
    if len(used) < 2:  # nothing to tell apart: the length 1 names the one codeword
        lengths[used] = 1
        return lengths.tobytes()
    lengths[used] = _lengths(counts[used])
    tree = _SYMBOL.huffman.EncoderHuffmanTree(_probabilities(lengths[used]))
    encoder, encode = _SYMBOL.QueueEncoder(), np.zeros(codewords, np.int64)
    encode[used] = np.arange(len(used))
    put = encoder.encode_symbol
    for symbol in encode[indices].tolist():
        put(symbol, tree)
    words, bits = encoder.get_compressed()
    data = np.ascontiguousarray(words, "<u4").tobytes()[: -(-bits // 8)]
    return lengths.tobytes() + len(data).to_bytes(4, "little") + data


def _read_huffman(reader: Reader, count: int, codewords: int) -> np.ndarray:
    lengths = np.frombuffer(reader.take(codewords), np.uint8)
    used = np.flatnonzero(lengths)
    if len(used) < 2:
        check(len(used) == 1 or not count, "no codeword at all")
        return np.full(count, used[0] if len(used) else 0, np.int64)
    check(abs(float(_probabilities(lengths[used]).sum()) - 1) < 1e-9, "lengths that are no code's")
    data = reader.take(reader.number(4))
    words = np.frombuffer(data + bytes(-len(data) % _WORD), "<u4").astype(np.uint32)
    tree = _SYMBOL.huffman.DecoderHuffmanTree(_probabilities(lengths[used]))
    get = _SYMBOL.QueueDecoder(words).decode_symbol
    try:
        symbols = np.fromiter((get(tree) for _ in range(count)), np.int64, count)
    except ValueError:  # what constriction raises behind the last bit
        symbols = None
    check(symbols is not None, f"fewer bits than {count} indices have")
    assert symbols is not None
    bits = int(lengths[used][symbols].astype(np.int64).sum())
    check(len(data) == -(-bits // 8), f"{len(data)} bytes of indices, not {-(-bits // 8)}")
    return used[symbols]


def _lengths(counts: np.ndarray) -> np.ndarray:
    """The lengths of Huffman's codewords for the counts of at least two symbols."""
    tree = _SYMBOL.huffman.EncoderHuffmanTree(counts / counts.sum())
    found = []
    for symbol in range(len(counts)):
        encoder = _SYMBOL.QueueEncoder()
        encoder.encode_symbol(symbol, tree)
        found.append(encoder.get_compressed()[1])
    return np.array(found)


def _probabilities(lengths: np.ndarray) -> np.ndarray:
    return 2.0 ** -lengths.astype(np.float64)
