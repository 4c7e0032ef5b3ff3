"""Runs an image through the simulated chip, with the C driver as its host, and through the reference."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.cycles import FrameCycles, frame_cycles
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.verif.build.rtl import build_chip
from kestrel.verif.build.verilator import Build
from kestrel.verif.simulate.chip_frame import ChipInput, ChipRun, run_chip_frames
from kestrel.verif.simulate.compare import reference_maps
from kestrel.verif.simulate.frame import Pauses, Waves, write_files


@dataclass(frozen=True)
class ChipReport:
    """One frame: its features compared with the reference's; the chip's cycles and those of the closed form;
    the cycles from the driver's first access to the last byte; the results of the driver's calls."""

    values_compared: int
    mismatches: int
    cycles: int
    model_cycles: int
    host_cycles: int
    counters: dict[str, int]
    calls: tuple[tuple[str, str], ...]
    network_crc: int
    seconds: float

    @property
    def bit_exact(self) -> bool:
        return self.values_compared > 0 and self.mismatches == 0


class ChipSimulation:
    """A network on a chip, ready to take frames of ``images`` images of one size. Raises InputError if it
    does not fit."""

    def __init__(
        self, network: CompressedNetwork, chip: ChipConfig, height: int, width: int, images: int = 1,
        *, waves: bool = False,
    ) -> None:  # fmt: skip
        self.network = network
        self.chip = chip
        self.plan: Plan = make_plan(network, chip.engine, height, width, images)
        self.model: FrameCycles = frame_cycles(self.plan)
        self.build: Build = build_chip(chip, trace=waves)

    def run(
        self,
        pixels: np.ndarray,
        *,
        pauses: Pauses | None = None,
        seed: int = 1,
        check: bool = True,
        waves: Waves | None = None,
        progress: Callable[[int], None] = lambda cycles: None,
    ) -> ChipReport:
        """Runs a self-check if ``check`` is set, then one frame of ``pixels`` (uint8 [C, H, W], in the
        network's channel order; of a batch the images one below the other). Raises SimulationError."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="kestrel-") as folder:
            write_files(self.network, self.plan, pixels, Path(folder))
            run: ChipRun = run_chip_frames(
                self.build, self.chip.engine, [ChipInput(pixels)], Path(folder),
                check=check, pauses=pauses, seed=seed, progress=progress, waves=waves,
            )  # fmt: skip
        output = run.outputs[0]
        expected = reference_maps(self.network, pixels, self.plan.images)[-1].transpose(1, 2, 0).ravel()
        found = np.frombuffer(output.data, np.uint8)
        size = min(len(found), len(expected))
        wrong = int((found[:size] != expected[:size]).sum()) + abs(len(found) - len(expected))
        return ChipReport(
            values_compared=len(expected),
            mismatches=wrong,
            cycles=output.cycles,
            model_cycles=self.model.total,
            host_cycles=output.host_cycles,
            counters=output.counters,
            calls=run.calls,
            network_crc=run.network_crc,
            seconds=time.perf_counter() - start,
        )
