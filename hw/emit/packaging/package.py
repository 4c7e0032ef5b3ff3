"""Everything that goes beside the chip's Verilog: wrapper, ROM images, test bench, FuseSoC core, constraints,
scripts and descriptions of the registers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kestrel.hw.emit.packaging.constraints import constraints
from kestrel.hw.emit.packaging.core import CoreFiles, core, core_name
from kestrel.hw.emit.packaging.ip_xact import ip_xact
from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.synthesis import edalize_template, synthesis_script
from kestrel.hw.emit.packaging.system_rdl import system_rdl
from kestrel.hw.emit.packaging.testbench import BenchFrame, bench, bench_data
from kestrel.hw.emit.packaging.wrapper import rom_names, wrapper
from kestrel.hw.emit.rom_parameters import SUFFIX
from kestrel.hw.emit.verilog import VerilogFile, chip_files
from kestrel.hw.spec.chip_config import ChipConfig


@dataclass(frozen=True)
class Contents:
    """What the ROMs hold: the text of each image for $readmemh, by the ROM's name, and a frame for the test
    bench."""

    roms: Mapping[str, str]
    frame: BenchFrame


@dataclass(frozen=True)
class Package:
    """A chip's files. ``rtl``: its Verilog, what is placed in a module before it, the chip last but one and
    the wrapper last; ``others``: what goes with it; ``core``: the core's name."""

    rtl: tuple[VerilogFile, ...]
    others: tuple[VerilogFile, ...]
    core: str


def package(
    chip: ChipConfig, names: Names | None = None, contents: Contents | None = None, *, sources: bool = False
) -> Package:
    """The files of a chip, under names that begin with the prefix. Without ``contents`` there are neither ROM
    images nor a test bench, and the core is for lint only. With ``sources`` declarations name the lines of
    Python that they come from."""
    names = names or Names()
    files = tuple(names.renamed(file) for file in chip_files(chip, sources=sources))
    rtl = (*files, wrapper(chip, names))
    sdc = constraints(chip, names)
    roms = [] if contents is None else [
        (rom, VerilogFile(names.data(rom + SUFFIX), contents.roms[rom])) for rom in rom_names(chip)
    ]  # fmt: skip
    benches: Sequence[VerilogFile] = ()
    data: Sequence[VerilogFile] = ()
    if contents is not None:
        benches, data = (bench(chip, contents.frame, names),), bench_data(contents.frame, names)
    name = core_name(chip.engine.name, names, [*rtl, *(file for _, file in roms), *benches, *data])
    listed = CoreFiles(
        [file.name for file in rtl], sdc[0].name, [(rom, file.name) for rom, file in roms],
        benches[0].name if benches else "", [file.name for file in data],
    )  # fmt: skip
    others = (
        *(file for _, file in roms), *benches, *data, core(name, names, listed), *sdc,
        synthesis_script(files, names), system_rdl(names), ip_xact(chip, names),
        *([edalize_template(names, f"{name.file_stem}.v")] if roms else []),
    )  # fmt: skip
    return Package(rtl, others, name.text)
