"""The proof in simulation: pictures are run through the engine or the chip, and through the reference."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kestrel.api.pictures import Pictures, image_preprocessing, named_pictures
from kestrel.api.planning import Config, Network, find_config, find_network
from kestrel.hw.emit.verilog import CHIP_TOP, TOP
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DescriptorConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.common.files import atomic_write_apart, check_output
from kestrel.sw.common.kinds import WAVES, file_kind
from kestrel.sw.compress.calibrate import Progress, silent
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.pictures.images import resize
from kestrel.sw.pictures.sizes import Size, height_width
from kestrel.sw.planning.plan import Plan
from kestrel.sw.retrieval.describe.options import DescriptorOptions
from kestrel.sw.retrieval.pooling.quantise import Quantiser
from kestrel.verif.build.rtl import chip_sources, engine_sources
from kestrel.verif.build.shown import builds_shown
from kestrel.verif.simulate.chip import ChipReport, ChipSimulation
from kestrel.verif.simulate.descriptor import KINDS, DescriptorReport, DescriptorSimulation
from kestrel.verif.simulate.engine import FrameReport, Simulation
from kestrel.verif.simulate.frame import Pauses, SimulationError, Waves
from kestrel.verif.simulate.wave_views import write_views

WAVES_SUFFIX = ".fst"
PAUSES_MAX = 0.9


@dataclass(frozen=True)
class EngineProof:
    """Frames run through the simulated engine, with every element of every layer compared with the reference.

    ``frames`` has one report for each frame, and ``images`` are the names of its pictures. ``paused`` says
    that streams were paused, in which case the cycles follow no closed form. ``build_seconds`` is the time
    spent on building the simulator.
    """

    images: tuple[str, ...]
    frames: tuple[FrameReport, ...]
    plan: Plan
    paused: bool
    build_seconds: float

    @property
    def bit_exact(self) -> bool:
        return all(frame.bit_exact for frame in self.frames)

    @property
    def cycles_as_modelled(self) -> bool:
        return self.paused or all(frame.cycles_as_modelled for frame in self.frames)

    @property
    def cycles(self) -> int:
        """The cycles of the first frame; without pauses, all frames take the same number."""
        return self.frames[0].cycles

    @property
    def values_compared(self) -> int:
        return sum(frame.values_compared for frame in self.frames)

    @property
    def mismatches(self) -> int:
        return sum(frame.mismatches for frame in self.frames)


@dataclass(frozen=True)
class ChipProof:
    """Frames run through the whole simulated chip, with the C driver as its host. ``frames`` has one report
    for each frame, and ``images`` are the names of its pictures. ``paused`` and ``build_seconds`` are as in
    ``EngineProof``."""

    images: tuple[str, ...]
    frames: tuple[ChipReport, ...]
    paused: bool
    build_seconds: float

    @property
    def bit_exact(self) -> bool:
        return all(frame.bit_exact for frame in self.frames)

    @property
    def cycles_as_modelled(self) -> bool:
        return self.paused or all(frame.cycles == frame.model_cycles for frame in self.frames)

    @property
    def values_compared(self) -> int:
        return sum(frame.values_compared for frame in self.frames)

    @property
    def mismatches(self) -> int:
        return sum(frame.mismatches for frame in self.frames)


@dataclass(frozen=True)
class DescriptorProof:
    """Pictures run through the whole simulated chip to descriptors.

    ``images`` are the names of the pictures. ``reports`` has for each picture one report by kind ("bytes",
    "bits"). ``float_cosines`` are the cosines of the integer descriptors with those of the float chain.
    ``crops`` is the crop specification. ``whitening`` is the SHA-256 of the whitening's file, or "".
    ``regions`` and ``dimensions`` are the numbers of those of a descriptor. ``frame_cycles`` are the cycles,
    in closed form, of a frame that ends in features.
    """

    images: tuple[str, ...]
    reports: tuple[dict[str, DescriptorReport], ...]
    float_cosines: tuple[float, ...]
    crops: str
    whitening: str
    regions: int
    dimensions: int
    frame_cycles: int
    paused: bool
    build_seconds: float

    @property
    def all_reports(self) -> tuple[DescriptorReport, ...]:
        return tuple(report for row in self.reports for report in row.values())

    @property
    def bit_exact(self) -> bool:
        return all(report.bit_exact for report in self.all_reports)

    @property
    def cycles_as_modelled(self) -> bool:
        return self.paused or all(report.cycles == report.model_cycles for report in self.all_reports)


def simulate(
    network: Network, pictures: Pictures, config: Config = "edge", size: Size = 224, *, batch: int = 1,
    pauses: float = 0.0, seed: int = 1, waves: Waves | None = None, progress: Progress | None = None,
) -> EngineProof:
    """Simulates the engine in Verilator and compares every element of every layer with the reference.

    ``pictures`` are given as in ``Pictures``, or as ``random:SEED`` for a generated one. Each is stretched to
    ``size``, in pixels. ``batch`` of them, one after the other, make a frame. ``pauses`` is the share of
    cycles in which each stream pauses, 0..0.9. ``seed`` is that of the pauses and of the power-up state.
    ``waves`` are waveforms (.fst) of the first frame to write. Raises InputError for anything that the
    configuration cannot take, and SimulationError if the engine does not complete a frame.
    """
    progress = progress or silent
    loaded, chosen, (height, width) = find_network(network), find_config(config), height_width(size)
    frames = _frames(loaded, pictures, height, width, batch)
    _check_waves(waves)
    with builds_shown(progress):
        simulation = Simulation(loaded, chosen, height, width, images=batch,
                                waves=waves is not None)
    reports: list[FrameReport] = []
    total = len(frames) * simulation.model.total
    with progress("simulating", total) as advance, _recorded(waves) as recorded:
        for number, (_, pixels) in enumerate(frames):
            reports.append(simulation.run(
                pixels, pauses=_pauses(pauses, seed + number), waves=None if number else recorded,
                seed=seed + number, progress=advance,
            ))  # fmt: skip
    if waves is not None:
        write_views(waves.file, engine_sources(chosen), TOP)
    return EngineProof(tuple(name for name, _ in frames), tuple(reports), simulation.plan, pauses > 0,
                       simulation.build.seconds)


def simulate_chip(
    network: Network, pictures: Pictures, config: Config = "edge", size: Size = 224, *, batch: int = 1,
    pauses: float = 0.0, seed: int = 1, waves: Waves | None = None, progress: Progress | None = None,
) -> ChipProof:
    """Simulates the whole chip, with the C driver as its host, and compares the features that it sends.

    The parameters are those of ``simulate``. Raises InputError for anything that the chip cannot take, and
    SimulationError if it does not complete a frame.
    """
    progress = progress or silent
    loaded, chosen, (height, width) = find_network(network), find_config(config), height_width(size)
    frames = _frames(loaded, pictures, height, width, batch)
    _check_waves(waves)
    with builds_shown(progress):
        simulation = ChipSimulation(loaded, ChipConfig(chosen), height, width, batch, waves=waves is not None)
    reports: list[ChipReport] = []
    total = len(frames) * simulation.model.total
    with progress("simulating", total) as advance, _recorded(waves) as recorded:
        for number, (_, pixels) in enumerate(frames):
            reports.append(simulation.run(
                pixels, pauses=_pauses(pauses, seed + number), seed=seed + number,
                waves=None if number else recorded, progress=advance,
            ))  # fmt: skip
    if waves is not None:
        write_views(waves.file, chip_sources(simulation.chip), CHIP_TOP)
    return ChipProof(tuple(name for name, _ in frames), tuple(reports), pauses > 0, simulation.build.seconds)


def simulate_descriptors(
    network: Network, pictures: Pictures, config: Config = "edge",
    options: DescriptorOptions | None = None, *, batch: int = 1, quantiser: Quantiser | None = None,
    descriptor: DescriptorConfig | None = None, pauses: float = 0.0, seed: int = 1,
    waves: Waves | None = None, progress: Progress | None = None,
) -> DescriptorProof:
    """Simulates the whole chip with a descriptor unit, and compares the bytes and bits that it sends.

    ``pictures`` are used in their own sizes (``random:SEED`` is twice as high and wide as the input).
    ``options`` define a descriptor, including the size. ``batch`` crops make a frame. ``quantiser`` holds
    range and thresholds (None: those of a vector whose elements are all equal). ``descriptor`` is the unit
    (None: the configuration's own). The other parameters are those of ``simulate``. Raises InputError for
    anything that the chip cannot do, and SimulationError if it does not complete a frame.
    """
    progress, options = progress or silent, options or DescriptorOptions()
    loaded, chosen = find_network(network), find_config(config)
    found = named_pictures(pictures, (2 * options.height, 2 * options.width))
    _check_waves(waves)
    with builds_shown(progress):
        simulation = DescriptorSimulation(loaded, chosen, options, quantiser=quantiser, descriptor=descriptor,
                                          images=batch, waves=waves is not None)
    with progress("simulating", None) as advance, _recorded(waves) as recorded:
        rows = tuple(_described(simulation, rgb, pauses, seed + number, None if number else recorded, advance)
                     for number, (_, rgb) in enumerate(found))
    if waves is not None:
        write_views(waves.file, chip_sources(simulation.chip), CHIP_TOP)
    return DescriptorProof(
        tuple(name for name, _ in found), rows, tuple(simulation.float_cosine(rgb) for _, rgb in found),
        simulation.describer.settings.crops, simulation.describer.settings.whitening,
        sum(len(part.regions) for part in simulation.constants.maps),
        sum(part.dimensions for part in simulation.constants.maps), simulation.model.total,
        pauses > 0, simulation.build.seconds,
    )  # fmt: skip


def _check_waves(waves: Waves | None) -> None:
    if waves is None:
        return
    if waves.file.suffix != WAVES_SUFFIX:
        raise InputError(f"waves {waves.file}: suffix {waves.file.suffix!r}; allowed: {WAVES_SUFFIX}")
    check_output(waves.file)


@contextmanager
def _recorded(waves: Waves | None) -> Iterator[Waves | None]:
    """The waveforms in another place, from where they come into their own when they are complete. Those of a
    frame that the chip does not complete are what one looks at, and are kept as well."""
    if waves is None:
        yield None
        return
    failed: SimulationError | None = None
    with atomic_write_apart(waves.file) as file:
        try:
            yield replace(waves, file=file)
        except SimulationError as error:
            if not file.is_file() or file_kind(file) != WAVES:
                raise
            failed = error
    if failed is not None:
        raise failed


def _described(simulation: DescriptorSimulation, rgb: np.ndarray, pauses: float, seed: int,
               waves: Waves | None, advance: Callable[[int], None]) -> dict[str, DescriptorReport]:
    run = partial(simulation.run, rgb, seed=seed, progress=advance)
    return {kind: run(kind, pauses=_pauses(pauses, seed), waves=None if number else waves)
            for number, kind in enumerate(KINDS)}


def _pauses(share: float, seed: int) -> Pauses | None:
    if not 0 <= share <= PAUSES_MAX:
        raise InputError(f"pauses {share:g}; allowed: 0..{PAUSES_MAX}")
    return Pauses(seed, share) if share else None


def _frames(network: CompressedNetwork, pictures: Pictures, height: int, width: int,
            batch: int) -> Sequence[tuple[str, np.ndarray]]:
    """Names and pixels of the frames, uint8 [C, batch * height, width] in the network's channel order."""
    preprocessing = image_preprocessing(network)
    found = [(name, preprocessing.pixels(resize(rgb, height, width)))
             for name, rgb in named_pictures(pictures, (height, width))]
    if batch < 1 or len(found) % batch:
        raise InputError(f"{len(found)} pictures in batches of {batch}; allowed: a multiple of the batch")
    groups = (found[n : n + batch] for n in range(0, len(found), batch))
    return [(", ".join(name for name, _ in group), np.concatenate([pixels for _, pixels in group], axis=1))
            for group in groups]
