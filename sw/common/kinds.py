"""What a file is, by its content: whether kestrel wrote it, and as what.

Names lie, and an output that replaces a file of another kind destroys something that nobody meant to give up.
Every file that a command writes carries a mark, which is looked for here.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from kestrel.sw.common.damaged import ARCHIVE_ERRORS

NETWORK = "a compressed network"
WHITENING = "a whitening"
WEIGHTS = "float weights that kestrel wrote"
CHECKPOINT = "a checkpoint of a training run"
CLASSIFIER = "a classifier of a training run"
LOG = "a log of a training run"
DESCRIPTORS = "a descriptor file"
INDEX = "an index of descriptors"
PAGE = "a page of search results"
DESIGN_PAGE = "a page of a design"
PER_QUERY = "values by query"
INTEGER_MODEL = "an ONNX model of a network's integers"
FLOAT_MODEL = "an ONNX model of a network's dequantised weights"
WAVES = "waveforms of a simulation"
REGRESS_RESULTS = "results of the nightly set"
REGRESS_JUNIT = "a JUnit file of the nightly set"
COVERAGE = "a report of coverage"
COVERAGE_PAGE = "a page of coverage"
NOTHING = "an empty file"
UNKNOWN = "an unknown file"

SAFETENSORS_KEY = "kestrel"
"""In the metadata of our safetensors files: JSON, whose ``kind`` tells a whitening from a network."""
CHECKPOINT_KEY = "kestrel-retrain"
KIND_KEY = "kestrel-kind"
"""In the metadata of safetensors files that have no JSON of ours: one of WEIGHTS and CLASSIFIER."""
INDEX_FORMAT = "kestrel-index"
MARK = "kestrel"
"""Who made it, in ONNX models, plots and pages."""
INTEGER_DOMAIN, FLOAT_DOMAIN = "kestrel.integers", "kestrel.floats"
"""``domain`` of our ONNX models."""

_HEAD = 1 << 16
"""Bytes of a file that are looked at: all marks stand near the beginning."""
_LINES = 8
_HEADER_MAX = 100_000_000
"""Of a safetensors header, as its specification says."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"), (b"\xff\xd8\xff", "a JPEG picture"), (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"), (b"MM\0*", "a TIFF picture"), (b"%PDF-", "a PDF document"),
    (b"\x93NUMPY", "an array of NumPy"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (b"\x80", "a pickle"),
    (b"\x7fELF", "a program"), (b"PK\x03\x04", "a zip archive"),
)  # fmt: skip


def plot_kind(command: str) -> str:
    """Of what ``kestrel COMMAND`` draws."""
    return f"a plot of `kestrel {command}`"


def plot_metadata(command: str, suffix: str) -> dict[str, Any]:
    """For ``savefig``: the mark by which ``file_kind`` knows the plot, and no date, so that the same plot
    gives the same bytes. suffix: .svg, .png or .pdf."""
    mark = f"{MARK} {command}"
    return {".svg": {"Creator": mark, "Date": None}, ".png": {"Software": mark},
            ".pdf": {"Creator": mark, "CreationDate": None}}[suffix]


def file_kind(path: Path) -> str:
    """The kind of a file that is there: one of the constants above, else what it looks like, in words.

    Raises OSError for a file that cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return NOTHING
    if (header := _safetensors_header(path, head)) is not None:
        return _of_safetensors(header)
    if head.startswith(b"PK\x03\x04"):
        return _of_archive(path)
    return (_of_plot(head) or _of_waves(head) or _of_onnx(head) or _of_text(head)
            or next((kind for start, kind in _SIGNATURES if head.startswith(start)), UNKNOWN))


def _safetensors_header(path: Path, head: bytes) -> dict[str, Any] | None:
    """Eight bytes of header length, then the header, JSON."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or not 2 <= length <= min(_HEADER_MAX, path.stat().st_size - 8) or head[8:9] != b"{":
        return None
    with path.open("rb") as file:
        file.seek(8)
        return _json(file.read(length))


def _of_safetensors(header: dict[str, Any]) -> str:
    metadata = header.get("__metadata__")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get(KIND_KEY) in (WEIGHTS, CLASSIFIER):
        return metadata[KIND_KEY]
    if CHECKPOINT_KEY in metadata:
        return CHECKPOINT
    if SAFETENSORS_KEY in metadata:
        about = _json(str(metadata[SAFETENSORS_KEY]).encode()) or {}
        return WHITENING if about.get("kind") == "whitening" else NETWORK
    return "weights or other arrays (safetensors)"


def _of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if {"vectors.npy", "names.npy", "settings.npy"} <= names:
                return DESCRIPTORS
            if "index.json" in names:
                about = _json(archive.read("index.json")) or {}
                if about.get("format") == INDEX_FORMAT:
                    return INDEX
    except ARCHIVE_ERRORS:
        return "a damaged zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file"
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of NumPy (npz)"
    return "a zip archive"


def _of_plot(head: bytes) -> str | None:
    marks = (rb"<dc:title>kestrel ([a-z]+)</dc:title>", rb"tEXtSoftware\0kestrel ([a-z]+)",
             rb"/Creator \(kestrel ([a-z]+)\)")
    starts = (b"<?xml", b"\x89PNG\r\n\x1a\n", b"%PDF-")
    for start, mark in zip(starts, marks, strict=True):
        if head.startswith(start) and (match := re.search(mark, head)) is not None:
            return plot_kind(match[1].decode())
    return None


def _of_waves(head: bytes) -> str | None:
    """FST: a block of type 0 and of 329 bytes; from byte 74 on, who wrote it."""
    if head[:9] != bytes([0]) + (329).to_bytes(8, "big"):
        return None
    return WAVES if b"Verilated" in head[74:202] else "waveforms of another program"


def _of_onnx(head: bytes) -> str | None:
    """Fields of ModelProto in their order: ``ir_version`` (1), ``producer_name`` (2), ``domain`` (4), ...
    There is no signature."""
    if len(head) < 4 or head[0] != 1 << 3 or not 0 < head[1] < 64:
        return None
    if head[2] != 2 << 3 | 2:
        return "an ONNX model" if head[2] in {field << 3 | 2 for field in range(3, 9)} | {5 << 3} else None
    for domain, kind in ((INTEGER_DOMAIN, INTEGER_MODEL), (FLOAT_DOMAIN, FLOAT_MODEL)):
        named = (2, MARK), (4, domain)
        if head[2:].startswith(b"".join(bytes([n << 3 | 2, len(x)]) + x.encode() for n, x in named)):
            return kind
    return "an ONNX model"


def _of_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely cut off within a letter
            return None
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        return None
    first = text.partition("\n")[0].strip()
    if text[:200].lstrip().lower().startswith(("<!doctype html", "<html")):
        pages = {"search": PAGE, "design": DESIGN_PAGE, "regress": COVERAGE_PAGE}
        return next((kind for command, kind in pages.items()
                     if f'<meta name="generator" content="{MARK} {command}">' in text), "an HTML page")
    if first == "query,split,positives,first,ap,recall_1,recall_4,recall_5,recall_10":
        return PER_QUERY
    if first.startswith("<?xml"):
        return REGRESS_JUNIT if '<testsuites name="kestrel regress"' in text else "an XML file"
    if text.startswith('{\n  "kestrel": "coverage"'):
        return COVERAGE
    for line in text.splitlines()[:_LINES]:  # the first may be torn
        entry = _json(line.encode()) if line.startswith("{") else None
        if entry is not None and entry.keys() >= {"step", "validation"}:
            return LOG
        if entry is not None and entry.keys() >= {"config", "kind", "seed", "sources", "passed", "crashed"}:
            return REGRESS_RESULTS
    return "a text file"


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
