"""Verilog files on disk, for the simulator: generated once and kept in the build cache."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from pathlib import Path

from amaranth.lib import wiring

from hw.spec import EngineConfig
from hw.verilog import TOP, VerilogFile, block_file, engine_files, memory_files
from verif.cache import cached
from verif.verilator import Build, build_native

HARNESS = Path(__file__).parent / "harness" / "engine.cpp"


def engine_sources(config: EngineConfig) -> list[Path]:
    """Files of an engine, the memories first and the top last."""
    nameless = replace(config, name="")  # the name does not show in the Verilog
    return _written("rtl", str(asdict(nameless)), lambda: engine_files(config))


def block_sources(*components: Callable[[], wiring.Component]) -> list[Path]:
    """Files of a block and of the blocks placed in it (each given as a callable; the top last), after the
    memory wrappers."""
    made = [make() for make in components]
    return _written(
        "block",
        "".join(block_file(component).text for component in made[-1:]),
        lambda: (*memory_files(), *(block_file(make()) for make in components)),
    )


def build_engine(config: EngineConfig, *, trace: bool = False, threads: int = 1) -> Build:
    """The native simulation of an engine, driven by ``verif/harness/engine.cpp``."""
    return build_native(engine_sources(config), TOP, HARNESS, trace=trace, threads=threads)


def _written(label: str, key: str, files: Callable[[], tuple[VerilogFile, ...]]) -> list[Path]:
    def build(folder: Path) -> None:
        produced = files()
        for file in produced:
            (folder / file.name).write_text(file.text, encoding="utf-8")
        (folder / "order.txt").write_text("\n".join(file.name for file in produced), encoding="utf-8")

    path = cached(label, [_generator(), key], build).path
    return [path / name for name in (path / "order.txt").read_text(encoding="utf-8").split()]


@cache
def _generator() -> str:
    """Text of everything the Verilog is generated from."""
    folder = resources.files("hw")
    files = [f for d in (folder, folder / "verilog") for f in d.iterdir() if f.name.endswith((".py", ".v"))]
    return "".join(f.read_text(encoding="utf-8") for f in sorted(files, key=lambda f: f.name))
