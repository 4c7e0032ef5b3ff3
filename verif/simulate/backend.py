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

OWN_OPTIONS = ("config", "processes", "images")
OPTIONS = (*OWN_OPTIONS, *config_fields())
PROCESSES_MAX = 64
IMAGES_MAX = 64
OPTION = "--backend-set"
"""Of the command line, by which these are given."""


class RtlBackend:
    """The engine's Verilog in Verilator, with one process for each frame, several at a time.

    The options are ``config``, a named configuration or a .toml file (default ``edge``), fields of it by
    name, ``processes``, and ``images``, the most pictures of a frame (default 1). Raises InputError for a
    network or size that the configuration cannot take, and ``SimulationError`` if a frame does not complete
    correctly.

    ``frames`` and ``cycles`` count all frames so far and the cycles in which the engine was busy with them.
    """

    arithmetic = "integer"

    def __init__(self, request: BackendRequest, config: EngineConfig | None = None) -> None:
        check_options(request, "rtl", OPTIONS)
        check_no_weights(request, "rtl")
        self._network = request.network
        self._config = config or _config(request.options)
        processors = min(os.cpu_count() or 1, PROCESSES_MAX)
        self._processes = _number(request, "processes", processors, PROCESSES_MAX)
        self._images = _number(request, "images", 1, IMAGES_MAX)
        self._preprocessing = find_preprocessing(request.network.preprocessing)
        self._plan = lru_cache(maxsize=8)(self._make_plan)
        self._plan(request.height, request.width, self._images)  # refused before anything is built
        self._build: Build | None = None
        self.digest = network_digest(request.network)
        self.frames = 0
        self.cycles = 0

    def batch(self, height: int, width: int) -> int:  # noqa: ARG002
        return self._processes * self._images

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([_apart(run.output, images) for run, images in self._frames(pictures)])

    def maps(self, pictures: Sequence[np.ndarray], layers: Sequence[int]) -> list[np.ndarray]:
        """As the engine writes them into its feature memory."""
        runs = self._frames(pictures)
        return [np.concatenate([_apart(run.maps[n], images) for run, images in runs]) for n in layers]

    def _frames(self, pictures: Sequence[np.ndarray]) -> list[tuple[FrameRun, int]]:
        """The frames, and how many images each of them has."""
        if self._build is None:
            self._build = build_engine(self._config)
        batches = [pictures[n : n + self._images] for n in range(0, len(pictures), self._images)]
        # Each simulation is a process of its own; the threads only wait for them.
        with ThreadPoolExecutor(self._processes) as threads:
            runs = list(zip(threads.map(self._frame, batches), map(len, batches), strict=True))
        self.frames += len(runs)
        self.cycles += sum(run.cycles for run, _ in runs)
        return runs

    def _frame(self, pictures: Sequence[np.ndarray]) -> FrameRun:
        assert self._build is not None, "built before the first frame"
        plan = self._plan(*pictures[0].shape[:2], len(pictures))
        pixels = self._preprocessing.pixels(np.concatenate(pictures))
        with tempfile.TemporaryDirectory(prefix="kestrel-") as folder:
            return run_frame(self._build, self._network, plan, pixels, Path(folder))

    def _make_plan(self, height: int, width: int, images: int) -> Plan:
        try:
            return make_plan(self._network, self._config, height, width, images)
        except InputError as error:  # the options that would help have another name here
            raise InputError(str(error).replace("--set ", f"{OPTION} ")) from error


def _config(options: Mapping[str, str]) -> EngineConfig:
    settings = [f"{name}={value}" for name, value in options.items() if name not in OWN_OPTIONS]
    return with_settings(load_config(options.get("config", "edge")), settings, OPTION)


def _number(request: BackendRequest, name: str, default: int, most: int) -> int:
    """The option ``name``, a number from 1 to ``most``."""
    text = request.options.get(name)
    if text is None:
        return default
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise InputError(f"{name} {text!r}; allowed: 1..{most}")
    return int(text)


def _apart(map_of_all: np.ndarray, images: int) -> np.ndarray:
    """A map [C, N * h, w] of N images, one below the other, as [N, C, h, w]."""
    return np.stack(np.split(map_of_all, images, axis=1))
