`timescale 1ns / 1ps

// Read-only memory, loaded by $readmemh. Behavioural body: replace it by a macro of the same timing. Read
// data appear in the cycle after `en` and stay until the next read.
// A simulation ends with an error if INIT_FILE is missing; "" leaves the words to whoever loads them. With
// KESTREL_PLUSARGS defined, which is for simulators only, +weights.mem=<file> names another image in place of
// the INIT_FILE weights.mem. With BLACKBOX defined there are ports only.
module kestrel_rom #(
    parameter WIDTH = 32,
    parameter DEPTH = 2,
    parameter ADDR_BITS = 1,
    parameter INIT_FILE = ""
) (
    input  wire                 clk,
    input  wire                 en,
    input  wire [ADDR_BITS-1:0] addr,
    output reg  [WIDTH-1:0]     rdata
);
`ifndef BLACKBOX
    reg [WIDTH-1:0] mem [0:DEPTH-1];

`ifdef KESTREL_PLUSARGS
    reg [8*1024-1:0] image;

    initial
        if ($value$plusargs({INIT_FILE, "=%s"}, image))
            $readmemh(image, mem);
        else if (INIT_FILE != "")
            $readmemh(INIT_FILE, mem);
`else
    // synthesis translate_off
`ifndef SYNTHESIS
    // Not every simulator stops when $readmemh finds no file.
    integer opened;

    initial
        if (INIT_FILE != "") begin
            opened = $fopen(INIT_FILE, "r");
            if (opened != 0)
                $fclose(opened);
            else begin
                $display("%m: the ROM image %0s is missing", INIT_FILE);
`ifdef __ICARUS__
                $finish_and_return(1);
`else
                $stop;
`endif
            end
        end
`endif
    // synthesis translate_on

    initial
        if (INIT_FILE != "")
            $readmemh(INIT_FILE, mem);
`endif

    always @(posedge clk)
        if (en)
            rdata <= mem[addr];
`endif
endmodule
