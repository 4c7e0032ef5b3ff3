"""The manifest of an export, ``manifest.json``: what the files hold, and the checksums that verify it."""

import json
import math
import re
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from kestrel.export.entries import (
    GRAPH_VERSION,
    SHORTCUTS,
    TABLES_VERSION,
    VERSION,
    FileEntry,
    GraphEntry,
    LayerEntry,
    Manifest,
    MemoryEntry,
    file_entry,
)
from kestrel.export.formats.files import read_words
from kestrel.export.formats.words import Words
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.masks import MASK_BITS
from kestrel.hw.spec.table import LAYERS_MAX
from kestrel.hw.spec.widths import SCALAR_WIDTHS, centre_kernel_bits, kernel_bits
from kestrel.sw.model.graph import check_graph

MANIFEST = "manifest.json"
CHANNELS_MAX = 1 << 16


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Write ``manifest.json``; the same manifest gives the same bytes."""
    content = asdict(manifest)
    if manifest.images == 1:  # only that of a batch speaks of it
        del content["images"]
    if manifest.version == VERSION:  # a stack's does not speak of graphs
        del content["blocks"]
        for layer in content["layers"]:
            del layer["graph"]
    if manifest.version != TABLES_VERSION:
        for layer in content["layers"]:
            del layer["scalar_bits"]
    (directory / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """Read ``manifest.json`` and check every entry on its own. Raises InputError, naming the file."""
    path = directory / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; allowed: in a folder that export wrote"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; allowed: a manifest that export wrote") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); allowed: a manifest that export wrote") from error
    try:
        return _manifest(found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check size and SHA-256 of every file. Raises InputError that names the file, found and expected."""
    for entry in manifest.files:
        path = directory / entry.name
        if not path.is_file():
            raise InputError(f"{path}: missing; expected: a file of {entry.bytes} bytes")
        found = file_entry(path)
        if found.bytes != entry.bytes:
            raise InputError(f"{path}: {found.bytes} bytes; expected: {entry.bytes}")
        if found.sha256 != entry.sha256:
            raise InputError(f"{path}: SHA-256 {found.sha256}; expected: {entry.sha256}")


def read_memory(path: Path, memory: MemoryEntry) -> Words:
    """The words of one image file, checked against their CRC-32. Raises InputError that names the file, what
    was found and what was expected."""
    words = read_words(path, memory.word_bits, memory.words)
    if words.crc32 != memory.crc32:
        raise InputError(f"{path}: CRC-32 {words.crc32:08x}; expected: {memory.crc32:08x}")
    return words


# --------------------------------------------------------------------------------------------------------
# From JSON
# --------------------------------------------------------------------------------------------------------

Entry = TypeVar("Entry", LayerEntry, GraphEntry, MemoryEntry, FileEntry)


def _manifest(found: object) -> Manifest:
    if not isinstance(found, dict):
        raise InputError(f"{found!r:.40}; allowed: an object")
    version = found.get("version")
    versions = (VERSION, GRAPH_VERSION, TABLES_VERSION)
    if version not in versions:
        raise InputError(f"version = {version!r:.40}; allowed: {', '.join(map(str, versions))}")
    graph, tables = version != VERSION, version == TABLES_VERSION
    # Exports without a descriptor unit have none.
    given = {name: value for name, value in found.items() if (name, value) != ("descriptor", None)}
    kinds_of_descriptor = {"descriptor": dict} if "descriptor" in given else {}
    values: dict[str, Any] = _checked(
        given,
        "",
        {
            "version": int, "network": str, "activation_bits": int, "preprocessing": str, "config": dict,
            "height": int, "width": int, "layers": list, "weight_bits": int, "rom_bits": int,
            "overhead": float, "weights": dict, "table": dict, "network_crc32": int, "files": list,
            **kinds_of_descriptor, **({"blocks": bool} if graph else {}),
            **({"images": int} if "images" in given else {}),
        },
    )  # fmt: skip
    config = _config(values["config"])
    _require("images", values.get("images", 1), values.get("images", 1) > 0, "1 or more")
    layers = tuple(
        _layer(v, f"layers[{n}]", graph=graph, tables=tables) for n, v in enumerate(values["layers"])
    )
    names = ("weights", "table", *kinds_of_descriptor)
    memories = {name: _entry(MemoryEntry, values[name], name) for name in names}
    files = tuple(_entry(FileEntry, v, f"files[{n}]") for n, v in enumerate(values["files"]))
    for n, entry in enumerate(files):
        # A name with a folder in it would reach out of the export.
        _require(
            f"files[{n}].name",
            entry.name,
            re.fullmatch(r"\w[\w.-]{0,99}", entry.name) is not None,
            "a plain file name of at most 100 characters",
        )
    for name, memory in memories.items():
        _require(
            f"{name}.word_bits",
            memory.word_bits,
            memory.word_bits > 0 and memory.word_bits % 8 == 0,
            "a multiple of 8",
        )
        _require(f"{name}.words", memory.words, memory.words >= 0, "0 or more")
    _require(
        "weights.word_bits",
        memories["weights"].word_bits,
        memories["weights"].word_bits == config.rom_word_bits,
        f"{config.rom_word_bits}",
    )
    _require("number of layers", len(layers), 1 <= len(layers) <= LAYERS_MAX, f"1..{LAYERS_MAX}")
    for n, layer in enumerate(layers):
        _check_layer(layer, f"layers[{n}]", config)
    values |= {"descriptor": None} | memories
    manifest = Manifest(**{**values, "config": config, "layers": layers, "files": files})
    check_graph(manifest.shapes, blocks=manifest.blocks)
    for n in range(len(layers)):
        _check_words(manifest, n)
    return manifest


def _check_layer(layer: LayerEntry, where: str, config: EngineConfig) -> None:
    for name in ("in_channels", "out_channels"):
        value = getattr(layer, name)
        _require(f"{where}.{name}", value, 1 <= value <= CHANNELS_MAX, f"1..{CHANNELS_MAX}")
    _require(
        f"{where}.mask_bits",
        layer.mask_bits,
        layer.mask_bits in config.mask_widths,
        f"{MASK_BITS[0]}..{config.mask_bits_max}",
    )
    _require(
        f"{where}.scale", layer.scale, math.isfinite(layer.scale) and layer.scale > 0, "finite and above 0"
    )
    q = layer.scalar_bits
    _require(f"{where}.scalar_bits", q, q in SCALAR_WIDTHS, ", ".join(map(str, SCALAR_WIDTHS)))
    if layer.graph is not None:
        kind = layer.graph.shortcut
        _require(f"{where}.graph.shortcut", kind, kind in SHORTCUTS, ", ".join(SHORTCUTS))


def _check_words(manifest: Manifest, number: int) -> None:
    """Before anything as large as the channels say is allocated."""
    layer, shape = manifest.layers[number], manifest.shapes[number]
    if shape.shares is not None:
        least = 0
    else:
        q = layer.scalar_bits
        kernel = kernel_bits(layer.mask_bits, q) if shape.kernel == 3 else centre_kernel_bits(q)
        least = layer.in_channels * layer.out_channels * kernel
        if shape.shortcut is not None:
            channels = manifest.layers[shape.shortcut.source].out_channels if shape.shortcut.projection else 1
            least += channels * layer.out_channels * centre_kernel_bits(q)
        least = -(-least // manifest.config.rom_word_bits)
    _require(
        f"layers[{number}].rom_words", layer.rom_words, layer.rom_words >= least,
        f"at least {least} for its kernels",
    )  # fmt: skip


def _config(values: dict[str, Any]) -> EngineConfig:
    kinds: dict[str, Any] = {f.name: f.type for f in fields(EngineConfig)} | {"feature_words": list}
    # Exports from before there were these options do not tell of them.
    options = ("descriptor_", "residual", "batch", "scalar_tables")
    later = [f for f in fields(EngineConfig) if f.name.startswith(options)]
    added = {f.name: f.default for f in later}
    checked = _checked(added | values, "config.", kinds)
    return EngineConfig(**{**checked, "feature_words": tuple(checked["feature_words"])})


def _layer(value: object, where: str, *, graph: bool, tables: bool) -> LayerEntry:
    if not isinstance(value, dict) or not graph:
        return _entry(LayerEntry, value, where)
    if "graph" not in value:
        raise InputError(f"{where}.graph: missing")
    later = {"scalar_bits": int} if tables else {}
    parts = _checked({name: value[name] for name in later if name in value}, f"{where}.", later)
    own = {name: part for name, part in value.items() if name not in ("graph", *later)}
    entry, graph_entry = _entry(LayerEntry, own, where), _entry(GraphEntry, value["graph"], f"{where}.graph")
    return replace(entry, graph=graph_entry, **parts)


def _entry(kind: type[Entry], value: object, where: str) -> Entry:
    if not isinstance(value, dict):
        raise InputError(f"{where} = {value!r:.40}; allowed: an object")
    kinds = {f.name: f.type for f in fields(kind) if f.default is MISSING}
    return kind(**_checked(value, f"{where}.", kinds))


def _checked(values: dict[str, Any], where: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """The values, if their names and types are exactly those of ``kinds``."""
    for name in kinds.keys() | values.keys():
        if name not in kinds:
            raise InputError(f"{where}{name}: not known; allowed: {', '.join(kinds)}")
        if name not in values:
            raise InputError(f"{where}{name}: missing")
        _require(f"{where}{name}", values[name], type(values[name]) is kinds[name], kinds[name].__name__)
    return values


def _require(what: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise InputError(f"{what} = {value!r:.60}; allowed: {allowed}")
