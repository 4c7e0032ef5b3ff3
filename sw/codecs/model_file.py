"""A network as one file: the streams of its arrays under their keys.

"KCM1" | count, 4 bytes | by array: length of the key, 1 byte | key | length of the stream, 4 bytes | stream
"""

from collections.abc import Mapping

import numpy as np

from kestrel.hw.spec.errors import InputError
from kestrel.sw.codecs import batch_norm, binary, masks, product, pruned, raw, residual, scalar, svd, vector
from kestrel.sw.codecs.coding.stream import Reader, family_of

MAGIC = b"KCM1"

DECODERS = {module.FAMILY: module.decode for module in (
    scalar, vector, binary, product, residual, svd, pruned, batch_norm, masks, raw)}
"""The decoder of every family of single arrays."""


def decode_array(stream: bytes) -> np.ndarray:
    """The array that a stream of any family stands for, float32. Raises InputError."""
    family = family_of(stream)
    if family not in DECODERS:
        raise InputError(f"coded weights of family {family}; allowed here: {', '.join(DECODERS)}")
    return DECODERS[family](stream)


def write_model(streams: Mapping[str, bytes]) -> bytes:
    """The file of the streams of a network's arrays."""
    parts = [MAGIC, len(streams).to_bytes(4, "little")]
    for key, stream in streams.items():
        name = key.encode()
        parts += [bytes((len(name),)), name, len(stream).to_bytes(4, "little"), stream]
    return b"".join(parts)


def model_bytes(lengths: Mapping[str, int]) -> int:
    """Bytes of the file of streams of these lengths."""
    return len(MAGIC) + 4 + sum(1 + len(key.encode()) + 4 + length for key, length in lengths.items())


def read_model(content: bytes) -> dict[str, bytes]:
    """The streams by key. Raises InputError for a file that ``write_model`` did not make."""
    if content[: len(MAGIC)] != MAGIC:
        raise InputError("coded network: does not begin as one; allowed: a whole file of an encoder")
    reader = Reader(content[len(MAGIC) :])
    found: dict[str, bytes] = {}
    for _ in range(reader.number(4)):
        try:
            key = reader.take(reader.number()).decode()
        except UnicodeDecodeError as error:
            raise InputError("coded network: a key that is no text; allowed: a whole file of an "
                             "encoder") from error
        found[key] = reader.take(reader.number(4))
    reader.end()
    return found
