`timescale 1ns / 1ps

// Single-port memory with a write enable per lane. Behavioural body: replace it by a macro of the same
// timing. Read data appear in the cycle after `en` with `we` low and stay until the next read.
module kestrel_ram_1rw #(
    parameter LANES = 1,
    parameter LANE_BITS = 8,
    parameter DEPTH = 2,
    parameter ADDR_BITS = 1
) (
    input  wire                       clk,
    input  wire                       en,
    input  wire [LANES-1:0]           we,
    input  wire [ADDR_BITS-1:0]       addr,
    input  wire [LANES*LANE_BITS-1:0] wdata,
    output reg  [LANES*LANE_BITS-1:0] rdata
);
    reg [LANES*LANE_BITS-1:0] mem [0:DEPTH-1];
    integer lane;

    always @(posedge clk)
        if (en) begin
            if (we == {LANES{1'b0}})
                rdata <= mem[addr];
            else
                for (lane = 0; lane < LANES; lane = lane + 1)
                    if (we[lane])
                        mem[addr][lane*LANE_BITS +: LANE_BITS] <= wdata[lane*LANE_BITS +: LANE_BITS];
        end
endmodule
