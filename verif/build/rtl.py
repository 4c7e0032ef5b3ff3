"""Verilog files on disk for the simulator, generated once and kept in the build cache."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from pathlib import Path

from amaranth.lib import wiring

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import CHIP_TOP, TOP, VerilogFile, chip_files, engine_files, verilog_files
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.verif.build.cache import cached
from kestrel.verif.build.shown import step
from kestrel.verif.build.verilator import Build, build_native

SHARED = (PREFIX + "kernel_unit", PREFIX + "output_lane")
"""Modules that the simulator does not copy into their parents. At 32 x 32 lanes this gives 15 MB of C++
instead of 50, and frames at 16 x 16 lanes run twice as fast."""

HARNESS = Path(__file__).parents[1] / "harness" / "engine.cpp"
CHIP_HARNESS = HARNESS.with_name("chip.cpp")
DRIVER = Path(str(resources.files("kestrel.sw") / "driver"))


def engine_sources(config: EngineConfig, *, places: bool = False) -> list[Path]:
    """The files of an engine, the memories first and the top module last. With ``places`` declarations name
    their lines of Python."""
    nameless = replace(config, name="")  # the name does not show in the Verilog
    label = "rtl-places" if places else "rtl"
    return _written(label, str(asdict(nameless)), lambda: engine_files(config, sources=places))


def block_sources(
    make: Callable[[EngineConfig], wiring.Component], config: EngineConfig, *, places: bool = False
) -> list[Path]:
    """The files of the block that ``make`` returns and of everything placed in it, the block last. With
    ``places`` declarations name their lines of Python."""
    key = f"{asdict(replace(config, name=''))} {inspect.getsource(make)}"
    label = "block-places" if places else "block"
    return _written(label, key, lambda: verilog_files(make(config), sources=places))


def design_sources(
    label: str, configs: tuple[object, ...], make: Callable[[], wiring.Component]
) -> list[Path]:
    """The files of the design that ``make`` returns, the memories first and the top module last; its label
    and configurations say which it is."""
    return _written(label, repr(configs), lambda: verilog_files(make()))


def chip_sources(chip: ChipConfig) -> list[Path]:
    """The files of a chip, the memories first and the top module last."""
    nameless = replace(chip, engine=replace(chip.engine, name=""))
    return _written("chip", str(asdict(nameless)), lambda: chip_files(chip))


def checked_chip_sources(chip: ChipConfig) -> list[Path]:
    """The same files and the AXI checkers on the top module's ports, for a build with assertions."""
    return [*chip_sources(chip), *axi_checkers()]


def build_chip(chip: ChipConfig, *, trace: bool = False) -> Build:
    """The native simulation of a chip with the C driver as its host (``verif/harness/chip.cpp``)."""
    return build_native(
        chip_sources(chip), CHIP_TOP, CHIP_HARNESS, trace=trace, shared=SHARED,
        drivers=[DRIVER / "kestrel_driver.c"],
    )  # fmt: skip


def axi_checkers() -> list[Path]:
    """The checkers of AXI's rules, and the file that ties them to the ports of a module ``kestrel_top``."""
    names = ("stream_checker", "axi_lite_checker", "top_checker")
    return [Path(__file__).parents[1] / "checkers" / f"{PREFIX}{name}.sv" for name in names]


def build_engine(
    config: EngineConfig, *, trace: bool = False, threads: int = 1, coverage: bool = False
) -> Build:
    """The native simulation of an engine, driven by ``verif/harness/engine.cpp``. With ``coverage`` its runs
    count what they reach, in Verilog that names the lines of Python."""
    # The counters double the C++, and to optimise it as far as usual would take longer than most runs.
    return build_native(
        engine_sources(config, places=coverage), TOP, HARNESS, trace=trace, threads=threads,
        optimise=1 if coverage else 3, shared=SHARED, coverage=coverage,
    )  # fmt: skip


def _written(label: str, key: str, files: Callable[[], tuple[VerilogFile, ...]]) -> list[Path]:
    def build(folder: Path) -> None:
        with step("writing the Verilog"):
            produced = files()
        for file in produced:
            (folder / file.name).write_text(file.text, encoding="utf-8")
        (folder / "order.txt").write_text("\n".join(file.name for file in produced), encoding="utf-8")

    path = cached(label, [_generator(), key], build).path
    return [path / name for name in (path / "order.txt").read_text(encoding="utf-8").split()]


@cache
def _generator() -> str:
    """The text of all sources from which the Verilog is generated."""
    files = Path(str(resources.files("kestrel.hw"))).rglob("*")
    files = sorted(path for path in files if path.suffix in {".py", ".v"})
    return "".join(path.read_text(encoding="utf-8") for path in files)
