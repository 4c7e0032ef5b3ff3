"""Memory images as files: ``.mem .bin .hex .coe .mif``, written and read back.

=======  ==========================================================================================
suffix   contents
=======  ==========================================================================================
``mem``  for Verilog's ``$readmemh`` (IEEE 1364-2005, 17.2.9): one word a line, from address 0
``bin``  the words, each little endian, nothing else
``hex``  Intel HEX (Intel, Hexadecimal Object File Format Specification, 1988): byte addresses, words
         little endian, extended linear addresses, 32 data bytes a record
``coe``  memory initialisation of AMD (Xilinx) FPGAs: radix 16, one word a line
``mif``  memory initialisation of Intel (Altera) FPGAs: hexadecimal, one word a line
=======  ==========================================================================================

Every reader refuses with InputError, naming the file and the line (``bin``: the size), whatever is not
exactly such a file with the number of words expected: a file that lost its end is never taken for a
shorter one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kestrel.export.formats.intel_hex import read_hex, write_hex
from kestrel.export.formats.words import Words
from kestrel.hw.spec.errors import InputError


@dataclass(frozen=True)
class Format:
    """``write(words)`` gives a file's bytes; ``read(path, contents, word_bits, count)`` their inverse."""

    write: Callable[[Words], bytes]
    read: Callable[[Path, bytes, int, int], Words]


def write_words(words: Words, path: Path) -> None:
    """Write an image in the format that the suffix names. Raises InputError for another suffix."""
    path.write_bytes(_format(path).write(words))


def read_words(path: Path, word_bits: int, count: int) -> Words:
    """Read ``count`` words of ``word_bits`` bits in the format that the suffix names. Raises InputError."""
    chosen = _format(path)
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return chosen.read(path, contents, word_bits, count)


def _format(path: Path) -> Format:
    try:
        return FORMATS[path.suffix[1:]]
    except KeyError:
        raise InputError(f"{path}: format {path.suffix!r}; allowed: .{', .'.join(FORMATS)}") from None


# --------------------------------------------------------------------------------------------------------
# .bin
# --------------------------------------------------------------------------------------------------------


def _write_bin(words: Words) -> bytes:
    return words.data


def _read_bin(path: Path, contents: bytes, word_bits: int, count: int) -> Words:
    expected = count * (word_bits // 8)
    if len(contents) != expected:
        raise InputError(
            f"{path}: {len(contents)} bytes; allowed: {expected}, {count} words of {word_bits} bits"
        )
    return Words(word_bits, contents)


# --------------------------------------------------------------------------------------------------------
# .mem, .coe, .mif: one word a line
# --------------------------------------------------------------------------------------------------------

_COE_HEAD = ("memory_initialization_radix=16;", "memory_initialization_vector=")
_MIF_TAIL = "END;"


def _write_mem(words: Words) -> bytes:
    return _lines(words.to_hex())


def _read_mem(path: Path, contents: bytes, word_bits: int, count: int) -> Words:
    lines = _text(path, contents)
    return _parse(path, word_bits, count, lines, 1, f"[0-9a-f]{{{word_bits // 4}}}")


def _write_coe(words: Words) -> bytes:
    digits = words.to_hex()
    ends = [","] * (len(digits) - 1) + [";"]
    return _lines([*_COE_HEAD, *(d + end for d, end in zip(digits, ends, strict=True))])


def _read_coe(path: Path, contents: bytes, word_bits: int, count: int) -> Words:
    lines = _text(path, contents)
    body = _after_head(path, lines, _COE_HEAD)
    if body and body[-1].endswith(";"):
        body[-1] = body[-1][:-1] + ","
    else:
        raise InputError(f"{path}:{len(lines)}: {_shown(lines[-1])}; allowed: a last word that ends with ';'")
    return _parse(path, word_bits, count, body, len(_COE_HEAD) + 1, f"([0-9a-f]{{{word_bits // 4}}}),")


def _mif_head(word_bits: int, count: int) -> tuple[str, ...]:
    return (
        f"WIDTH={word_bits};",
        f"DEPTH={count};",
        "ADDRESS_RADIX=HEX;",
        "DATA_RADIX=HEX;",
        "CONTENT BEGIN",
    )


def _write_mif(words: Words) -> bytes:
    body = [f"{address:x} : {digits};" for address, digits in enumerate(words.to_hex())]
    return _lines([*_mif_head(words.word_bits, len(words)), *body, _MIF_TAIL])


def _read_mif(path: Path, contents: bytes, word_bits: int, count: int) -> Words:
    lines = _text(path, contents)
    head = _mif_head(word_bits, count)
    body = _after_head(path, lines, head)
    if not body or body.pop() != _MIF_TAIL:
        raise InputError(f"{path}:{len(lines)}: {_shown(lines[-1])}; allowed: a last line {_MIF_TAIL!r}")
    for address, line in enumerate(body):
        if not line.startswith(f"{address:x} : "):
            raise InputError(
                f"{path}:{len(head) + 1 + address}: {_shown(line)}; allowed: address {address:x}"
            )
    return _parse(path, word_bits, count, body, len(head) + 1, f"[0-9a-f]+ : ([0-9a-f]{{{word_bits // 4}}});")


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _text(path: Path, contents: bytes) -> list[str]:
    """Lines of a text file of at least one line, the last of which is ended as the others are."""
    for number, line in enumerate(contents.split(b"\n"), start=1):
        if not line.isascii():
            raise InputError(f"{path}:{number}: a byte that is not ASCII; allowed: text")
    lines = contents.decode("ascii").split("\n")
    if lines.pop() != "" or not lines:
        raise InputError(f"{path}:{len(lines) + 1}: the file ends within a line; allowed: whole lines")
    return lines


def _after_head(path: Path, lines: list[str], head: tuple[str, ...]) -> list[str]:
    for number, expected in enumerate(head):
        found = lines[number] if number < len(lines) else ""
        if found != expected:
            raise InputError(f"{path}:{number + 1}: {_shown(found)}; allowed: {expected!r}")
    return lines[len(head) :]


def _parse(path: Path, word_bits: int, count: int, lines: list[str], first_line: int, pattern: str) -> Words:
    """Words of lines that all match ``pattern``, whose first group, or all of it, is the digits."""
    match = re.compile(pattern).fullmatch
    words: list[str] = []
    for number, line in enumerate(lines):
        found = match(line)
        if found is None:
            raise InputError(
                f"{path}:{first_line + number}: {_shown(line)}; "
                f"allowed: a word of {word_bits // 4} hexadecimal digits (lower case)"
            )
        words.append(found[found.re.groups])
    if len(words) != count:
        raise InputError(
            f"{path}:{first_line + len(words) - 1}: the file ends after {len(words)} words; allowed: {count}"
        )
    return Words.from_hex(word_bits, words)


def _shown(line: str) -> str:
    return repr(line if len(line) <= 40 else f"{line[:37]}...")


FORMATS: dict[str, Format] = {
    "mem": Format(_write_mem, _read_mem),
    "bin": Format(_write_bin, _read_bin),
    "hex": Format(write_hex, read_hex),
    "coe": Format(_write_coe, _read_coe),
    "mif": Format(_write_mif, _read_mif),
}
"""Formats by suffix."""
