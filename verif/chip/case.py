"""Runs a bench on the ports of a whole chip."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kestrel.export.descriptor_rom import encode_descriptor
from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import CHIP_TOP
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.verif.blocks.support.run import CONFIG_VARIABLE
from kestrel.verif.build.rtl import checked_chip_sources
from kestrel.verif.build.verilator import Results, build_cocotb, run_cocotb
from kestrel.verif.cases.engine_case import EngineCase, descriptor_constants, engine_case
from kestrel.verif.chip.expected import save_outputs
from kestrel.verif.chip.variables import CASE_VARIABLE, NETWORK_SEED_VARIABLE
from kestrel.verif.simulate.compare import reference_maps
from kestrel.verif.simulate.frame import rom_arguments, write_descriptor, write_files

ROM_WORDS = ((f"{PREFIX}rom", "mem"),)
"""The words of all ROMs, for a bench that changes them."""


def write_case(chip: ChipConfig, name: str, seed: int, workdir: Path) -> EngineCase:
    """Leaves in ``workdir`` the ROM images of a case and what its pictures should give."""
    case = engine_case(name, chip.engine, seed)
    write_files(case.network, case.plan, case.pictures[0], workdir)
    found = [reference_maps(case.network, picture) for picture in case.pictures]
    maps = [np.stack([layers[number] for layers in found]) for number in case.outputs]
    save_outputs(maps, workdir)
    if chip.descriptor:
        words = encode_descriptor(descriptor_constants(seed, maps), chip.descriptor)
        write_descriptor(case.network, case.plan, words, workdir)
    return case


def run_chip(
    chip: ChipConfig, module: str, workdir: Path, name: str, seed: int, *, case_seed: int | None = None,
    env: Mapping[str, str] | None = None, sources: Sequence[Path] | None = None, timeout: float = 300,
    arguments: Sequence[str] = (), top: str = CHIP_TOP, visible: Sequence[tuple[str, str]] = (),
    coverage: bool = False,
) -> Results:  # fmt: skip
    """Runs the bench ``module`` on a chip with the AXI checkers in force, on what ``write_case`` has left.
    ``sources``: other files, whose top module is ``top``; ``arguments`` (``+name=value``) go to the
    simulation; ``visible`` and ``coverage`` as in ``build_cocotb``. Raises BenchFailed."""
    build = build_cocotb(
        sources or checked_chip_sources(chip), top, assertions=True, visible=visible, coverage=coverage
    )
    settings = {
        CONFIG_VARIABLE: json.dumps(asdict(chip)),
        CASE_VARIABLE: name,
        NETWORK_SEED_VARIABLE: str(seed if case_seed is None else case_seed),
        **(env or {}),
    }
    return run_cocotb(
        build, top, module, workdir, settings, seed, timeout=timeout,
        arguments=[*rom_arguments(workdir), *arguments],
    )  # fmt: skip
