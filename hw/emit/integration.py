"""What goes beside the chip's Verilog: a wrapper with the names that FPGA tools know, a FuseSoC core, clock
constraints and a synthesis script."""

from collections.abc import Sequence

from kestrel.hw.common.place import PREFIX
from kestrel.hw.emit.verilog import CHIP_TOP, MEMORIES, VerilogFile
from kestrel.hw.spec.chip_config import ChipConfig
from kestrel.hw.spec.registers import ADDRESS_BITS, REGISTER_BITS, VERSION
from kestrel.hw.spec.widths import PIXEL_BITS

WRAPPER = "kestrel_axi"
CLOCK_NS = 5.0
"""Period of the clock constraint: a place to begin."""

_AXIL = (
    ("input", "awaddr", ADDRESS_BITS), ("input", "awprot", 3), ("input", "awvalid", 1),
    ("output", "awready", 1), ("input", "wdata", REGISTER_BITS), ("input", "wstrb", REGISTER_BITS // 8),
    ("input", "wvalid", 1), ("output", "wready", 1), ("output", "bresp", 2), ("output", "bvalid", 1),
    ("input", "bready", 1), ("input", "araddr", ADDRESS_BITS), ("input", "arprot", 3),
    ("input", "arvalid", 1), ("output", "arready", 1), ("output", "rdata", REGISTER_BITS),
    ("output", "rresp", 2),
    ("output", "rvalid", 1), ("input", "rready", 1),
)  # fmt: skip


def wrapper(chip: ChipConfig) -> VerilogFile:
    """The chip as ``kestrel_axi``: aclk, aresetn (active low), s_axi_*, s_axis_*, m_axis_*, irq. The
    names are those by which an IP packager infers clock, reset and AXI interfaces."""
    config = chip.engine
    image, words = PIXEL_BITS * config.stream_bytes, config.word_lanes
    ports = [("input", "aclk", 1, "clk"), ("input", "aresetn", 1, "")]
    ports += [(way, f"s_axi_{name}", bits, f"s_axil_{name}") for way, name, bits in _AXIL]
    ports += [
        ("input", "s_axis_tdata", image, "s_axis_tdata"),
        ("input", "s_axis_tlast", 1, "s_axis_tlast"),
        ("input", "s_axis_tvalid", 1, "s_axis_tvalid"),
        ("output", "s_axis_tready", 1, "s_axis_tready"),
        ("output", "m_axis_tdata", 8 * words, "m_axis_tdata"),
        ("output", "m_axis_tkeep", words, "m_axis_tkeep"),
        ("output", "m_axis_tlast", 1, "m_axis_tlast"),
        ("output", "m_axis_tvalid", 1, "m_axis_tvalid"),
        ("input", "m_axis_tready", 1, "m_axis_tready"),
        ("output", "irq", 1, "irq"),
    ]
    declared = [
        f"    {way:<6} wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name}" for way, name, bits, _ in ports
    ]
    connected = [f"        .{inner}({name})" for _, name, _, inner in ports if inner]
    text = "\n".join(
        [
            "// The chip with the usual names of FPGA tools; the reset is synchronous, active low.",
            f"module {WRAPPER} (",
            ",\n".join(declared),
            ");",
            f"    {CHIP_TOP} chip (",
            ",\n".join([*connected, "        .rst(!aresetn)"]),
            "    );",
            "endmodule",
            "",
        ]
    )
    return VerilogFile(f"{WRAPPER}.v", text)


def integration_files(chip: ChipConfig, files: Sequence[VerilogFile]) -> tuple[VerilogFile, ...]:
    """Wrapper, FuseSoC core, constraints and yosys script for a chip's ``files``."""
    wrapped = wrapper(chip)
    names = [*(file.name for file in files), wrapped.name]
    return (
        wrapped,
        VerilogFile("kestrel.core", _core(names)),
        VerilogFile("kestrel.sdc", _constraints()),
        VerilogFile("synth.ys", _synthesis([file.name for file in files])),
    )


def _core(names: Sequence[str]) -> str:
    version = ".".join(map(str, VERSION))
    listed = "\n".join(f"      - {name}" for name in names)
    return f"""CAPI=2:
name: kestrel:chip:kestrel:{version}
description: Image retrieval engine with AXI4-Lite registers and AXI4-Stream image and descriptor

filesets:
  rtl:
    files:
{listed}
    file_type: verilogSource
  constraints:
    files:
      - kestrel.sdc: {{file_type: SDC}}

targets:
  default: &default
    filesets: [rtl]
    toplevel: {WRAPPER}
  lint:
    <<: *default
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wno-fatal]
  synth:
    <<: *default
    filesets: [rtl, constraints]
    default_tool: yosys
    tools:
      yosys:
        arch: xilinx
"""


def _constraints() -> str:
    return f"""# One clock. The period is a place to begin; inputs and outputs keep half of it for the board.
set period {CLOCK_NS}
set clock [expr {{[llength [get_ports -quiet aclk]] ? "aclk" : "clk"}}]
create_clock -name $clock -period $period [get_ports $clock]
set_input_delay -clock $clock [expr {{$period / 2}}] [remove_from_collection [all_inputs] [get_ports $clock]]
set_output_delay -clock $clock [expr {{$period / 2}}] [all_outputs]
"""


def _synthesis(names: Sequence[str]) -> str:
    """Synthesis with generic gates; the memory wrappers stay boxes, to be replaced by macros."""
    boxes = {f"{PREFIX}{memory}.v" for memory in MEMORIES}
    read = "\n".join(f"read_verilog {'-lib' if name in boxes else '-defer'} -sv {name}" for name in names)
    return f"""# yosys -s synth.ys
{read}
hierarchy -check -top {CHIP_TOP}
synth -flatten -top {CHIP_TOP}
stat
write_verilog -noattr {CHIP_TOP}_netlist.v
"""
