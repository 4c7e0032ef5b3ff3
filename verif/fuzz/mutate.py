"""Changes of files: of any bytes, of texts, of JSON, of safetensors and of zip archives."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""From a source of choices, a file's content and all seeds of the target to another content."""

_EDGES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -1)
_WORDS = (
    "", "0", "-1", "1e999", "-0", "nan", "inf", "null", "true", "[]", "{}", '""', "'", '"', "\\", "\n",
    "\r\n", "\0", "\ufeff", "\U0001f426", "9" * 30, "9" * 5000, "A" * 300, "../x", "/", "=", ",", ";", ":",
    "#", "0x", "é",
)  # fmt: skip
_VALUES = (
    None, True, False, 0, -1, 1, 2, 3, 1.5, -0.0, float("nan"), float("inf"), 2**31, 2**63, 2**64, 10**400,
    "", "a", "9", "\0", "\n", "x" * 300, [], {}, [0], {"a": 0}, [[]], "embedded", "vgg16",
)  # fmt: skip
_SIZE = 1 << 17
"""What a change may make of a file at most, in bytes."""


def any_bytes(source: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bits, bytes, numbers and pieces of a file: changed, taken out, doubled, or from another file."""
    out = bytearray(data or b"\0")
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        at = source.randrange(len(out)) if out else 0
        length = min(source.choice((1, 2, 4, 8, 64, 1024)), max(1, len(out) - at))
        kind = source.randrange(8)
        if kind == 0 and out:
            out[at] ^= 1 << source.randrange(8)
        elif kind == 1 and out:
            out[at] = source.choice((0, 0xFF, 0x7F, 0x80, source.randrange(256)))
        elif kind == 2:
            size = source.choice((1, 2, 4, 8))
            number = source.choice(_EDGES) + source.choice((0, 0, 1, -1))
            out[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, source.choice(("little", "big")))
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = source.randbytes(length)
        elif kind == 5:
            out[at:at] = out[at : at + length]
        elif kind == 6:
            other = source.choice(seeds)
            start = source.randrange(len(other) + 1)
            out[at : at + length] = other[start : start + length]
        else:
            del out[source.choice((at, source.randrange(len(out) + 1))) :]
    return bytes(out[:_SIZE])


def any_text(source: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Lines and words of a text: swapped, doubled, taken out, replaced."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(len(lines))
        kind = source.randrange(6)
        if kind == 0:
            lines.insert(at, lines[source.randrange(len(lines))])
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            other = source.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            line = lines[at]
            first, last = sorted((source.randrange(len(line) + 1), source.randrange(len(line) + 1)))
            word = source.choice((*_WORDS, source.choice(seeds)[:20].decode("latin-1")))
            lines[at] = line[:first] + word + (line[last:] if kind == 3 else line[first:])
    return "\n".join(lines).encode("utf-8", "replace")[:_SIZE]


def json_value(source: Random, value: Any) -> Any:
    """A JSON value with one place in it changed."""
    places = list(_places(value))
    if not places:
        return source.choice(_VALUES)
    container, key = source.choice(places)
    kind = source.randrange(6)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container[key], int | float):
        container[key] += source.choice((1, -1, 0.5, container[key]))
    elif kind == 2:
        other, from_ = source.choice(places)
        if other is not container:
            container[key] = json.loads(json.dumps(other[from_]))
    elif kind == 3 and isinstance(container, list):
        container.insert(key, container[key])
    elif kind == 3:
        container[source.choice(("", "x", str(key) * 2, "\n"))] = container[key]
    elif isinstance(container[key], str) and kind == 4:
        container[key] = _text_value(source, container[key])
    else:
        container[key] = source.choice(_VALUES)
    return value


def _text_value(source: Random, text: str) -> str:
    """A changed text; one that is JSON itself is often changed as such."""
    if text[:1] in "{[" and source.random() < 0.8:
        try:
            return json.dumps(json_value(source, json.loads(text)))
        except ValueError:
            pass
    return any_text(source, text.encode("utf-8", "replace"), (b"x",)).decode("utf-8", "replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every element of a list or object in the value: its container and its place there."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 20_000:
        node = waiting.pop()
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in inner:
            found.append((node, key))
            waiting.append(child)
    return found


def any_json(source: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A JSON document with a few values changed; any text if it is none."""
    try:
        value = json.loads(data)
        for _ in range(source.choice((1, 1, 2, 4))):
            value = json_value(source, value)
        return json.dumps(value).encode()[:_SIZE]
    except (ValueError, RecursionError, OverflowError):
        return any_text(source, data, seeds)


def any_safetensors(source: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Another header, as JSON, in which metadata is JSON again; or any bytes."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
    except (ValueError, struct.error):
        return any_bytes(source, data, seeds)
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(about, dict) and about and source.random() < 0.6:
        key = source.choice(list(about))
        about[key] = _text_value(source, str(about[key]))
    else:
        header = json_value(source, header)
    try:
        text = json.dumps(header).encode()
    except (ValueError, OverflowError):
        return any_bytes(source, data, seeds)
    return (struct.pack("<Q", len(text)) + text + data[8 + length :])[:_SIZE]


def any_archive(source: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A zip archive with one member changed, left out, renamed or from another archive, its sums right."""
    try:
        members = _members(data)
        others = _members(source.choice(seeds))
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError, EOFError):
        return any_bytes(source, data, seeds)
    if not members:
        return any_bytes(source, data, seeds)
    name = source.choice(list(members))
    kind = source.random()
    if kind < 0.1:
        del members[name]
    elif kind < 0.15:
        members[source.choice(("x.npy", "", "a/b", *others))] = members.pop(name)
    elif kind < 0.25 and others:
        members[name] = source.choice(list(others.values()))
    else:
        members[name] = _any_member(source, members[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", source.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for key, content in members.items():
            archive.writestr(zipfile.ZipInfo(key), content)
    return out.getvalue()[:_SIZE]


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist() if i.file_size <= _SIZE}


def _any_member(source: Random, content: bytes) -> bytes:
    """An array of NumPy by its header, JSON as such, or any bytes."""
    if content[:6] == b"\x93NUMPY" and source.random() < 0.6:
        end = content.find(b"\n") + 1
        text = any_text(source, content[10:end], (b"<f4", b"|O", b"<U9", b"(3,)", b"True"))
        return content[:8] + struct.pack("<H", len(text) % 65536) + text + content[end:]
    if content[:1] in (b"{", b"["):
        return any_json(source, content, (content,))
    return any_bytes(source, content, (content,))


def mutate(source: Random, data: bytes, seeds: Sequence[bytes], mutators: Sequence[Mutator]) -> bytes:
    """One to three changes, by the mutators of the kind of file."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        data = source.choice(mutators)(source, data, seeds)
    return data
