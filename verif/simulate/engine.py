"""The main proof: a frame is run through the simulated engine and through the reference. The results are
compared element by element and layer by layer, and the counted cycles with the closed form."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.cycles import FrameCycles, frame_cycles, utilisation
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.verilator import Build
from kestrel.verif.simulate.compare import LayerResult, all_equal, compare_run, reference_maps
from kestrel.verif.simulate.frame import FrameRun, Pauses, Waves, run_frame


@dataclass(frozen=True)
class LayerReport:
    """One layer of one frame: what was compared, and its cycles as counted and as modelled."""

    result: LayerResult
    cycles: int
    model_cycles: int
    utilisation: float


@dataclass(frozen=True)
class FrameReport:
    """One frame. ``cycles`` and ``model_cycles`` cover all of it: start-up, input, layers and output."""

    layers: tuple[LayerReport, ...]
    output: LayerResult
    cycles: int
    model_cycles: int
    input_cycles: int
    output_cycles: int
    start_cycles: int
    mac_utilisation: float
    counters: dict[str, int]
    seconds: float

    @property
    def results(self) -> tuple[LayerResult, ...]:
        return (*(layer.result for layer in self.layers), self.output)

    @property
    def values_compared(self) -> int:
        return sum(result.values_compared for result in self.results)

    @property
    def mismatches(self) -> int:
        return sum(result.mismatches for result in self.results)

    @property
    def bit_exact(self) -> bool:
        """Whether every element of every layer was compared and is equal."""
        return all_equal(self.results)

    @property
    def compute_cycles(self) -> int:
        return sum(layer.cycles for layer in self.layers)

    @property
    def cycles_as_modelled(self) -> bool:
        return self.cycles == self.model_cycles and all(x.cycles == x.model_cycles for x in self.layers)


class Simulation:
    """A network on an engine, ready to take frames of ``images`` images of one size. Raises InputError if it
    does not fit.

    Members: ``plan``, ``model`` (the expected cycles) and ``build``.
    """

    def __init__(
        self,
        network: CompressedNetwork,
        config: EngineConfig,
        height: int,
        width: int,
        *,
        images: int = 1,
        waves: bool = False,
    ) -> None:
        self.network = network
        self.plan: Plan = make_plan(network, config, height, width, images)
        self.model: FrameCycles = frame_cycles(self.plan)
        self.build: Build = build_engine(config, trace=waves)

    def run(
        self,
        pixels: np.ndarray,
        *,
        pauses: Pauses | None = None,
        waves: Waves | None = None,
        seed: int = 1,
        workdir: Path | None = None,
        progress: Callable[[int], None] = lambda cycles: None,
    ) -> FrameReport:
        """Simulates one frame of ``pixels`` (uint8 [C, H, W], in the network's channel order; of a batch the
        images one below the other).

        ``workdir`` keeps the files of the run; by default they are temporary. Raises SimulationError if the
        engine does not complete the frame.
        """
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="kestrel-") as temporary:
            run = run_frame(
                self.build, self.network, self.plan, pixels, workdir or Path(temporary),
                pauses=pauses, waves=waves, seed=seed, progress=progress,
            )  # fmt: skip
        seconds = time.perf_counter() - start
        return self._report(run, reference_maps(self.network, pixels, self.plan.images), seconds)

    def _report(self, run: FrameRun, expected: list[np.ndarray], seconds: float) -> FrameReport:
        config = self.plan.config
        *results, output = compare_run(run, self.network, expected)
        counted = run.record_cycles[1:-1]
        layers = tuple(
            LayerReport(result, cycles, model.cycles, utilisation(model.macs, cycles, config))
            for result, cycles, model in zip(results, counted, self.model.layers, strict=True)
        )
        return FrameReport(
            layers=layers,
            output=output,
            cycles=run.cycles,
            model_cycles=self.model.total,
            input_cycles=run.record_cycles[0],
            output_cycles=run.record_cycles[-1],
            start_cycles=run.start_cycles,
            mac_utilisation=utilisation(sum(m.macs for m in self.model.layers), sum(counted), config),
            counters=run.counters,
            seconds=seconds,
        )
