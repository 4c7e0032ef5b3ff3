"""The FuseSoC core."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.synthesis import TEMPLATE
from kestrel.hw.emit.packaging.testbench import BENCH
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.rom_parameters import file_parameter
from kestrel.hw.emit.verilog import VerilogFile
from kestrel.hw.spec.registers import VERSION

HASH_DIGITS = 8
PART = "xc7a100tcsg324-1"
"""Of the Vivado target: one that the free edition takes; it may be replaced on the command line."""


@dataclass(frozen=True)
class CoreName:
    """Vendor, library, name and version. The name holds prefix, configuration and a hash of all that the core
    lists, so that two cores of one name are the same."""

    name: str
    version: str

    @property
    def text(self) -> str:
        """As FuseSoC writes it."""
        return f"kestrel:chip:{self.name}:{self.version}"

    @property
    def file_stem(self) -> str:
        """As FuseSoC names files."""
        return f"kestrel_chip_{self.name}_{self.version}"


def core_name(config: str, names: Names, listed: Iterable[VerilogFile]) -> CoreName:
    """For a configuration and the files that the core lists."""
    digest = hashlib.sha256()
    for file in listed:
        digest.update(f"{file.name}\0{file.text}\0".encode())
    plain = re.sub(r"\W+", "_", config, flags=re.ASCII).strip("_") or "config"
    return CoreName(
        f"{names.prefix}_{plain}_{digest.hexdigest()[:HASH_DIGITS]}", ".".join(map(str, VERSION))
    )


@dataclass(frozen=True)
class CoreFiles:
    """Names of the files by what they are for. Without ``roms`` (name of the ROM, file) a chip can be linted
    only, without ``bench`` not simulated; ``bench_data`` are the files that the bench reads."""

    rtl: Sequence[str]
    constraints: str
    roms: Sequence[tuple[str, str]] = ()
    bench: str = ""
    bench_data: Sequence[str] = ()


def core(name: CoreName, names: Names, files: CoreFiles) -> VerilogFile:
    """The core's description. ROM images and what the bench reads are copied into the folder in which the
    tools run, where $readmemh looks for them."""
    lines = [
        "CAPI=2:",
        f"name: {name.text}",
        "description: Image retrieval engine with AXI4-Lite registers and AXI4-Stream image and descriptor",
        "",
        "filesets:",
        "  rtl:",
        "    files:",
        *(f"      - {file}" for file in files.rtl),
        "    file_type: verilogSource-2005",
        *_data("roms", [file for _, file in files.roms]),
        "  constraints:",
        "    files:",
        f"      - {files.constraints}: {{file_type: xdc}}",
    ]
    if files.roms:
        lines += ["  generic:", "    files:", f"      - {TEMPLATE}: {{file_type: user, copyto: {TEMPLATE}}}"]
    if files.bench:
        lines += ["  bench:", "    files:", f"      - {files.bench}", "    file_type: verilogSource-2005"]
        lines += _data("bench_data", files.bench_data)
    if files.roms:
        lines += ["", "parameters:"]
        for rom, file in files.roms:
            lines += [
                f"  {file_parameter(rom)}:",
                "    datatype: str",
                f"    default: {file}",
                "    paramtype: vlogparam",
                f"    description: File of the ROM {rom}, for $readmemh",
            ]
    design = ["rtl", "roms"] if files.roms else ["rtl"]
    parameters = [file_parameter(rom) for rom, _ in files.roms]
    wrapper = names.module(WRAPPER)
    lines += ["", "targets:", *_target("default", design, wrapper, [])]
    # A warning of Verilator's ends a target with an error.
    lines += _target("lint", design, wrapper, [], "lint", ["tool: verilator"])
    if files.roms:
        lines += _target("synth", [*design, "generic"], wrapper, parameters, "generic", [
            "tool: yosys", "arch: generic", "output_format: verilog", f"yosys_template: {TEMPLATE}",
        ])  # fmt: skip
        # Not Edalize's flow trellis, which calls nextpnr whatever one asks.
        lines += _target("synth_ecp5", design, wrapper, parameters, "generic", [
            "tool: yosys", "arch: ecp5", "output_format: json",
        ])  # fmt: skip
        lines += _target("synth_vivado", [*design, "constraints"], wrapper, parameters, "vivado", [
            f"part: {PART}", "pnr: none",
        ])  # fmt: skip
    if files.bench:
        simulated, top = [*design, "bench", "bench_data"], names.module(BENCH)
        lines += _target("sim", simulated, top, parameters, "sim", [
            "tool: icarus", "iverilog_options: [-g2005]",
        ])  # fmt: skip
        lines += _target("sim_verilator", simulated, top, parameters, "sim", [
            "tool: verilator", "mode: binary", "verilator_options: [--timing]",
        ])  # fmt: skip
    return VerilogFile(f"{names.prefix}.core", "\n".join([*lines, ""]))


def _data(fileset: str, files: Sequence[str]) -> list[str]:
    """A fileset of files for $readmemh, if there are any."""
    if not files:
        return []
    return [
        f"  {fileset}:", "    files:", *(f"      - {file}: {{copyto: {file}}}" for file in files),
        "    file_type: mem",
    ]  # fmt: skip


def _target(
    name: str, filesets: Sequence[str], top: str, parameters: Sequence[str], flow: str = "",
    options: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    lines = [f"  {name}:", f"    filesets: [{', '.join(filesets)}]", f"    toplevel: {top}"]
    if parameters:
        lines.append(f"    parameters: [{', '.join(parameters)}]")
    if flow:
        lines += [f"    flow: {flow}", "    flow_options:", *(f"      {option}" for option in options)]
    return lines
