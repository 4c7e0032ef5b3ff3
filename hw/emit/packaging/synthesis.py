"""Scripts for yosys."""

from collections.abc import Sequence

from kestrel.hw.emit.packaging.names import Names
from kestrel.hw.emit.packaging.wrapper import WRAPPER
from kestrel.hw.emit.verilog import MEMORIES, VerilogFile

SCRIPT = "synth.ys"
TEMPLATE = "synth.tcl"


def synthesis_script(files: Sequence[VerilogFile], names: Names) -> VerilogFile:
    """Synthesis of ``files``, the last of them the top, with generic gates; the memory wrappers stay boxes,
    to be replaced by macros."""
    boxes = {f"{names.module(memory)}.v" for memory in MEMORIES}
    read = "\n".join(
        f"read_verilog {'-lib' if file.name in boxes else '-defer'} -sv {file.name}" for file in files
    )
    top = names.module("top")
    text = f"""# yosys -s {SCRIPT}
{read}
hierarchy -check -top {top}
synth -flatten -top {top}
stat
write_verilog -noattr {top}_netlist.v
"""
    return VerilogFile(SCRIPT, text)


def edalize_template(names: Names, netlist: str) -> VerilogFile:
    """The same in Tcl, for the wrapper, with what Edalize prepares in ``edalize_yosys_procs.tcl``; its own
    template knows FPGAs only. ``netlist`` is the file that it expects."""
    boxes, top = " ".join(names.module(memory) for memory in MEMORIES), names.module(WRAPPER)
    text = f"""# Read by Edalize. The memory wrappers stay boxes, to be replaced by macros.
yosys -import
source edalize_yosys_procs.tcl
set_defines
set_incdirs
read_files
foreach memory {{{boxes}}} {{ yosys blackbox $memory }}
set_params
yosys hierarchy -check -top {top}
yosys synth -flatten -top {top}
yosys stat
yosys write_verilog -noattr {netlist}
"""
    return VerilogFile(TEMPLATE, text)
