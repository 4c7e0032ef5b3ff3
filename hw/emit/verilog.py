"""Verilog of an engine, a chip or any block: one module, and one file, a block."""

import re
from dataclasses import dataclass
from importlib import resources

from amaranth.back import verilog
from amaranth.lib import wiring

from kestrel.hw.chip.top import Top
from kestrel.hw.common.place import PREFIX, Emission, module_name, use_ports_only
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

_INITIAL = re.compile(r"^( *reg (?:\[\d+:\d+\] )?\S+ +)= \d+'s?[bdh][0-9a-f]+;", re.MULTILINE)
"""A register's declaration with an initial value."""


@dataclass(frozen=True)
class VerilogFile:
    name: str
    text: str


def memory_file(name: str) -> VerilogFile:
    """One of ``MEMORIES``."""
    file = f"{PREFIX}{name}.v"
    text = (resources.files("kestrel.hw.emit") / "primitives" / file).read_text(encoding="utf-8")
    return VerilogFile(file, text)


def verilog_files(top: wiring.Component) -> tuple[VerilogFile, ...]:
    """The block ``top`` and everything that is placed in it, each module once.

    The memory wrappers come first, then what is placed in a block before the block, ``top`` last.
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
        file = _module_file(component, emission)
        memories.update(emission.memories)
        for inner in emission.blocks:
            add(inner)
        files.append(file)

    add(top)
    return (*(memory_file(memory) for memory in MEMORIES if memory in memories), *files)


def engine_files(config: EngineConfig) -> tuple[VerilogFile, ...]:
    """All files of an engine."""
    return verilog_files(Engine(config))


def chip_files(chip: ChipConfig) -> tuple[VerilogFile, ...]:
    """All files of a chip."""
    return verilog_files(Top(chip))


def _module_file(component: wiring.Component, emission: Emission) -> VerilogFile:
    """One block's module; ``emission`` collects what is placed in it.

    Amaranth gives every register an initial value, even those without a reset; a chip has none, and the
    reset is all the engine relies on, so they are taken out.
    """
    name = module_name(component)
    text = verilog.convert(component, name=name, platform=emission, emit_src=False, strip_internal_attrs=True)
    return VerilogFile(f"{name}.v", TIMESCALE + with_rom_parameters(_INITIAL.sub(r"\1;", text)))
