"""Runs pictures through the simulated chip, with the C driver as its host, and through the reference, and
compares their descriptors."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig, descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.hw.spec.registers import BY_NAME, DESCRIPTOR_BITS, DESCRIPTOR_BYTES
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.planning.cycles import FrameCycles, frame_cycles
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.retrieval.describe.backends import MapsBackend
from kestrel.sw.retrieval.describe.chip_constants import (
    check_rotations,
    joined_constants,
    map_shapes,
    plain_quantiser,
)
from kestrel.sw.retrieval.describe.crops import Inputs, cut_crops
from kestrel.sw.retrieval.describe.extract import Describer, make_describer
from kestrel.sw.retrieval.describe.maps import pooled_layers
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.cycles import descriptor_cycles
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants, describe, vector_of
from kestrel.sw.retrieval.pooling.integer_nip import region_squares as squares_of
from kestrel.sw.retrieval.pooling.quantise import Quantiser
from kestrel.verif.build.rtl import build_chip
from kestrel.verif.build.verilator import Build
from kestrel.verif.simulate.chip_frame import ChipInput, run_chip_frames
from kestrel.verif.simulate.frame import Pauses, Waves, write_descriptor, write_files

KINDS = {"bytes": DESCRIPTOR_BYTES, "bits": DESCRIPTOR_BITS}


@dataclass(frozen=True)
class DescriptorReport:
    """A picture's descriptor in one kind: the bytes found and those of the reference; for each frame the
    chip's cycles and those of the closed form; for the last frame, how its cycles were spent."""

    kind: str
    found: bytes
    expected: bytes
    frames: int
    cycles: tuple[int, ...]
    model_cycles: tuple[int, ...]
    descriptor_cycles: tuple[int, ...]
    counters: dict[str, int]
    calls: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def bit_exact(self) -> bool:
        return len(self.expected) > 0 and self.found == self.expected

    @property
    def total_cycles(self) -> int:
        """Of all frames, which one descriptor takes."""
        return sum(self.cycles)


class DescriptorSimulation:
    """A network on a chip with a descriptor unit, for one size of crops, ``images`` of which are run in each
    frame. ``options`` are those of the backend
    "reference", with which the chip is compared. ``quantiser`` is that of the bytes and bits (None:
    ``plain_quantiser``). ``descriptor`` is the unit (None: the configuration's own). Raises InputError for
    anything that the chip cannot do."""

    def __init__(
        self, network: CompressedNetwork, config: EngineConfig, options: DescriptorOptions, *,
        quantiser: Quantiser | None = None, descriptor: DescriptorConfig | None = None, images: int = 1,
        waves: bool = False,
    ) -> None:  # fmt: skip
        if options.backend != "reference":
            raise InputError(f"backend {options.backend!r} beside the simulated chip; allowed: 'reference'")
        self.network = network
        descriptor = descriptor or descriptor_unit(config)
        self.chip = ChipConfig(config, descriptor)
        self.describer: Describer = make_describer(network, options)
        shapes = [layer.shape for layer in network.layers]
        self.layers = pooled_layers(network.name, shapes, options.pool_maps)
        if self.describer.crops.joins:
            raise InputError(f"crops {self.describer.crops.crops!r} join maps; "
                             "allowed on the chip: crops that are summed")
        self.plan: Plan = make_plan(
            network, config, options.height, options.width, images, inner=self.layers[:-1]
        )
        self.model: FrameCycles = frame_cycles(self.plan)
        whitened = self.describer.whitening is not None
        if quantiser is not None:
            check_rotations(quantiser, options.rotations)
        self.constants: DescriptorConstants = joined_constants(
            map_shapes(network, self.layers, options.height, options.width), self.describer.chain,
            quantiser or plain_quantiser(self.describer.dimension, whitened), self.describer.whitening,
        )  # fmt: skip
        self.words = encode_descriptor(self.constants, descriptor)
        self.build: Build = build_chip(self.chip, trace=waves)
        self._seen: tuple[np.ndarray, Inputs, list[list[np.ndarray]]] | None = None

    def run(
        self, rgb: np.ndarray, kind: str, *, pauses: Pauses | None = None, seed: int = 1,
        waves: Waves | None = None, progress: Callable[[int], None] = lambda cycles: None,
    ) -> DescriptorReport:  # fmt: skip
        """Runs a picture, uint8 RGB [H, W, 3]: a self-check, then as many frames as the crops of each
        rotation fill. Raises SimulationError, and InputError for weighted crops and for crops that do not
        fill the last frame."""
        start = time.perf_counter()
        inputs = cut_crops(rgb, self.describer.crops)
        if any(weight != 1 for weight in inputs.weights):
            raise InputError(f"crops {self.describer.crops.crops!r} with weights; allowed on the chip: all 1")
        crops, images = len(inputs.pictures) // inputs.rotations, self.plan.images
        if crops % images:
            raise InputError(f"{crops} crops in batches of {images}; allowed: a divisor of {crops}")
        of_frame = np.split(np.stack(inputs.pictures), len(inputs.pictures) // images)
        parts = [_part(n, crops // images, inputs.rotations) for n in range(len(of_frame))]
        preprocessing = find_preprocessing(self.network.preprocessing)
        pixels = [preprocessing.pixels(np.concatenate(pictures)) for pictures in of_frame]
        select = KINDS[kind]
        with tempfile.TemporaryDirectory(prefix="kestrel-") as name:
            folder = Path(name)
            write_files(self.network, self.plan, pixels[0], folder)
            write_descriptor(self.network, self.plan, self.words, folder)
            frames = [
                ChipInput(p, BY_NAME["part"].pack(**part)) for p, part in zip(pixels, parts, strict=True)
            ]
            run = run_chip_frames(
                self.build, self.chip.engine, frames, folder,
                select=select, pauses=pauses, seed=seed, progress=progress, waves=waves,
            )  # fmt: skip
        nip = [self._descriptor_cycles(part, select) for part in parts]
        totals = {cycles: frame_cycles(self.plan, cycles).total for cycles in set(nip)}
        return DescriptorReport(
            kind=kind,
            found=run.outputs[-1].data,
            expected=self.reference(rgb, select),
            frames=run.frames,
            cycles=tuple(output.cycles for output in run.outputs),
            model_cycles=tuple(totals[cycles] for cycles in nip),
            descriptor_cycles=tuple(sum(cycles) for cycles in nip),
            counters=run.outputs[-1].counters,
            calls=run.calls,
            seconds=time.perf_counter() - start,
        )

    def reference(self, rgb: np.ndarray, select: int = DESCRIPTOR_BYTES) -> bytes:
        """The descriptor of a picture by the integer reference; ``select`` is as in the register output."""
        inputs, maps = self._features(rgb)
        return b"".join(
            describe(_by_rotation(of_map, inputs), constants, select - 1)
            for of_map, constants in zip(maps, self.constants.maps, strict=True)
        )

    def _features(self, rgb: np.ndarray) -> tuple[Inputs, list[list[np.ndarray]]]:
        """A picture's crops, and for each map that is pooled the reference's maps of them; those of the last
        picture are cached."""
        if self._seen is None or not np.array_equal(self._seen[0], rgb):
            inputs = cut_crops(rgb, self.describer.crops)
            backend = self.describer.backend
            assert isinstance(backend, MapsBackend), "the reference"
            maps = [list(of_map) for of_map in backend.maps(inputs.pictures, self.layers)]
            self._seen = rgb.copy(), inputs, maps
        return self._seen[1:]

    def _descriptor_cycles(self, part: dict[str, int], select: int) -> tuple[int, ...]:
        """The descriptor unit's cycles for each map."""
        return tuple(
            descriptor_cycles(
                constants, self.chip.engine, last_crop=bool(part["last_crop"]),
                last_rotation=bool(part["last_rotation"]), output=select - 1, images=self.plan.images,
            )
            for constants in self.constants.maps
        )  # fmt: skip

    def float_cosine(self, rgb: np.ndarray) -> float:
        """The cosine between the integer descriptor, before bytes and bits, and that of the float chain."""
        inputs, maps = self._features(rgb)
        found: list[np.ndarray] = []
        for of_map, constants in zip(maps, self.constants.maps, strict=True):
            rows = [np.stack([squares_of(f, r) for r in constants.regions]) for f in of_map]
            turns = [np.concatenate(turn) for turn in _by_rotation(rows, inputs)]
            found.append(vector_of(turns, len(turns[0]), constants).astype(np.float64))
        mine = np.concatenate(found)
        other = self.describer.describe_maps(maps, inputs).astype(np.float64)
        return float(mine @ other / np.sqrt((mine @ mine) * (other @ other)))


def _by_rotation(of_crops: list[np.ndarray], inputs: Inputs) -> list[list[np.ndarray]]:
    crops = len(of_crops) // inputs.rotations
    return [of_crops[n * crops : (n + 1) * crops] for n in range(inputs.rotations)]


def _part(number: int, crops: int, rotations: int) -> dict[str, int]:
    turn, crop = divmod(number, crops)
    flags = {
        "first_crop": crop == 0, "last_crop": crop == crops - 1,
        "first_rotation": turn == 0, "last_rotation": turn == rotations - 1,
    }  # fmt: skip
    return {name: int(flag) for name, flag in flags.items()}
