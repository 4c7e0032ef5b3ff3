`timescale 1ns / 1ps

// Memory with one read and one write port. Behavioural body: replace it by a macro of the same timing.
// Read data appear in the cycle after `ren` and stay until the next read. The engine never reads and
// writes one address in one cycle.
module kestrel_ram_1r1w #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDR_BITS = 1
) (
    input  wire                 clk,
    input  wire                 ren,
    input  wire [ADDR_BITS-1:0] raddr,
    output reg  [WIDTH-1:0]     rdata,
    input  wire                 wen,
    input  wire [ADDR_BITS-1:0] waddr,
    input  wire [WIDTH-1:0]     wdata
);
    reg [WIDTH-1:0] mem [0:DEPTH-1];

    always @(posedge clk) begin
        if (ren)
            rdata <= mem[raddr];
        if (wen)
            mem[waddr] <= wdata;
    end
endmodule
