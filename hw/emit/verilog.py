"""Verilog of an engine, a chip or any block: one module, and one file, a block."""

from dataclasses import dataclass
from importlib import resources

from amaranth.lib import wiring

from kestrel.hw.chip.top import Top
from kestrel.hw.common.place import PREFIX, Emission, module_name, use_ports_only
from kestrel.hw.convert.component import convert
from kestrel.hw.emit.rom_parameters import with_rom_parameters
from kestrel.hw.engine import Engine
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.engine_config import EngineConfig

MEMORIES = ("ram_1rw", "ram_1r1w", "rom")
"""Wrappers with behavioural bodies, to be replaced by macros."""

TIMESCALE = "`timescale 1ns / 1ps\n\n"
"""At the head of every file: a simulator refuses a design in which some modules have one and others not."""

TOP = PREFIX + "engine"
CHIP_TOP = PREFIX + "top"


@dataclass(frozen=True)
class VerilogFile:
    name: str
    text: str


def memory_file(name: str) -> VerilogFile:
    """One of ``MEMORIES``."""
    file = f"{PREFIX}{name}.v"
    text = (resources.files("kestrel.hw.emit") / "primitives" / file).read_text(encoding="utf-8")
    return VerilogFile(file, text)


def verilog_files(top: wiring.Component, *, sources: bool = False) -> tuple[VerilogFile, ...]:
    """The block ``top`` and everything that is placed in it, each module once.

    The memory wrappers come first, then what is placed in a block before the block, ``top`` last. With
    ``sources`` declarations name the lines of Python that they come from.
    Raises ValueError if two blocks of one name have different ports.
    """
    found: dict[str, wiring.Component] = {}
    files: list[VerilogFile] = []
    memories: set[str] = set()

    def add(component: wiring.Component) -> None:
        known = found.setdefault(module_name(component), component)
        if known is not component:
            use_ports_only(component, like=known)
            return
        emission = Emission()
        text = TIMESCALE + with_rom_parameters(convert(component, emission, sources=sources))
        memories.update(emission.memories)
        for inner in emission.blocks:
            add(inner)
        files.append(VerilogFile(f"{module_name(component)}.v", text))

    add(top)
    return (*(memory_file(memory) for memory in MEMORIES if memory in memories), *files)


def engine_files(config: EngineConfig, *, sources: bool = False) -> tuple[VerilogFile, ...]:
    """All files of an engine."""
    return verilog_files(Engine(config), sources=sources)


def chip_files(chip: ChipConfig, *, sources: bool = False) -> tuple[VerilogFile, ...]:
    """All files of a chip."""
    return verilog_files(Top(chip), sources=sources)
