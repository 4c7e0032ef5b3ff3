// Simulation models of ECP5 cells of which yosys has none, or none for a routed design: there a register may take
// its data from M, and carries go from cell to cell. Written from the cells' descriptions in yosys' and nextpnr's
// libraries. What a model does not cover stops the elaboration.

// 18 x 18 multiplier. Only without its registers, as yosys infers it.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";
    generate
        if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE"
            || REG_OUTPUT_CLK != "NONE")
            $error("MULT18X18D with registers has no model");
    endgenerate
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [35:0] wide_a = {{18{SIGNEDA & A17}}, a};
    wire signed [35:0] wide_b = {{18{SIGNEDB & B17}}, b};
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
            P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = wide_a * wide_b;
endmodule

`ifdef ROUTED
// Half of a slice's logic: a look-up table, or half of a carry stage, and the multiplexer behind it.
module TRELLIS_COMB (
    input A, B, C, D, M, FCI, F1, FXA, FXB, WD, WAD0, WAD1, WAD2, WAD3, WRE, WCK,
    output F, FCO, OFX
);
    parameter MODE = "LOGIC";
    parameter [15:0] INITVAL = 16'h0;
    parameter CCU2_INJECT1 = "NO";
    parameter WREMUX = "WRE";
    parameter IS_Z1 = 1'b0;
    wire table_ = INITVAL[{D, C, B, A}];
    generate
        if (MODE == "LOGIC") begin : logic_
            assign F = table_;
            assign FCO = 1'b0;
        end else if (MODE == "CCU2") begin : carry
            wire injects = CCU2_INJECT1 == "YES";
            assign F = table_ ^ (FCI & ~injects);
            assign FCO = table_ ? FCI : INITVAL[{2'b00, B, A}] & ~injects;
        end else begin : others
            $error("TRELLIS_COMB with a memory has no model");
        end
    endgenerate
    assign OFX = IS_Z1 ? (M ? FXB : FXA) : (M ? F1 : F);
endmodule

module TRELLIS_FF (input CLK, LSR, CE, DI, M, output reg Q);
    parameter GSR = "ENABLED";
    parameter CEMUX = "1";
    parameter CLKMUX = "CLK";
    parameter LSRMUX = "LSR";
    parameter SRMODE = "LSR_OVER_CE";
    parameter REGSET = "RESET";
    parameter LSRMODE = "LSR";
    parameter SD = "1";
    generate
        if (CLKMUX != "CLK" || SRMODE == "ASYNC" || LSRMODE != "LSR")
            $error("TRELLIS_FF of this mode has no model");
    endgenerate
    wire enabled = CEMUX == "1" ? 1'b1 : CEMUX == "INV" ? ~CE : CEMUX == "0" ? 1'b0 : CE;
    wire clears = LSRMUX == "INV" ? ~LSR : LSR;
    wire value = SD == "0" ? M : DI;
    initial Q = REGSET == "SET";
    always @(posedge CLK)
        if (clears && (SRMODE == "LSR_OVER_CE" || enabled)) Q <= REGSET == "SET";
        else if (enabled) Q <= value;
endmodule

module DCCA (input CLKI, CE, output CLKO);
    assign CLKO = CLKI;
endmodule
`endif
