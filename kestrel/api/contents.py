"""What a chip's ROMs hold, and what the reference gives for a picture: for the chip's test bench."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from kestrel.api.pictures import Pictures, image_preprocessing, named_pictures
from kestrel.export.entries import Manifest
from kestrel.export.export import import_descriptor, import_network
from kestrel.export.manifest import read_manifest
from kestrel.hw.emit.packaging.package import Contents
from kestrel.hw.emit.packaging.testbench import BenchFrame
from kestrel.hw.emit.packaging.wrapper import rom_names
from kestrel.hw.emit.rom_parameters import SUFFIX
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.images import resize
from kestrel.sw.planning.cycles import frame_cycles
from kestrel.sw.planning.plan import make_plan
from kestrel.sw.retrieval.pooling.integer_nip import describe
from kestrel.verif.simulate.compare import reference_maps

CHECKED_BITS = 32
"""Bits of a ROM that the self-check reads in a cycle."""


def chip_contents(chip: ChipConfig, roms: Path, picture: Pictures) -> Contents:
    """The ROM images of an export, and a frame that the test bench sends.

    Parameters: roms: folder that ``export_network`` wrote for this configuration; picture: one, as
    ``Pictures`` says. Raises InputError for a folder that is no such export or is damaged, for another
    configuration or for batches, for a chip with a descriptor unit and an export without its ROM, and for
    more than one picture.
    """
    network = import_network(roms)  # checks every file
    manifest = read_manifest(roms)
    _check_config(manifest.config, chip.engine, roms)
    constants = import_descriptor(roms) if chip.descriptor else None
    if chip.descriptor and constants is None:
        raise InputError(f"roms {roms}: no descriptor ROM; allowed: an export with --descriptor, or a chip "
                         "without a descriptor unit")
    if manifest.images > 1:
        raise InputError(
            f"roms {roms}: exported for {manifest.images} images a frame; allowed for the test bench: 1"
        )
    found = named_pictures(picture, (manifest.height, manifest.width))
    if len(found) != 1:
        raise InputError(f"{len(found)} pictures for the test bench; allowed: 1")
    pixels = image_preprocessing(network).pixels(resize(found[0][1], manifest.height, manifest.width))
    features = reference_maps(network, pixels)[-1]
    frame = BenchFrame(
        height=manifest.height, width=manifest.width,
        picture=_interleaved(pixels), features=_interleaved(features),
        description=describe([[features]], constants) if constants else b"",
        network_crc=manifest.network_crc32,
        patience=2 * frame_cycles(make_plan(network, chip.engine, manifest.height, manifest.width)).total
        + _check_cycles(manifest) + 10_000,
    )  # fmt: skip
    images = {rom: (roms / f"{rom}{SUFFIX}").read_text(encoding="ascii") for rom in rom_names(chip)}
    return Contents(images, frame)


def _interleaved(pixels: np.ndarray) -> bytes:
    """uint8 [C, H, W] in the order of the streams."""
    return pixels.astype(np.uint8).transpose(1, 2, 0).tobytes()


def _check_cycles(manifest: Manifest) -> int:
    """About what the self-check takes."""
    memories = [manifest.weights, manifest.table, *([manifest.descriptor] if manifest.descriptor else [])]
    return sum(memory.words * -(-memory.word_bits // CHECKED_BITS) for memory in memories)


def _check_config(found: EngineConfig, expected: EngineConfig, roms: Path) -> None:
    """The name does not matter. Raises InputError for the first field that differs."""
    for f in fields(EngineConfig):
        values = getattr(found, f.name), getattr(expected, f.name)
        if f.name != "name" and values[0] != values[1]:
            raise InputError(f"roms {roms}: exported for {f.name} = {values[0]}; allowed: {values[1]}, as in "
                             f"configuration {expected.name!r}")
