"""What goes with a board's Verilog: the top module with clock and pins, constraints, scripts."""

from string import Template

from kestrel.hw.spec.boards import BoardSpec

TOP = "kestrel_{board}"
DESIGN = "kestrel_board"
"""The module that ``kestrel.hw.board.board`` becomes."""

_WRAPPER = Template("""\
`timescale 1ns / 1ps

// $text: clock, reset and pins round $design.
module $top (
    input  wire       clk_25mhz,
    input  wire       serial_rx,    // what the USB adapter sends
    output wire       serial_tx,
    input  wire       button,       // high while it is pressed: reset
    output wire       esp32_gpio0,
    output wire [7:0] led
);
    wire clk, locked;

    (* FREQUENCY_PIN_CLKI = "$crystal", FREQUENCY_PIN_CLKOP = "$mhz",
       ICP_CURRENT = "12", LPF_RESISTOR = "8", MFG_ENABLE_FILTEROPAMP = "1", MFG_GMCREF_SEL = "2" *)
    EHXPLLL #(
        .PLLRST_ENA("DISABLED"),
        .INTFB_WAKE("DISABLED"),
        .STDBY_ENABLE("DISABLED"),
        .DPHASE_SOURCE("DISABLED"),
        .CLKI_DIV($reference),
        .CLKFB_DIV($feedback),
        .CLKOP_DIV($output),
        .CLKOP_CPHASE($phase),
        .CLKOP_FPHASE(0),
        .CLKOP_ENABLE("ENABLED"),
        .FEEDBK_PATH("CLKOP")
    ) pll (
        .CLKI(clk_25mhz),
        .CLKFB(clk),
        .CLKOP(clk),
        .LOCK(locked),
        .RST(1'b0),
        .STDBY(1'b0),
        .PHASESEL0(1'b0),
        .PHASESEL1(1'b0),
        .PHASEDIR(1'b1),
        .PHASESTEP(1'b1),
        .PHASELOADREG(1'b1),
        .PLLWAKESYNC(1'b0),
        .ENCLKOP(1'b0)
    );

    // Registers of this device begin at their initial value: a reset until the clock has been steady a while.
    reg [1:0] good = 2'b00;
    reg [7:0] steady = 8'd0;
    reg rst = 1'b1;
    always @(posedge clk) begin
        good <= {good[0], locked & ~button};
        if (!good[1])
            steady <= 8'd0;
        else if (!steady[7])
            steady <= steady + 8'd1;
        rst <= !steady[7];
    end

    assign esp32_gpio0 = 1'b1;

    $design design (
        .clk(clk),
        .rst(rst),
        .rx(serial_rx),
        .tx(serial_tx),
        .leds(led)
    );
endmodule
""")

_MAKEFILE = Template("""\
# From Verilog to $top.bit, for $text. SEED is that of placement; PYTHON finds the tools
# (tools.py). ROUTER=router1 takes longer. timing.json and routing.log say what was reached, which make does
# not judge.

SEED ?= 1
ROUTER ?= router2
PYTHON ?= python3

.DELETE_ON_ERROR:
.PHONY: bitstream clean

bitstream: $top.bit

$top.json: synthesis.ys $verilog $images
\t$$(PYTHON) tools.py yosys synthesis.ys >synthesis.log

$top.config: $top.json $top.lpf
\t$$(PYTHON) tools.py nextpnr-ecp5 --$part --package $package --speed $speed --json $top.json \\
\t    --lpf $top.lpf --textcfg $$@ --report timing.json --freq $mhz --seed $$(SEED) \\
\t    --router $$(ROUTER) --timing-allow-fail >routing.log 2>&1

$top.bit: $top.config
\t$$(PYTHON) tools.py ecppack --compress $top.config $$@

clean:
\trm -f $made
""")


def top_name(board: BoardSpec) -> str:
    """The name of the top module, and of the bitstream."""
    return TOP.format(board=board.name.replace("-", "_"))


def made_by_make(board: BoardSpec) -> tuple[str, ...]:
    """The names of all files that the Makefile's rules write."""
    top = top_name(board)
    return f"{top}.json", f"{top}.config", f"{top}.bit", "timing.json", "synthesis.log", "routing.log"


def wrapper(board: BoardSpec) -> str:
    """The top module: PLL, reset and pins."""
    pll = board.pll
    return _WRAPPER.substitute(
        text=board.text, design=DESIGN, top=top_name(board), reference=pll.reference,
        feedback=pll.feedback, output=pll.output, phase=pll.phase, crystal=f"{board.crystal / 1e6:g}",
        mhz=f"{board.clock / 1e6:g}",
    )  # fmt: skip


def pins(board: BoardSpec) -> str:
    """Sites and kinds of the pins, and the crystal's clock, as nextpnr reads them (.lpf)."""
    lines = [f"# {board.text}", f'FREQUENCY PORT "clk_25mhz" {board.crystal / 1e6:g} MHZ;']
    for port, site in board.pins.items():
        lines.append(f'LOCATE COMP "{port}" SITE "{site}";')
        pull = " PULLMODE=UP" if port == "serial_rx" else " PULLMODE=DOWN" if port == "button" else ""
        lines.append(f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33{pull};')
    return "\n".join(lines) + "\n"


def synthesis_script(board: BoardSpec, verilog: list[str]) -> str:
    """Commands for yosys. Names such as $1 are hidden first: abc9 makes such ones too. synth_ecp5 knows the
    PLL, and checks the hierarchy once more. Without wide look-up tables (-nowidelut)
    a design is a tenth smaller: abc9 takes them for speed, and pays two tables for a fifth input."""
    return "\n".join((
        f"read_verilog -DSYNTHESIS {' '.join(verilog)}",
        f"hierarchy -top {top_name(board)}",
        "rename -hide w:*",
        f"synth_ecp5 -nowidelut -top {top_name(board)} -json {top_name(board)}.json",
        "",
    ))  # fmt: skip


def makefile(board: BoardSpec, verilog: list[str], images: list[str]) -> str:
    """The rules from Verilog to bitstream."""
    return _MAKEFILE.substitute(
        text=board.text, top=top_name(board), mhz=f"{board.clock / 1e6:g}", part=board.part,
        package=board.package, speed=board.speed, verilog=" ".join(verilog), images=" ".join(images),
        made=" ".join(made_by_make(board)),
    )  # fmt: skip
