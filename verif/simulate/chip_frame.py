"""Runs frames through the simulated chip, with the C driver as its host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.registers import BY_NAME, FEATURES, error_names
from kestrel.hw.spec.status import COUNTERS
from kestrel.verif.build.verilator import Build, random_start
from kestrel.verif.simulate.frame import (
    Pauses,
    SimulationError,
    Waves,
    image_beats,
    rom_arguments,
    run_harness,
)

WHOLE = BY_NAME["part"].reset
RESULTS = ("ok", "bus fault", "no chip", "other network", "busy", "timeout", "failed")
"""The results of the driver's calls: enum kestrel_result."""


@dataclass(frozen=True)
class Queue:
    """A board that takes beats without the driver while it holds fewer than ``depth``. With ``blind`` it
    ignores TKEEP, but the driver's ``cancel`` can empty it."""

    depth: int
    blind: bool = False


@dataclass(frozen=True)
class ChipInput:
    """A picture, uint8 [C, H, W], and ``part``, which says which crop and rotation of a descriptor it is
    (register part). ``patience`` is the number of cycles after which the host gives the frame up, 0 for when
    nothing moves any more. ``capacity`` is the number of bytes for which it has room, 0 for more than any
    packet."""

    pixels: np.ndarray
    part: int = WHOLE
    patience: int = 0
    capacity: int = 0


@dataclass(frozen=True)
class ChipOutput:
    """The outcome of a frame: the driver's result; the bytes of the packet, none unless the result is ``ok``;
    its cycles, and those that the host sees from start to the last byte; the engine's counters."""

    result: str
    data: bytes
    cycles: int
    host_cycles: int
    counters: dict[str, int]


@dataclass(frozen=True)
class ChipRun:
    """``calls`` are the results of the driver's calls, in order. Nothing was left in the streams."""

    outputs: tuple[ChipOutput, ...]
    calls: tuple[tuple[str, str], ...]
    network_crc: int
    frames: int


class DriverError(SimulationError):
    """A call of the driver failed; ``causes`` are the names of the bits set in ERROR."""

    def __init__(self, call: str, result: str, causes: tuple[str, ...]) -> None:
        why = f" ({', '.join(causes)})" if causes else ""
        super().__init__(f"{call}: {result}{why}")
        self.causes = causes


def stream_bytes(pixels: np.ndarray, config: EngineConfig) -> bytes:
    """The bytes of a picture on the image stream."""
    beats = image_beats(pixels, config).view(np.uint8)
    return beats.reshape(len(beats), -1)[:, : config.stream_bytes].tobytes()


def run_chip_frames(
    build: Build,
    config: EngineConfig,
    frames: Sequence[ChipInput],
    workdir: Path,
    *,
    select: int = FEATURES,
    check: bool = True,
    pauses: Pauses | None = None,
    seed: int = 1,
    progress: Callable[[int], None] = lambda cycles: None,
    queue: Queue | None = None,
    tolerant: bool = False,
    waves: Waves | None = None,
    extra: Sequence[str] = (),
) -> ChipRun:
    """Runs frames on the ROM images in ``workdir``, after a self-check if ``check`` is set. ``queue`` takes
    the packets; without it a DMA does, which is ready from the driver's ``prepare`` to the end of a packet.

    Raises SimulationError, and DriverError for a call of the driver that fails. With ``tolerant``, a frame
    that fails raises nothing, and the next one follows. The cycles of ``waves``, for which the build must be
    made, count from the first frame's beginning. ``extra`` (``+name=value``) is passed to the binary.
    """
    pauses = pauses or Pauses()
    stats = workdir / "chip.txt"
    sink = f"{'blind' if queue.blind else 'queue'}:{queue.depth}" if queue else "dma"
    arguments = [stats, pauses.seed, round(pauses.share * 256), int(check), select, sink]
    arguments += ["continue" if tolerant else "stop"]
    for n, frame in enumerate(frames):
        (workdir / f"image{n}.bin").write_bytes(stream_bytes(frame.pixels, config))
        arguments += [workdir / f"image{n}.bin", workdir / f"packet{n}.bin"]
        arguments += [frame.part, frame.patience, frame.capacity]
    command = [build.binary, *arguments, *rom_arguments(workdir), *random_start(seed), *extra]
    command += waves.arguments() if waves else []
    run_harness([str(word) for word in command], workdir / "chip-log.txt", progress)
    return _read(stats, workdir, tolerant)


def _read(stats: Path, workdir: Path, tolerant: bool) -> ChipRun:
    calls: list[tuple[str, str]] = []
    outputs: list[ChipOutput] = []
    cycles: list[tuple[int, int]] = []
    counters: list[dict[str, int]] = []
    numbers: dict[str, list[int]] = {}
    for line in stats.read_text(encoding="ascii").splitlines():
        name, *rest = line.split()
        values = [int(value) for value in rest]
        if name == "cycles":
            cycles.append((values[0], values[1]))
            counters.append({})
        elif name == "counter":
            counters[-1][COUNTERS[values[0]]] = values[1]
        elif name in {"network", "frames", "left"}:
            numbers[name] = values
        else:
            result = RESULTS[values[0]]
            calls.append((name, result))
            if result != RESULTS[0] and not (tolerant and name == "frame"):
                raise DriverError(name, result, tuple(error_names(values[1])))
    if any(numbers["left"]):
        raise SimulationError("something is left in the output stream")
    results = [result for name, result in calls if name == "frame"]
    for n, (result, (busy, host), counted) in enumerate(zip(results, cycles, counters, strict=True)):
        data = (workdir / f"packet{n}.bin").read_bytes()
        outputs.append(ChipOutput(result, data, busy, host, counted))
    return ChipRun(tuple(outputs), tuple(calls), numbers["network"][0], numbers["frames"][0])
