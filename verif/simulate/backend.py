"""The simulated chip as a retrieval backend, whose features come from the RTL, through its output stream."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from kestrel.hw.spec.configurations import config_fields, load_config, with_settings
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError
from kestrel.sw.model.preprocessing import find_preprocessing
from kestrel.sw.planning.plan import Plan, make_plan
from kestrel.sw.retrieval.describe.backends import (
    BackendRequest,
    check_no_weights,
    check_options,
    network_digest,
)
from kestrel.verif.build.rtl import build_engine
from kestrel.verif.build.verilator import Build
from kestrel.verif.simulate.frame import FrameRun, run_frame

OWN_OPTIONS = ("config", "processes")
OPTIONS = (*OWN_OPTIONS, *config_fields())
PROCESSES_MAX = 64
OPTION = "--backend-set"
"""Of the command line, by which these are given."""


class RtlBackend:
    """The engine's Verilog in Verilator, with one process for each picture, several at a time.

    The options are ``config``, a named configuration or a .toml file (default ``edge``), fields of it by
    name, and ``processes``. Raises InputError for a network or size that the configuration cannot take, and
    ``SimulationError`` if a frame does not complete correctly.
    """

    arithmetic = "integer"

    def __init__(self, request: BackendRequest, config: EngineConfig | None = None) -> None:
        check_options(request, "rtl", OPTIONS)
        check_no_weights(request, "rtl")
        self._network = request.network
        self._config = config or _config(request.options)
        self._processes = _processes(request.options.get("processes"))
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        self._plan = lru_cache(maxsize=8)(self._make_plan)
        self._plan(request.height, request.width)  # refused before anything is built
        self._build: Build | None = None
        self.digest = network_digest(request.network)

    def batch(self, height: int, width: int) -> int:  # noqa: ARG002
        return self._processes

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([run.output for run in self._frames(pictures)])

    def maps(self, pictures: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        """As the engine writes them into its feature memory."""
        runs = self._frames(pictures)
        return [np.stack([run.maps[number] for run in runs]) for number in layers]

    def _frames(self, pictures: Sequence[np.ndarray]) -> list[FrameRun]:
        if self._build is None:
            self._build = build_engine(self._config)
        # Each simulation is a process of its own; the threads only wait for them.
        with ThreadPoolExecutor(self._processes) as threads:
            return list(threads.map(self._frame, pictures))

    def _frame(self, rgb: np.ndarray) -> FrameRun:
        assert self._build is not None, "built before the first frame"
        pixels = self._preprocessing.pixels(rgb)
        plan = self._plan(*pixels.shape[1:])
        with tempfile.TemporaryDirectory(prefix="kestrel-") as folder:
            return run_frame(self._build, self._network, plan, pixels, Path(folder))

    def _make_plan(self, height: int, width: int) -> Plan:
        try:
            return make_plan(self._network, self._config, height, width)
        except InputError as error:  # the options that would help have another name here
            raise InputError(str(error).replace("--set ", f"{OPTION} ")) from error


def _config(options: Mapping[str, str]) -> EngineConfig:
    settings = [f"{name}={value}" for name, value in options.items() if name not in OWN_OPTIONS]
    return with_settings(load_config(options.get("config", "edge")), settings, OPTION)


def _processes(text: str | None) -> int:
    if text is None:
        return min(os.cpu_count() or 1, PROCESSES_MAX)
    if not text.isdigit() or not 1 <= int(text) <= PROCESSES_MAX:
        raise InputError(f"processes {text!r}; allowed: 1..{PROCESSES_MAX}")
    return int(text)
