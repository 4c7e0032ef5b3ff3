"""Verilog of the engine: one module, and one file, a block."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from amaranth.back import verilog
from amaranth.lib import wiring

from hw.accumulator import Accumulator, AccumulatorLane
from hw.array import Array
from hw.axi_lite import AxiLite
from hw.byte_packer import BytePacker
from hw.chip_config import ChipConfig
from hw.control import Control
from hw.core import Core
from hw.counters import Counters
from hw.engine import Engine
from hw.feature_memory import FeatureMemory
from hw.feature_output import FeatureOutput
from hw.image_input import ImageInput
from hw.isqrt import Isqrt
from hw.kernel_decoder import DigitDecoder, KernelDecoder
from hw.kernel_unit import KernelUnit
from hw.nip import Nip
from hw.nip_header import NipHeader
from hw.nip_multiply import NipMultiply
from hw.nip_output import NipOutput
from hw.nip_reciprocal import NipReciprocal
from hw.nip_rows import NipRows
from hw.nip_squares import NipSquares
from hw.nip_vectors import NipVectors
from hw.nip_whitening import NipWhitening
from hw.output_lane import OutputLane
from hw.place import PREFIX, module_name
from hw.pool import Pool, PoolLane
from hw.raster import Raster
from hw.reader import Reader
from hw.register_file import RegisterFile
from hw.requantise import Requantise, requantise_lane
from hw.rom_check import RomCheck
from hw.sequencer import Sequencer
from hw.spec import EngineConfig
from hw.spec.descriptor import NIP_SQUARES_BITS, NipConfig, descriptor_unit
from hw.stream_input import StreamInput
from hw.stream_output import StreamOutput
from hw.table_watch import TableWatch
from hw.top import Top
from hw.weights import WeightLoader
from hw.window import Window
from hw.writer import Writer

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
    folder = resources.files("hw") / "verilog"
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
    described = (*nip_blocks(config, chip.nip), BytePacker(config)) if chip.nip else ()
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


def nip_blocks(config: EngineConfig, nip: NipConfig | None = None) -> tuple[wiring.Component, ...]:
    """Every block of a descriptor unit, the unit itself last."""
    nip = nip or descriptor_unit(config)
    whitening = (NipRows(nip), NipWhitening(nip)) if nip.whitening else ()
    return (
        NipSquares(config),
        NipReciprocal(),
        NipMultiply(),
        Isqrt(NIP_SQUARES_BITS),
        NipVectors(nip),
        *whitening,
        NipOutput(nip),
        NipHeader(config, nip),
        Nip(config, nip),
    )


def nip_files(config: EngineConfig, nip: NipConfig | None = None) -> tuple[VerilogFile, ...]:
    """All files of a descriptor unit: memory wrappers, blocks, the unit itself last."""
    return memory_files() + tuple(map(block_file, nip_blocks(config, nip)))
