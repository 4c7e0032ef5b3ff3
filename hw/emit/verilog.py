"""Verilog of the engine: one module, and one file, a block."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from amaranth.back import verilog
from amaranth.lib import wiring

from kestrel.hw.chip.axi_lite import AxiLite
from kestrel.hw.chip.byte_packer import BytePacker
from kestrel.hw.chip.control import Control
from kestrel.hw.chip.core import Core
from kestrel.hw.chip.register_file import RegisterFile
from kestrel.hw.chip.rom_check import RomCheck
from kestrel.hw.chip.stream_input import StreamInput
from kestrel.hw.chip.stream_output import StreamOutput
from kestrel.hw.chip.table_watch import TableWatch
from kestrel.hw.chip.top import Top
from kestrel.hw.common.isqrt import Isqrt
from kestrel.hw.common.place import PREFIX, module_name
from kestrel.hw.compute.accumulator import Accumulator, AccumulatorLane
from kestrel.hw.compute.array import Array
from kestrel.hw.compute.kernel_decoder import DigitDecoder, KernelDecoder
from kestrel.hw.compute.kernel_unit import KernelUnit
from kestrel.hw.compute.output_lane import OutputLane
from kestrel.hw.compute.pool import Pool, PoolLane
from kestrel.hw.compute.requantise import Requantise, requantise_lane
from kestrel.hw.compute.window import Window
from kestrel.hw.control.counters import Counters
from kestrel.hw.control.sequencer import Sequencer
from kestrel.hw.descriptor.header import DescriptorHeader
from kestrel.hw.descriptor.multiply import DescriptorMultiply
from kestrel.hw.descriptor.output import DescriptorOutput
from kestrel.hw.descriptor.reciprocal import DescriptorReciprocal
from kestrel.hw.descriptor.rows import DescriptorRows
from kestrel.hw.descriptor.squares import DescriptorSquares
from kestrel.hw.descriptor.unit import DescriptorUnit
from kestrel.hw.descriptor.vectors import DescriptorVectors
from kestrel.hw.descriptor.whitening import DescriptorWhitening
from kestrel.hw.engine import Engine
from kestrel.hw.memory.feature_memory import FeatureMemory
from kestrel.hw.memory.feature_output import FeatureOutput
from kestrel.hw.memory.image_input import ImageInput
from kestrel.hw.memory.raster import Raster
from kestrel.hw.memory.reader import Reader
from kestrel.hw.memory.weight_loader import WeightLoader
from kestrel.hw.memory.writer import Writer
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.descriptor import DESCRIPTOR_SQUARES_BITS, DescriptorConfig, descriptor_unit
from kestrel.hw.spec.engine_config import EngineConfig

MEMORIES = ("ram_1rw", "ram_1r1w", "rom")
"""Wrappers with behavioural bodies, to be replaced by macros."""

BLOCKS: tuple[Callable[[EngineConfig], wiring.Component], ...] = (
    Raster,
    ImageInput,
    FeatureMemory,
    Reader,
    Window,
    KernelUnit,
    OutputLane,
    Array,
    AccumulatorLane,
    Accumulator,
    requantise_lane,
    Requantise,
    lambda config: PoolLane(config.activation_bits),
    Pool,
    Writer,
    FeatureOutput,
    DigitDecoder,
    KernelDecoder,
    WeightLoader,
    Sequencer,
    lambda config: Counters(),
    Engine,
)
"""Every block of an engine, in the order in which a pixel meets them; the top last."""

TOP = PREFIX + "engine"
CHIP_TOP = PREFIX + "top"

_INITIAL = re.compile(r"^( *reg (?:\[\d+:\d+\] )?\S+ +)= \d+'s?[bdh][0-9a-f]+;", re.MULTILINE)
"""A register's declaration with an initial value."""


@dataclass(frozen=True)
class VerilogFile:
    name: str
    text: str


def memory_files() -> tuple[VerilogFile, ...]:
    """The memory wrappers."""
    folder = resources.files("kestrel.hw.emit") / "primitives"
    names = [f"{PREFIX}{memory}.v" for memory in MEMORIES]
    return tuple(VerilogFile(name, (folder / name).read_text(encoding="utf-8")) for name in names)


def block_file(component: wiring.Component) -> VerilogFile:
    """One block's module; the blocks placed in it are separate files.

    Amaranth gives every register an initial value, even those without a reset; a chip has none, and the
    reset is all the engine relies on, so they are taken out.
    """
    name = module_name(component)
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return VerilogFile(f"{name}.v", _INITIAL.sub(r"\1;", text))


def chip_blocks(chip: ChipConfig) -> tuple[wiring.Component, ...]:
    """Every block of a chip but those of ``BLOCKS``, the top last."""
    config = chip.engine
    described = (*descriptor_blocks(config, chip.descriptor), BytePacker(config)) if chip.descriptor else ()
    return (
        AxiLite(),
        RegisterFile(),
        Control(chip),
        RomCheck(chip),
        TableWatch(config),
        StreamInput(config),
        StreamOutput(config),
        *described,
        Core(chip),
        Top(chip),
    )


def chip_files(chip: ChipConfig) -> tuple[VerilogFile, ...]:
    """All files of a chip: memory wrappers, blocks, the top last."""
    of_engine = tuple(block_file(block(chip.engine)) for block in BLOCKS if block is not Engine)
    return memory_files() + of_engine + tuple(map(block_file, chip_blocks(chip)))


def engine_files(config: EngineConfig) -> tuple[VerilogFile, ...]:
    """All files of an engine: memory wrappers, blocks, the top last."""
    return memory_files() + tuple(block_file(block(config)) for block in BLOCKS)


def descriptor_blocks(
    config: EngineConfig, descriptor: DescriptorConfig | None = None
) -> tuple[wiring.Component, ...]:
    """Every block of a descriptor unit, the unit itself last."""
    descriptor = descriptor or descriptor_unit(config)
    whitening = (DescriptorRows(descriptor), DescriptorWhitening(descriptor)) if descriptor.whitening else ()
    return (
        DescriptorSquares(config),
        DescriptorReciprocal(),
        DescriptorMultiply(),
        Isqrt(DESCRIPTOR_SQUARES_BITS),
        DescriptorVectors(descriptor),
        *whitening,
        DescriptorOutput(descriptor),
        DescriptorHeader(config, descriptor),
        DescriptorUnit(config, descriptor),
    )


def descriptor_files(
    config: EngineConfig, descriptor: DescriptorConfig | None = None
) -> tuple[VerilogFile, ...]:
    """All files of a descriptor unit: memory wrappers, blocks, the unit itself last."""
    return memory_files() + tuple(map(block_file, descriptor_blocks(config, descriptor)))
