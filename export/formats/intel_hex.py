"""Intel HEX: lines ``:LLAAAATT<data>CC`` of length, address, type, data and checksum.

Source: Intel, Hexadecimal Object File Format Specification, revision A, 1988. Used record types: 00 data,
01 end of file, 04 the upper 16 bits of the addresses that follow. The checksum makes all bytes of a record
add up to 0 modulo 256.
"""

from pathlib import Path

from kestrel.export.formats.words import Words
from kestrel.hw.spec.errors import InputError

DATA = 0
END = 1
EXTENDED_LINEAR_ADDRESS = 4

RECORD_BYTES = 32
"""Data bytes of a full record; divides 64 KiB, so that none crosses an extended address."""


def record(kind: int, address: int, data: bytes) -> str:
    """One record without the line's end."""
    body = bytes((len(data), address >> 8 & 0xFF, address & 0xFF, kind)) + data
    return f":{(body + bytes((-sum(body) & 0xFF,))).hex().upper()}"


def write_hex(words: Words) -> bytes:
    """A file's bytes: the words little endian from byte address 0."""
    lines: list[str] = []
    for address in range(0, len(words.data), RECORD_BYTES):
        if address & 0xFFFF == 0:
            lines.append(record(EXTENDED_LINEAR_ADDRESS, 0, (address >> 16).to_bytes(2, "big")))
        lines.append(record(DATA, address & 0xFFFF, words.data[address : address + RECORD_BYTES]))
    lines.append(record(END, 0, b""))
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def read_hex(path: Path, contents: bytes, word_bits: int, count: int) -> Words:
    """The words of a file whose data records follow each other without gap from address 0.

    Raises InputError with file and line for a malformed record, a wrong checksum, a record of another type,
    a gap, anything after the end record, and a file that ends early.
    """
    data = bytearray()
    upper = 0
    ended = False
    number = 0
    for number, line in enumerate(contents.split(b"\n"), start=1):
        if not line:
            continue
        body = _body(path, number, line)
        length, address, kind, payload = body[0], int.from_bytes(body[1:3], "big"), body[3], body[4:]
        if ended:
            raise InputError(f"{path}:{number}: a record after the end record; allowed: none")
        if length != len(payload):
            raise InputError(
                f"{path}:{number}: {len(payload)} data bytes; allowed: {length}, its length byte"
            )
        if kind == DATA:
            found = upper << 16 | address
            if found != len(data):
                raise InputError(
                    f"{path}:{number}: address 0x{found:08X}; allowed: 0x{len(data):08X}, the next"
                )
            data += payload
        elif kind == EXTENDED_LINEAR_ADDRESS and length == 2:
            upper = int.from_bytes(payload, "big")
        elif kind == END and length == 0:
            ended = True
        else:
            raise InputError(
                f"{path}:{number}: record type {kind:02X} of {length} bytes; allowed: 00, 01, 04"
            )
    if not ended:
        raise InputError(f"{path}:{number}: no end record; the file is truncated")
    expected = count * (word_bits // 8)
    if len(data) != expected:
        raise InputError(
            f"{path}:{number}: {len(data)} data bytes; allowed: {expected}, {count} words of {word_bits} bits"
        )
    return Words(word_bits, bytes(data))


def _body(path: Path, number: int, line: bytes) -> bytes:
    """A record's bytes without its checksum."""
    try:
        if line[:1] != b":" or b" " in line:
            raise ValueError
        body = bytes.fromhex(line[1:].decode("ascii"))
    except ValueError:
        raise InputError(f"{path}:{number}: not a record of ':' and pairs of hexadecimal digits") from None
    if len(body) < 5:
        raise InputError(f"{path}:{number}: record of {len(body)} bytes; allowed: at least 5")
    if sum(body) & 0xFF:
        raise InputError(f"{path}:{number}: checksum {body[-1]:02X}; allowed: {-sum(body[:-1]) & 0xFF:02X}")
    return body[:-1]
