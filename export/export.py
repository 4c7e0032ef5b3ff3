"""Writing a network's ROM images for an engine, and reading a network back from them.

An export is a folder: ``weights.*`` and ``table.*`` in every format of ``export.formats.files``, the C header
and the manifest.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kestrel.export.c_header import HEADER, c_header
from kestrel.export.descriptor_rom import decode_descriptor, encode_descriptor
from kestrel.export.entries import (
    GRAPH_VERSION,
    TABLES_VERSION,
    VERSION,
    GraphEntry,
    LayerEntry,
    Manifest,
    MemoryEntry,
    file_entry,
)
from kestrel.export.formats.files import FORMATS, write_words
from kestrel.export.formats.words import Words
from kestrel.export.manifest import read_manifest, read_memory, verify_files, write_manifest
from kestrel.export.schedule_table import encode_table, network_crc, seal_table
from kestrel.export.weight_decoder import decode_weights
from kestrel.export.weight_rom import RomImage, encode_weights
from kestrel.export.weight_tiles import Outline, place_layers
from kestrel.hw.spec.descriptor import descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.table import KIND_CONV, KIND_OUTPUT
from kestrel.sw.common.files import atomic_directory, check_output_directory
from kestrel.sw.common.origin import Origin
from kestrel.sw.model.bounds import check_accumulators
from kestrel.sw.model.compressed import CompressedLayer, CompressedNetwork, content_digest
from kestrel.sw.model.validation import validate
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants

WEIGHTS = "weights"
TABLE = "table"
DESCRIPTOR = "descriptor"


@dataclass(frozen=True)
class ExportReport:
    """What was written: the folder, its manifest, and the paths of all files, the manifest's included."""

    directory: Path
    manifest: Manifest
    files: tuple[Path, ...]


def export_network(
    network: CompressedNetwork,
    config: EngineConfig,
    height: int,
    width: int,
    directory: Path,
    descriptor: DescriptorConstants | None = None,
    *,
    images: int = 1,
    inner: Sequence[int] = (),
    force: bool = False,
) -> ExportReport:
    """Write the export of a network for frames of ``images`` images of ``height`` x ``width`` on an engine;
    with ``descriptor`` for a chip with a descriptor unit. ``inner``: layers whose maps it describes besides
    that of the last.

    The folder appears whole or not at all; an earlier export of the same network and settings is replaced,
    with ``force`` any earlier output, and any other folder that is not empty is refused. Raises InputError
    for a network that is not valid, whose accumulators could overflow, or that the configuration cannot hold
    (for a descriptor: with its maps whole), for constants of other maps, and for a folder that cannot be
    written.
    """
    constants = None if descriptor is None else encode_descriptor(descriptor, descriptor_unit(config))
    origin = Origin("an export", {
        "network": network.name, "network file": content_digest(network), "config": asdict(config),
        "height": height, "width": width, "descriptor": None if constants is None else constants.crc32,
        "batch": images if images > 1 else None, "maps": list(inner),
    })  # fmt: skip
    check_output_directory(directory, origin, force=force)
    check_accumulators(network)
    plan = make_plan(network, config, height, width, images, inner=inner)
    rom = encode_weights(network, config)
    if descriptor is not None:
        _check_descriptor(plan, descriptor)
    table = seal_table(encode_table(plan), plan, rom.words, constants)
    _check_agreement(plan, rom)
    with atomic_directory(directory, origin, force=force) as temporary:
        roms = {WEIGHTS: rom.words, TABLE: table}
        if constants is not None:
            roms[DESCRIPTOR] = constants
        for stem, words in roms.items():
            for suffix in FORMATS:
                write_words(words, temporary / f"{stem}.{suffix}")
        manifest = _manifest(network, plan, rom, table, constants, temporary)
        write_manifest(manifest, temporary)
        names = sorted(path.name for path in temporary.iterdir())
    return ExportReport(directory, manifest, tuple(directory / name for name in names))


def import_network(directory: str | Path) -> CompressedNetwork:
    """The network of an export, equal to the one that was exported.

    Every file is checked against the manifest first. Raises InputError, naming the file, for anything that is
    missing, damaged or inconsistent with the rest.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    table = read_memory(directory / f"{TABLE}.bin", manifest.table)
    if network_crc(table) != manifest.network_crc32:
        raise InputError(
            f"{directory / 'manifest.json'}: network_crc32 = {manifest.network_crc32:08x}; "
            f"expected: {network_crc(table):08x}, as in the table"
        )
    path = directory / f"{WEIGHTS}.bin"
    words = read_memory(path, manifest.weights)
    shapes = _outlines(manifest)
    for entry, placed in zip(manifest.layers, place_layers(shapes, manifest.config), strict=True):
        if (entry.rom_word, entry.rom_words) != (placed.word, placed.words):
            raise InputError(
                f"{directory / 'manifest.json'}: layer {entry.name} has {entry.rom_words} ROM words from "
                f"{entry.rom_word} on; expected: {placed.words} from {placed.word} on"
            )
    try:
        weights = decode_weights(words, shapes, manifest.config)
        layers = tuple(
            CompressedLayer(
                shape=s.shape, mask_bits=s.mask_bits, mask=w.mask, alpha=w.alpha, bias=w.bias,
                shift=e.shift, scale=e.scale, trained=e.trained,
                shortcut_alpha=w.shortcut_alpha, shortcut_sign=w.shortcut_sign,
                shortcut_shift=e.graph.shortcut_shift if e.graph else 0, scalar_bits=s.scalar_bits,
            )
            for s, w, e in zip(shapes, weights, manifest.layers, strict=True)
        )  # fmt: skip
        network = CompressedNetwork(
            manifest.network, manifest.activation_bits, manifest.preprocessing, weights[0].pad, layers,
            manifest.blocks,
        )
        validate(network)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return network


def _outlines(manifest: Manifest) -> list[Outline]:
    """What ``weight_rom.outlines`` gives of the network."""
    shapes = manifest.shapes
    channels = [0 if s.shortcut is None else shapes[s.shortcut.source].out_channels for s in shapes]
    return [
        Outline(s, e.mask_bits, e.has_pad, n == 0, c, e.scalar_bits)
        for n, (s, e, c) in enumerate(zip(shapes, manifest.layers, channels, strict=True))
    ]


def _check_agreement(plan: Plan, rom: RomImage) -> None:
    """The plan and the ROM place the layers independently; the engine reads where the plan says."""
    planned = [(r.weight_base, r.weight_words) for r in plan.records if r.kind == KIND_CONV]
    assert planned == [(layer.word, layer.words) for layer in rom.layers]


def _check_descriptor(plan: Plan, descriptor: DescriptorConstants) -> None:
    """Raises InputError unless they fit the maps that are output, and these lie whole in the memory."""
    outputs = [record for record in plan.records if record.kind == KIND_OUTPUT]
    expected = [[record.channels, record.height // plan.images, record.width] for record in outputs]
    found = [[part.channels, part.height, part.width] for part in descriptor.maps]
    if found != expected:
        raise InputError(f"descriptor constants of maps {found}; allowed: {expected}")
    if sum(plan.records[visit.record].kind == KIND_OUTPUT for visit in plan.visits) != len(outputs):
        raise InputError(
            f"configuration {plan.config.name!r}: a map does not lie whole in the feature memory, "
            "which a descriptor needs; allowed: larger feature_words, or a smaller image"
        )


def import_descriptor(directory: Path) -> DescriptorConstants | None:
    """The descriptor unit's constants in an export, None if it has none. Raises InputError, naming the
    file."""
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    if manifest.descriptor is None:
        return None
    path = directory / f"{DESCRIPTOR}.bin"
    try:
        return decode_descriptor(read_memory(path, manifest.descriptor))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _manifest(
    network: CompressedNetwork,
    plan: Plan,
    rom: RomImage,
    table: Words,
    descriptor: Words | None,
    directory: Path,
) -> Manifest:
    """The manifest of the image files in ``directory``; writes the header, which it lists too."""
    records = [record for record in plan.records if record.kind == KIND_CONV]
    shapes = [layer.shape for layer in network.layers]
    version = TABLES_VERSION if network.has_tables else VERSION if network.is_plain else GRAPH_VERSION
    layers = tuple(
        LayerEntry(
            name=layer.shape.name,
            in_channels=layer.shape.in_channels,
            out_channels=layer.shape.out_channels,
            height=record.height // plan.images,
            width=record.width,
            mask_bits=layer.mask_bits,
            shift=layer.shift,
            pool=layer.shape.pool,
            has_pad=placed.outline.has_pad,
            scale=float(layer.scale),
            trained=layer.trained,
            rom_word=placed.word,
            rom_words=placed.words,
            graph=None if version == VERSION else GraphEntry.of(shapes, number, layer.shortcut_shift),
            scalar_bits=layer.scalar_bits,
        )
        for number, (layer, record, placed) in enumerate(
            zip(network.layers, records, rom.layers, strict=True)
        )
    )

    def manifest(files: list[Path]) -> Manifest:
        return Manifest(
            version=version,
            network=network.name,
            activation_bits=network.activation_bits,
            preprocessing=network.preprocessing,
            config=plan.config,
            height=plan.height,
            width=plan.width,
            images=plan.images,
            layers=layers,
            weight_bits=network.weight_bits,
            rom_bits=rom.rom_bits,
            overhead=rom.overhead,
            weights=MemoryEntry.of(rom.words),
            table=MemoryEntry.of(table),
            network_crc32=network_crc(table),
            descriptor=None if descriptor is None else MemoryEntry.of(descriptor),
            files=tuple(file_entry(path) for path in files),
            blocks=network.blocks,
        )

    (directory / HEADER).write_text(c_header(manifest([])), encoding="ascii")
    return manifest(sorted(directory.iterdir()))
